"""Counts by size: a list of integers and a sum, so that an observation is a short search and two additions.

Knows nothing of names, labels or the exposition.
"""

from __future__ import annotations

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
        """Counts what was noted."""
        counts, bounds = self._counts, self.bounds
        for value in self.noted:
            at = 0
            for bound in bounds:  # most values are among the smallest: a bisection costs more
                if value <= bound:
                    break
                at += 1
            counts[at] += 1
            self._total += value
        self.noted.clear()

    @property
    def counts(self) -> list[int]:
        self.count()
        return self._counts

    @property
    def total(self) -> float:
        self.count()
        return self._total
