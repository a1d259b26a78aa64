"""Overrides from the environment: WEIR_STORE__URL is store.url.

Text is taken as it is, numbers and true or false as YAML would, lists and blocks as JSON. An unknown WEIR_
variable is a mistake, except for those that Kubernetes makes for a Service that is named weir, and those that
WEIR_IGNORE names. Knows nothing of files.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from proxy.config import catalogue
from proxy.config.document import DEPTH_MAX, scalar
from proxy.config.wording import nearest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.config.catalogue import Entry

PREFIX = "WEIR_"
IGNORE = "WEIR_IGNORE"  # names of variables that are somebody else's, with commas between them

# kubernetes.io, "Discovering services": variables of a Service named weir or weir-something.
_SERVICE_LINK = re.compile(
    r"WEIR_(?:(?!.*__)[A-Z0-9_]+_)?"
    r"(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)?)"
)


class Variables:
    """What the environment sets: values by path, the variable of each, and mistakes by variable."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.values: dict[tuple[str, ...], Any] = {}
        self.variables: dict[tuple[str, ...], str] = {}
        self.mistakes: list[tuple[str, str]] = []
        known = variables()
        passed = {IGNORE, *(name.strip() for name in environ.get(IGNORE, "").split(","))}
        for variable in sorted(set(environ) - passed):
            if not variable.startswith(PREFIX) or _SERVICE_LINK.fullmatch(variable):
                continue
            entry = known.get(variable)
            if entry is None:
                self.mistakes.append((variable, _unknown(variable, known)))
                continue
            try:
                value = _value(environ[variable], entry)
            except ValueError as error:
                self.mistakes.append((variable, f"{entry.path}: {error}"))
                continue
            path = tuple(entry.path.split("."))
            self.values[path] = value
            self.variables[path] = variable

    def laid_over(self, data: Any) -> Any:
        """The data with what the environment sets: whole blocks first, then single settings."""
        for path in sorted(self.values, key=len):
            block = data
            for name in path[:-1]:
                if not isinstance(block, dict):
                    break  # a mistake of the file that is reported there
                if block.get(name) is None:
                    block[name] = {}
                block = block[name]
            if isinstance(block, dict):
                block[path[-1]] = self.values[path]
        return data

    def variable_of(self, path: tuple[str | int, ...]) -> str | None:
        """The variable that set what is at this path, if one did."""
        for length in range(len(path), 0, -1):
            if (variable := self.variables.get(path[:length])) is not None:  # type: ignore[arg-type]  # lookup only
                return variable
        return None


def variables() -> dict[str, Entry]:
    """Every variable that is understood. What is within a list is set with its list."""
    return {variable_name(entry.path): entry for entry in catalogue.entries() if "[]" not in entry.path}


def variable_name(path: str) -> str:
    return PREFIX + path.replace(".", "__").upper()


def _unknown(variable: str, known: Mapping[str, Entry]) -> str:
    meant = _nearest(variable, known)
    if meant is None:
        singly = {name.replace("__", "_"): name for name in known}
        meant = singly.get(variable.upper().replace("__", "_"))
    lift = f"unset it, or let it pass: {IGNORE}={variable}"
    if meant is None:
        return f"is not a setting of Weir, whose variables all begin with {PREFIX}; {lift}"
    return f"unknown variable; did you mean {meant}? If it is not meant for Weir, {lift}"


def _nearest(variable: str, known: Mapping[str, Entry]) -> str | None:
    """The nearest name, compared without what all have in common, which would make everything near."""
    bare = {name.removeprefix(PREFIX): name for name in known}
    meant = nearest(variable.removeprefix(PREFIX), bare)
    return bare[meant] if meant else None


def _value(text: str, entry: Entry) -> Any:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("is not UTF-8") from None
    if entry.takes_json and (not entry.takes_word or text.lstrip()[:1] in ("[", "{")):
        return _json(text, "a list" if entry.is_list else "a block")
    word = scalar(text)
    if word is None:
        if text and entry.takes_null:
            return None
        return text
    return word if entry.takes_number else text


def _json(text: str, what: str) -> Any:
    if not text.strip():
        raise ValueError(f"is empty; write {what} as JSON, or unset it")
    try:
        value = json.loads(text, object_pairs_hook=_object, parse_float=str, parse_constant=str)
    except json.JSONDecodeError as error:
        raise ValueError(
            f"must be {what} as JSON: {_lower(error.msg)} at character {error.pos + 1}"
        ) from None
    except RecursionError:
        raise ValueError(f"nested more than {DEPTH_MAX} levels deep") from None
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise ValueError("an escape stands for half a character") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("a name is there twice in one JSON object")
    return data


def _lower(text: str) -> str:
    return text[:1].lower() + text[1:]
