"""One look at a whole config: every mistake in it, however many others stand beside it.

Pydantic judges a block only once all its fields are good, so that one mistake hides others until it is
mended. Here what is wrong is noted with its path, `UNKNOWN` takes its place, and the look goes on; a check
that needs what is unknown is left out. Knows nothing of files, and of no single setting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from proxy.config.unknown import UNKNOWN, UnknownError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic_core import ErrorDetails

SettingPath = tuple[str | int, ...]
Finding = tuple[SettingPath, str]  # where, and what is wrong or odd there
Judge = Callable[[Any], Any]  # pydantic's: a value in, the parsed value out, or ValidationError
SectionCheck = Callable[[Any], Iterable[Finding]]
PIECE = 500  # mistakes that are listed in one go, while nobody else has a turn: a third of a millisecond


class Look:
    """The context of one validation."""

    def __init__(self) -> None:
        self.details: list[ErrorDetails] = []  # what pydantic finds, with whole paths
        self.misfits: list[Finding] = []  # what the checks find
        self._path: list[str | int] = []
        self._entries: list[int | None] = []  # of each field above: entries of its list so far, or no list

    def field(self, name: str, value: Any, judge: Judge, *, is_list: bool) -> Any:
        if value is UNKNOWN:
            return value
        self._path.append(name)
        self._entries.append(0 if is_list else None)
        try:
            return judge(value)
        except ValidationError as error:
            found = self._noted(_found(error, value, judge))
            return self._without_bad(value, found, judge)
        finally:
            self._entries.pop()
            self._path.pop()

    def section(
        self, value: Any, judge: Judge, fields: Mapping[str, bool], checks: Iterable[SectionCheck]
    ) -> Any:
        """`fields` are the names and whether they are required."""
        index = self._enter()
        try:
            section = judge(self._prepared(value, fields))
        except ValidationError as error:
            self._noted(error.errors(include_url=False))
            return UNKNOWN
        else:
            self._check(section, checks)
            return section
        finally:
            if index is not None:
                self._path.pop()

    def _enter(self) -> int | None:
        index = self._entries[-1] if self._entries else None
        if index is not None:
            self._entries[-1] = index + 1
            self._path.append(index)
        return index

    def _prepared(self, value: Any, fields: Mapping[str, bool]) -> Any:
        """Leaves out names that nobody knows, and puts something for those that are required and missing."""
        if not isinstance(value, dict):
            return value
        for name in value:
            if name not in fields:
                self._note("extra_forbidden", name)
        missing = [name for name, is_required in fields.items() if is_required and name not in value]
        for name in missing:
            self._note("missing", name)
        return {name: each for name, each in value.items() if name in fields} | dict.fromkeys(
            missing, UNKNOWN
        )

    def _check(self, section: Any, checks: Iterable[SectionCheck]) -> None:
        for check in checks:
            with suppress(UnknownError):  # what it found before stands
                for path, message in check(section):
                    self.misfits.append(((*self._path, *path), message))

    def _note(self, kind: str, name: str) -> None:
        self.details.append({"type": kind, "loc": (*self._path, name), "msg": "", "input": None})

    def _noted(self, found: list[ErrorDetails]) -> list[ErrorDetails]:
        self.details += ({**detail, "loc": (*self._path, *detail["loc"])} for detail in found)
        return found

    def _without_bad(self, value: Any, found: list[ErrorDetails], judge: Judge) -> Any:
        """The list with its good entries, so that these are compared with each other."""
        bad = {detail["loc"][0] for detail in found if detail["loc"]}
        if not isinstance(value, list) or len(bad) in (0, len(value)) or not bad.issubset(range(len(value))):
            return UNKNOWN
        good = iter(judge([each for index, each in enumerate(value) if index not in bad]))
        return tuple(UNKNOWN if index in bad else next(good) for index in range(len(value)))


def _found(error: ValidationError, value: Any, judge: Judge) -> list[ErrorDetails]:
    """What is wrong with a value; with a long list piece by piece, so that who is served beside has turns."""
    if error.error_count() <= PIECE or not isinstance(value, list):
        return error.errors(include_url=False)
    return [detail for start in range(0, len(value), PIECE) for detail in _found_from(start, value, judge)]


def _found_from(start: int, value: list[Any], judge: Judge) -> Iterator[ErrorDetails]:
    try:
        judge(value[start : start + PIECE])
    except ValidationError as error:
        for detail in error.errors(include_url=False):
            first, rest = detail["loc"][:1], detail["loc"][1:]  # no first one where it is the list as a whole
            moved = [start + part for part in first if isinstance(part, int)] or first
            yield {**detail, "loc": (*moved, *rest)}
