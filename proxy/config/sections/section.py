"""How a setting and a block of settings are written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from typing import Any, ClassVar, Self, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
    model_validator,
)

from proxy.config import checks
from proxy.config.look import Look, SectionCheck
from proxy.config.units import Rate
from proxy.config.unknown import UNKNOWN, Unknown, UnknownError


def setting(help_: str, default: object = ..., *, says: str = "", restart: bool = False) -> Any:
    """One setting. `default` is what one would write in YAML, or computes it; `says` words a computed one."""
    extra: dict[str, Any] = {"x-default": says} if says else {}
    if restart:
        extra["x-restart"] = True
    if callable(default):
        return Field(default_factory=default, description=help_, json_schema_extra=extra)
    return Field(default, description=help_, validate_default=True, json_schema_extra=extra)


def count_of_rate(so_far: dict[str, Any]) -> int | Unknown | None:
    """The default of a burst; without a rate there is none."""
    rate = so_far.get("rate", UNKNOWN)
    if rate is None:
        return None
    return rate.count if isinstance(rate, Rate) else UNKNOWN  # a wrong rate is a mistake of its own


_Block = TypeVar("_Block", bound="Section")
Adapt = Callable[[Any], Mapping[str, Any]]


class Section(BaseModel):
    """A block of settings. An empty block, all of it commented out, is a block of defaults.

    `fits` are the checks between its settings: each takes the block and yields places and messages. `adapts`
    says of the block what its settings are that are not written. `alone` is the setting that a value stands
    for where there is no block.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)
    fits: ClassVar[tuple[SectionCheck, ...]] = ()
    adapts: ClassVar[Adapt | None] = None
    alone: ClassVar[str | None] = None

    @field_validator("*", mode="wrap")
    @classmethod
    def _judge_field(cls, value: Any, judge: ValidatorFunctionWrapHandler, info: ValidationInfo) -> Any:
        name = info.field_name
        if not isinstance(info.context, Look) or name is None:
            return judge(value)
        return info.context.field(name, value, judge, is_list=name in _lists(cls))

    @model_validator(mode="wrap")
    @classmethod
    def _judge_section(cls, value: Any, judge: ModelWrapValidatorHandler[Self], info: ValidationInfo) -> Any:
        if cls.alone is not None and not isinstance(value, dict | cls):
            value = {cls.alone: value}
        value = {} if value is None else value
        if isinstance(info.context, Look):
            adapted = lambda value: _adapted(judge(value))  # noqa: E731 - mypy types no function of Self here
            return info.context.section(value, adapted, _names(cls), cls.fits)
        section = _adapted(judge(value))
        checks.require(place for check in cls.fits for place in check(section))
        return section


def _adapted(section: _Block) -> _Block:
    adapts = type(section).adapts
    if adapts is None:
        return section
    with suppress(UnknownError):
        said = adapts(section)
        return section.model_copy(
            update={name: said[name] for name in said.keys() - section.model_fields_set}
        )
    return section


@cache
def _names(section: type[Section]) -> dict[str, bool]:
    """The names of its fields, and whether they are required."""
    return {name: field.is_required() for name, field in section.model_fields.items()}


@cache
def _lists(section: type[Section]) -> frozenset[str]:
    """Names of fields whose values are lists."""
    fields = section.model_fields.items()
    return frozenset(name for name, field in fields if tuple in _types(field.annotation))


def _types(annotation: Any) -> set[Any]:
    """An annotation and those that it is made of."""
    found = {get_origin(annotation) or annotation}
    return found.union(*map(_types, get_args(annotation))) if get_args(annotation) else found
