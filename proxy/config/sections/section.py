"""How a setting and a block of settings are written."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator


def setting(help_: str, default: object = ..., *, says: str = "", restart: bool = False) -> Any:
    """One setting. `default` is what one would write in YAML, or computes it; `says` words a computed one."""
    extra: dict[str, Any] = {"x-default": says} if says else {}
    if restart:
        extra["x-restart"] = True
    if callable(default):
        return Field(default_factory=default, description=help_, json_schema_extra=extra)
    return Field(default, description=help_, validate_default=True, json_schema_extra=extra)


class Section(BaseModel):
    """A block of settings. An empty block, all of it commented out, is a block of defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        return {} if value is None else value
