"""Counts by size: a list of integers and a sum, so that an observation is a short search and two additions.

Knows nothing of names, labels or the exposition.
"""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

NOTED_MAX: Final = 64


class Histogram:
    """How many values were at most each bound; the last count is of those above all bounds.

    Values are noted one by one, which is what every exchange pays, and counted many at a time.
    """

    __slots__ = ("_counts", "_total", "bounds", "noted")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.noted: list[float] = []  # not counted yet
        self._counts = [0] * (len(self.bounds) + 1)
        self._total = 0.0

    def observe(self, value: float) -> None:
        noted = self.noted
        noted.append(value)
        if len(noted) >= NOTED_MAX:
            self.count()

    def count(self) -> None:
        """Counts what was noted: sorted, a bound costs one bisection for all, in a third of the time."""
        noted, counts = self.noted, self._counts
        noted.sort()
        self._total += sum(noted)
        most = len(noted)
        done = 0
        for at, bound in enumerate(self.bounds):
            if done == most:
                break
            upto = bisect_right(noted, bound, done)
            counts[at] += upto - done
            done = upto
        counts[-1] += most - done
        noted.clear()

    @property
    def counts(self) -> list[int]:
        self.count()
        return self._counts

    @property
    def total(self) -> float:
        self.count()
        return self._total
