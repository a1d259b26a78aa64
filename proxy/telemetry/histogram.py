"""Counts by size: a list of integers and a sum, so that an observation is a short search and two additions.

Knows nothing of names, labels or the exposition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


class Histogram:
    """How many values were at most each bound; the last count is of those above all bounds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        at = 0
        for bound in self.bounds:  # most values are among the smallest: a bisection costs more
            if value <= bound:
                break
            at += 1
        self.counts[at] += 1
        self.total += value
