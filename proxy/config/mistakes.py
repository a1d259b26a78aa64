"""Mistakes in a config: where and what, one line each, and how pydantic's findings are worded.

A message never repeats a value of a setting that may hold a secret. Knows nothing of YAML or files.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from proxy.config import catalogue
from proxy.config.odd_letters import odd_blank
from proxy.config.wording import either, many, nearest, shown, shown_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path as File

    from proxy.config.look import Look, SettingPath

_BLANKS = ("\u00a0", "\u2007", "\u202f", "\u3000", "\u200b", "\ufeff")  # as web pages indent
_NO_SPACE = "not a name; is a space missing after the colon?"
MISTAKES_MAX = 50  # printed at most: beyond that the file is something else


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake. Line and column count from 1; 0 where there is none, as in a variable."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class ConfigError(Exception):
    """Everything that is wrong with a config, in the order of the file."""

    def __init__(self, mistakes: Sequence[Mistake], files: Mapping[File, str | None] | None = None) -> None:
        self.files = files or {}  # that it refers to: they may be mended
        ordered = sorted(set(mistakes))
        self.mistakes = ordered[:MISTAKES_MAX]
        self.more = len(ordered) - len(self.mistakes)
        lines = [str(mistake) for mistake in self.mistakes]
        if self.more:
            lines.append(f"and {many(self.more, 'more mistake')}")
        super().__init__("\n".join(lines))


def spelled(path: SettingPath) -> str:
    """`limits[0].rate`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{shown_name(part)}" if text else shown_name(part)
    return text


def findings(look: Look, data: object) -> Iterator[tuple[SettingPath, bool, str]]:
    """Path, whether its key (not its value) is wrong, and what is wrong."""
    for path, message in look.misfits:
        yield written(path, data), False, message
    for detail in look.details:
        kind = detail["type"]
        is_key = kind == "extra_forbidden" or detail["loc"][-1:] == ("[key]",)
        path = written(detail["loc"], data)
        yield path, is_key, _message(kind, path, detail["input"], detail.get("ctx", {}))


def written(loc: SettingPath, data: object) -> SettingPath:
    """The path as the author wrote it: without pydantic's words, and no deeper than what is there."""
    path: list[str | int] = []
    for part in loc:
        if isinstance(part, str) and (part == "[key]" or part.startswith("<")):
            continue
        if isinstance(data, dict):
            if isinstance(part, int):
                continue  # one entry that stands without its list
            data = data.get(part)
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        elif data is not None or isinstance(part, int):
            break
        path.append(part)
    return tuple(path)


def _message(kind: str, path: SettingPath, value: object, context: Mapping[str, Any]) -> str:
    match kind:
        case "value_error":
            return str(context["error"])
        case "extra_forbidden":
            return unknown(path)
        case "missing":
            return f"is required. {catalogue.help_of(path)}".rstrip()
        case "literal_error":
            return _choice(value, path)
    if kind in _NUMBERS:
        return f"{_NUMBERS[kind].format(**context)}, not {shown(value)}"
    return _SHAPES.get(kind, "cannot be understood: {}").format(_kind(value)) + _remedy(kind, value)


# What pydantic finds, in our words.
_NUMBERS = {
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
}
_SHAPES = {
    "string_type": "must be text, not {}",
    "tuple_type": "must be a list, not {}",
    "dict_type": "must be a block of names and values, not {}",
    "model_type": "must be a block of settings, not {}",
    "model_attributes_type": "must be a block of settings, not {}",
    "too_short": "is empty; at least one is needed",
    "string_too_short": "is empty",
}


def _kind(value: object) -> str:
    """A value of the wrong kind may be a misplaced secret: it is not shown."""
    if value is None:
        return "null"
    words = {bool: "true or false", int: "a number", str: "text", list: "a list", dict: "a block of settings"}
    return words.get(type(value), "something else")


def _remedy(kind: str, value: object) -> str:
    match kind, value:
        case "string_type", int():
            return "; put it in quotes"
        case "tuple_type", None:
            return "; write [] for none"
        case "tuple_type", str():
            return "; put [ ] around it"
        case "dict_type", None:
            return "; write {} for none"
    return ""


def _choice(value: object, path: SettingPath) -> str:
    choices = catalogue.choices_of(path)
    word = {False: "off", True: "on"}.get(value, value) if isinstance(value, bool) else value
    meant = nearest(word, choices) if isinstance(word, str) else None
    hint = f"; did you mean {meant}?" if meant and len(choices) > 1 else ""
    return f"must be {either(choices)}, not {shown(value)}{hint}"


def unknown(path: SettingPath) -> str:
    """An unknown name, with the one that was probably meant."""
    name = str(path[-1])
    known = catalogue.names_below(path[:-1])
    if ":" in name or name.startswith(_BLANKS):
        blank = odd_blank(name)
        return f"not a name; {blank} stands there in place of a space" if blank else _NO_SPACE
    if meant := nearest(name, known):
        return f"unknown setting; did you mean {meant}?"
    if elsewhere := catalogue.places_of(name):
        return f"unknown setting here; there is {either(elsewhere)}"
    return f"unknown setting; known here: {', '.join(known)}"
