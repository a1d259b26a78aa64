"""What a client may have, and what it was refused, counted beside the store by the decisions that it gives."""

from __future__ import annotations

from tests.simulation.world import TIMEOUT

DECIDED_WITHIN = TIMEOUT + 0.05  # a call's deadline, and a loop's lag
COMES_BACK_WITHIN = 0.01  # a token that is given back, while Redis is well


class BrokenError(AssertionError):
    """What must hold does not."""


class Account:
    """What one client may have, counted by its decisions: a bucket whose debt only ever shows here."""

    def __init__(self, rate: float, burst: float, lag: float = 0.0) -> None:
        """`lag`: seconds between the charge of a token and its use, at most."""
        self.rate = rate
        self.burst = burst
        self._lag = 2 * DECIDED_WITHIN + lag  # a decision is told later than it is made
        self.grace = 0.0  # tokens that faults have cost so far
        self._debt = 0.0
        self._at = 0.0

    def admitted(self, now: float, cost: float = 1.0) -> None:
        self._pass(now)
        self._debt += cost
        late = cost + self.rate * self._lag
        if self._debt > self.burst + self.grace + late:
            raise BrokenError(f"{self._debt:.2f} of {self.burst} + {self.grace:.2f} were given")

    def returned(self, now: float, tokens: float) -> float:
        """A request gave its own back. How many there was room for, at least: Redis has counted since earlier."""
        self._pass(now)
        certain = min(max(self._debt - self.rate * COMES_BACK_WITHIN, 0.0), tokens)
        self._debt -= min(self._debt, tokens)
        return certain

    def _pass(self, now: float) -> None:
        self._debt = max(0.0, self._debt - (now - self._at) * self.rate)
        self._at = now


class Suspicion:
    """The most that a bucket can owe: who is refused with less than that was charged for what it did not get."""

    def __init__(self, rate: float, most: float) -> None:
        self.rate = rate
        self.most = most  # that a bucket can owe at all
        self._debt = 0.0
        self._at = 0.0

    def forget(self, now: float, debt: float = 0.0) -> None:
        """Anything may have happened; a 429 of the service may leave it with more debt than requests can."""
        self._pass(now)
        self._debt = max(self._debt, self.most, debt)

    def admitted(self, now: float, cost: float) -> None:
        self._pass(now)
        self._debt += cost

    def returned(self, now: float, tokens: float) -> None:
        self._pass(now)
        self._debt = max(0.0, self._debt - tokens)

    def refused(self, now: float, cost: float, room: float, lag: float) -> None:
        """`room`: of the bucket, by the terms that refused it. `lag`: seconds since it was asked."""
        self._pass(now)
        if self._debt + self.rate * lag + cost <= room - 1e-3:
            raise BrokenError(f"refused, and owes {self._debt:.3f} of {room}")

    def _pass(self, now: float) -> None:
        self._debt = max(0.0, self._debt - (now - self._at) * self.rate)
        self._at = now
