"""The settings as a list: every path with its default and help, read off the tree of models.

Paths are written `limits[].rate`: `[]` stands for every entry. What docs, environment, reload and messages
need to know of the tree they ask here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import SecretStr

from proxy.config.addresses import StoreUrl
from proxy.config.sections.section import Section
from proxy.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo


@dataclass(frozen=True, slots=True)
class Entry:
    """One setting, or one block of them."""

    path: str
    help: str
    default: Any  # as YAML spells it; None also where it is required
    says: str  # a computed default in words
    is_required: bool
    is_restart: bool  # changes only when the process starts again
    is_block: bool
    takes_json: bool  # a list or a block: as JSON in the environment
    is_list: bool
    is_secret: bool  # or holds one: never shown, may refer to where it stands
    takes_word: bool  # also, or only, one word
    takes_number: bool  # a number, true or false, rather than text
    takes_null: bool
    choices: tuple[str, ...]


@cache
def entries() -> tuple[Entry, ...]:
    """Every setting in the order of the tree, blocks before what is in them."""
    return tuple(_walk(Settings, "", is_restart=False))


@cache
def _by_plain_path() -> dict[str, Entry]:
    """Entries by their path without `[]`, since one entry may stand without its list."""
    return {entry.path.replace("[]", ""): entry for entry in entries()}


def help_of(path: tuple[str | int, ...]) -> str:
    entry = _by_plain_path().get(_plain(path))
    return entry.help if entry else ""


def choices_of(path: tuple[str | int, ...]) -> tuple[str, ...]:
    entry = _by_plain_path().get(_plain(path))
    return entry.choices if entry else ()


def names_below(path: tuple[str | int, ...]) -> tuple[str, ...]:
    """Names that a block knows."""
    above = _plain(path)
    ways = (plain.rpartition(".") for plain in _by_plain_path())
    return tuple(name for at, _, name in ways if at == above)


def places_of(name: str) -> tuple[str, ...]:
    """Where else a name is known."""
    return tuple(entry.path for entry in entries() if entry.path.rpartition(".")[2] == name)[:3]


def _plain(path: tuple[str | int, ...]) -> str:
    return ".".join(part for part in path if isinstance(part, str))


def _walk(model: type[Section], at: str, *, is_restart: bool) -> Iterator[Entry]:
    for name, field in model.model_fields.items():
        path = f"{at}.{name}" if at else name
        leaves = tuple(_leaves(field.annotation))
        sections = [leaf for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, Section)]
        is_list = tuple in leaves
        entry = _entry(path, field, leaves, is_restart=is_restart)
        yield entry
        for section in sections:
            yield from _walk(section, f"{path}[]" if is_list else path, is_restart=entry.is_restart)


def _entry(path: str, field: FieldInfo, leaves: tuple[Any, ...], *, is_restart: bool) -> Entry:
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    sections = [leaf for leaf in leaves if isinstance(leaf, type) and issubclass(leaf, Section)]
    choices = tuple(str(leaf) for leaf in leaves if isinstance(leaf, str | int))
    return Entry(
        path=path,
        help=field.description or "",
        default=None if field.is_required() or field.default_factory else field.default,
        says=str(extra.get("x-default", "")),
        is_required=field.is_required(),
        is_restart=is_restart or bool(extra.get("x-restart")),
        is_block=bool(sections) and tuple not in leaves and not choices,
        takes_json=bool(sections) or tuple in leaves or dict in leaves,
        is_list=tuple in leaves,
        is_secret=SecretStr in leaves or StoreUrl in leaves,
        takes_word=bool(choices) or not (sections or tuple in leaves or dict in leaves) or path == "listen",
        takes_number=int in leaves or bool in leaves,
        takes_null=type(None) in leaves,
        choices=choices,
    )


def _leaves(annotation: Any) -> Iterator[Any]:
    """The types within an annotation, `tuple` and `dict` themselves included."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _leaves(args[0])
    elif origin is Literal:
        yield from args
    elif origin is dict:
        yield dict
    elif origin is tuple:
        yield tuple
        yield from _leaves(args[0])
    elif args:
        for arg in args:
            yield from _leaves(arg)
    else:
        yield annotation
