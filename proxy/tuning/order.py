"""Requests of one log or of several, in the order in which they began.

A line is written when its exchange ends, so that a log is nearly in order: what began within `WINDOW_US`
before the latest is put where it belongs. What is later than that has gone back in time and is left out, as
is a moment far ahead of all that follow. Memory is that of the window, and of `HELD_MAX` requests at most.
"""

from __future__ import annotations

from bisect import bisect_right
from operator import itemgetter
from statistics import median_low
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Timed = tuple[int, Any]  # a moment in microseconds, and whatever belongs to it

WINDOW_US = 150_000_000  # by default an answer may take 140 s until its head
LEAP_US = 86_400_000_000  # a log that pauses for a day is believed only if it goes on from there
LEAPERS = 64  # as many lines show that it does
BATCH = 16_384  # sorting costs least in large pieces
HELD_MAX = 250_000

_moment = itemgetter(0)


class Ordered:
    """The requests of one log."""

    def __init__(self, batches: Iterable[Sequence[Timed]]) -> None:
        self.late = 0  # requests that were left out
        self._batches = batches
        self._latest: int | None = None
        self._emitted = 0  # everything up to here has been told
        self._ahead: list[Timed] = []  # far ahead of all before them

    def __iter__(self) -> Iterator[list[Timed]]:
        """Pieces, each in order, and in order of each other."""
        held: list[Timed] = []
        fresh: list[Timed] = []
        for batch in self._batches:
            fresh += self._believed(batch)
            if len(fresh) < max(BATCH, min(len(held), HELD_MAX // 2)):
                continue
            held, piece = self._settled(held + fresh)
            fresh = []
            yield piece
        fresh += self._ahead
        held, piece = self._settled(held + fresh, is_last=True)
        yield piece

    def _believed(self, batch: Sequence[Timed]) -> Sequence[Timed]:
        """Leaves out what has gone back in time, and moments far ahead of all the others."""
        if not batch:
            return batch
        if self._latest is None:
            self._latest = _first(batch[:3])
        newest, oldest = max(batch, key=_moment)[0], min(batch, key=_moment)[0]
        if newest <= self._latest + LEAP_US and oldest >= self._latest - WINDOW_US and not self._ahead:
            self._latest = max(self._latest, newest)
            return batch
        return [item for each in batch for item in self._judged(each)]

    def _judged(self, item: Timed) -> list[Timed]:
        """One by one, where something is odd: a moment far ahead waits until others follow it."""
        latest = self._latest
        assert latest is not None
        if item[0] < latest - WINDOW_US:
            self.late += 1
            return []
        if item[0] > latest + LEAP_US:
            self._ahead.append(item)
            if len(self._ahead) < LEAPERS:
                return []
            self._latest = max(self._ahead, key=_moment)[0]
            believed, self._ahead = self._ahead, []
            return believed
        self.late += len(self._ahead)
        self._ahead = []
        self._latest = max(latest, item[0])
        return [item]

    def _settled(self, items: list[Timed], *, is_last: bool = False) -> tuple[list[Timed], list[Timed]]:
        """What may still be joined by earlier ones, and what is in its order for good."""
        items.sort(key=_moment)
        first = bisect_right(items, self._emitted - 1, key=_moment)
        self.late += first
        if is_last or self._latest is None:
            end = len(items)
        else:
            end = bisect_right(items, self._latest - WINDOW_US, key=_moment)
            end = max(first, end, len(items) - HELD_MAX)
        piece = items[first:end]
        if piece:
            self._emitted = piece[-1][0]
        return items[end:], piece


def _first(items: Sequence[Timed]) -> int:
    """The earliest of a few, unless it is far from the others."""
    middle = median_low(map(_moment, items))
    return min(at for at, _ in items if at >= middle - LEAP_US)


def merged(logs: Sequence[Iterable[list[Timed]]]) -> Iterator[list[Timed]]:
    """The pieces of several logs as one: of replicas side by side, or of a log that was rotated."""
    sources = [iter(log) for log in logs]
    heads: list[list[Timed]] = []
    for source in list(sources):
        _advance(sources, heads, source)
    while len(sources) > 1:
        # All of them are known up to the moment at which the first piece ends.
        until = min(head[-1][0] for head in heads)
        together: list[Timed] = []
        for source, head in list(zip(sources, heads, strict=True)):
            end = bisect_right(head, until, key=_moment)
            together += head[:end]
            del head[:end]
            if not head:
                _advance(sources, heads, source)
        together.sort(key=_moment)
        yield together
    yield from heads
    for source in sources:
        yield from source


def _advance(
    sources: list[Iterator[list[Timed]]], heads: list[list[Timed]], source: Iterator[list[Timed]]
) -> None:
    """The next piece of a source that holds anything; without one the source goes."""
    at = sources.index(source)
    piece = next(filter(None, source), None)
    if at < len(heads):
        del heads[at]
    if piece is None:
        del sources[at]
    else:
        heads.insert(at, piece)
