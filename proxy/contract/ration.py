"""How many originals the log takes: a burst at once, then so many a second, so that no storm of errors fills
a disk.

What is passed over is counted, for the next line that is written. Knows no clock: `now` comes in, in seconds.
"""

from __future__ import annotations


class Ration:
    __slots__ = ("_burst", "_last", "_per_second", "_tokens", "passed_over")

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = burst
        self._tokens = float(burst)
        self._last = 0.0
        self.passed_over = 0  # since the last one that was admitted

    def admits(self, now: float) -> bool:
        """Whether one more may be written; `passed_over` of the time before is then still to be read."""
        self._refill(now)
        if self._tokens < 1:
            self.passed_over += 1
            return False
        self._tokens -= 1
        return True

    def is_full(self, now: float) -> bool:
        """Nothing was asked for a while."""
        self._refill(now)
        return self._tokens >= self._burst

    def _refill(self, now: float) -> None:
        if now > self._last:
            self._tokens = min(self._burst, self._tokens + (now - self._last) * self._per_second)
            self._last = now

    def take_passed_over(self) -> int:
        """How many were passed over since the last call."""
        passed_over, self.passed_over = self.passed_over, 0
        return passed_over
