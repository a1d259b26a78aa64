"""Which limits a request can meet at all: asking five hundred of them costs it no more than asking ten.

A limit is filed by what every request that meets it has: the first segments of its path, the value of a
header field, or its method; of these by what the fewest others share. One that asks for none of them, such
as `/*/export`, is looked at for every request. May find too many limits, never too few. Knows nothing of
rates.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

from proxy.policy.matching import texts_of
from proxy.policy.readings import HOST

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxy.http1.head import RequestHead
    from proxy.policy.limits import Limit
    from proxy.policy.matching import Matcher

    ShelfName = tuple[bool, str, bytes]  # is it exact; a kind, or the name of a field; the key

FEW: Final = 8  # limits that are all asked before one of them is looked up (measured: docs/performance.md)
PATH: Final = "/"  # no field has these names
METHOD: Final = " "
_FORMAT: Final = re.compile(rb"\.[^/]*")  # as which a wide pattern may read the end of any segment


class Folder:
    """Limits that are filed at one place."""

    __slots__ = ("limits", "numbers")

    def __init__(self, numbers: Sequence[int], always: Sequence[int], limits: Sequence[Limit]) -> None:
        self.numbers = tuple(numbers)
        self.limits = [limits[number] for number in sorted({*numbers, *always})]  # all to be looked at


class LimitIndex:
    __slots__ = ("_always", "_limits", "_shelves", "_unfiled")

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._limits = tuple(limits)
        ways = [list(_ways(limit.match)) for limit in limits]
        crowds = Counter(place for each in ways for way in each for place in way)
        filed: dict[ShelfName, list[int]] = {}
        always = [number for number, each in enumerate(ways) if not each]
        for number, each in enumerate(ways):
            for place in min(each, key=lambda way: max(crowds[place] for place in way), default=[]):
                filed.setdefault(place, []).append(number)
        self._always = tuple(always)
        self._unfiled = [limits[number] for number in always]
        self._shelves: list[Shelf] = []
        for is_exact in (False, True):
            folders: dict[str, dict[bytes, Folder]] = {}
            for (exact, kind, key), numbers in filed.items():
                if exact == is_exact:
                    folders.setdefault(kind, {})[key] = Folder(numbers, always, limits)
            if folders:
                self._shelves.append(Shelf(folders, is_exact=is_exact))

    def find(self, head: RequestHead) -> Sequence[Limit]:
        """The limits that may apply, in the order of the config."""
        found: list[Folder] = []
        for shelf in self._shelves:
            shelf.find(head, found)
        if not found:
            return self._unfiled
        if len(found) == 1:
            return found[0].limits
        limits = self._limits
        numbers = {number for folder in found for number in folder.numbers}
        return [limits[number] for number in sorted(numbers.union(self._always))]


class Shelf:
    """Limits that read requests alike: without regard to case, or exactly."""

    __slots__ = ("_depth", "_is_exact", "_methods", "_paths", "_values")

    def __init__(self, folders: Mapping[str, dict[bytes, Folder]], *, is_exact: bool) -> None:
        self._is_exact = is_exact
        self._paths = folders.get(PATH, {})
        self._depth = max([stem.count(b"/") for stem in self._paths], default=0)
        self._methods = folders.get(METHOD, {})
        self._values = [(kind.encode(), by) for kind, by in folders.items() if kind not in (PATH, METHOD)]

    def find(self, head: RequestHead, found: list[Folder]) -> None:
        if self._depth:
            for path in head.paths if self._is_exact else head.folded_paths:
                self._find_by_path(path if self._is_exact else without_formats(path), found)
        for field, folders in self._values:
            value = head.fields.get(field)
            if not value and field == HOST:
                found.extend(folders.values())  # it may be taken for any
            elif value is not None:
                self._find_by_value(field, value, folders, found)
        if self._methods:
            folder = self._methods.get(head.method)
            if folder is not None:
                found.append(folder)

    def _find_by_path(self, path: bytes, found: list[Folder]) -> None:
        folders, end = self._paths, 0
        for _ in range(self._depth):
            end = path.find(b"/", end + 1)
            folder = folders.get(path[:end] if end > 0 else path)
            if folder is not None:
                found.append(folder)
            if end < 0:
                return

    def _find_by_value(
        self, field: bytes, value: bytes, folders: dict[bytes, Folder], found: list[Folder]
    ) -> None:
        texts = texts_of(field, value, is_exact=self._is_exact)
        if texts is None:
            found.extend(folders.values())
            return
        for text in texts:
            folder = folders.get(text)
            if folder is not None:
                found.append(folder)


def without_formats(path: bytes) -> bytes:
    """`/login` of `/login.json`. More is cut than may be a format: too many are found, never too few."""
    return _FORMAT.sub(b"", path) if b"." in path else path


def _ways(match: Matcher) -> Iterable[list[ShelfName]]:
    """Each is a list of places; a request that meets the limit has what one of them says."""
    is_exact = match.is_exact
    if match.stems:
        yield [(is_exact, PATH, stem if is_exact else without_formats(stem)) for stem in match.stems]
    for field, literal in match.literals.items():
        yield [(is_exact, field.decode(), literal)]
    if match.methods:
        yield [(is_exact, METHOD, method) for method in match.methods]
