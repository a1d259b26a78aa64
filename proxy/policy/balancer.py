"""Which address is next: the less loaded of two that are drawn at random, each in proportion to its weight.

Two choices keep the most loaded one within O(log log n) of the rest without anybody counting for all
(Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing", 2001), and a herd of replicas never
runs after the same least loaded one. Drawing by weight is what shares out addresses that are all at rest.
"""

from __future__ import annotations

from bisect import bisect_right
from itertools import accumulate
from random import random
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable


class Loaded(Protocol):
    @property
    def load(self) -> int:
        """Requests that it has to answer now."""
        ...


S = TypeVar("S", bound=Loaded)


class Balancer(Generic[S]):
    def __init__(self, draw: Callable[[], float] = random) -> None:
        self._draw = draw  # uniform in [0, 1)
        self.choices: list[S] = []
        self._weights: list[float] = []
        self._ends: list[float] = []  # of each one's stretch on a line as long as all weights

    def use(self, weighted: Iterable[tuple[S, float]]) -> None:
        """The addresses to choose from, at least one, with weights above 0."""
        pairs = list(weighted)
        self.choices = [choice for choice, _ in pairs]
        self._weights = [weight for _, weight in pairs]
        self._ends = list(accumulate(self._weights))

    def choose(self) -> S:
        choices = self.choices
        if len(choices) == 1:
            return choices[0]
        one = self._index(0.0, 0.0)
        start = self._ends[one] - self._weights[one]
        other = self._index(start, self._weights[one])
        return choices[one] if self._pressure(one) <= self._pressure(other) else choices[other]

    def _index(self, start: float, gap: float) -> int:
        """One by its stretch of the line, out of which the `gap` from `start` on is cut."""
        at = self._draw() * (self._ends[-1] - gap)
        if at >= start:
            at += gap
        return min(bisect_right(self._ends, at), len(self._ends) - 1)

    def _pressure(self, index: int) -> float:
        return self.choices[index].load / self._weights[index]
