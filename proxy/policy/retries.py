"""How many requests may be sent to a server a second time: a storm of retries would finish off a service that
is on its knees.

A share of the requests of late, and a few a second for when there are few; what was not spent stays good for
some seconds. The figures are those of Finagle's RetryBudget and of Linkerd. Knows no clock: `now` comes in.
"""

from __future__ import annotations

IDEMPOTENT = frozenset((b"GET", b"HEAD", b"OPTIONS", b"PUT", b"DELETE"))  # RFC 9110 section 9.2.2

SHARE = 0.2  # of the requests that were answered
PER_SECOND = 10.0
SECONDS = 10.0


class RetryBudget:
    __slots__ = ("_answered", "_left", "_now")

    def __init__(self) -> None:
        self._left = PER_SECOND * SECONDS
        self._now: float | None = None
        self._answered = 0

    def refill(self, now: float, answered: int) -> None:
        """`answered` is the number of requests so far; called about once a second."""
        seconds = now - self._now if self._now is not None else 0.0
        requests, self._now, self._answered = answered - self._answered, now, answered
        if seconds <= 0:
            return
        earned = SHARE * requests + PER_SECOND * seconds
        self._left = min(self._left + earned, earned / seconds * SECONDS)

    def repeats(self, method: bytes, body_length: int) -> bool:
        """Whether a request may be sent again of which no server has answered a byte.

        Only if it is idempotent, and there is no body to repeat.
        """
        return method in IDEMPOTENT and body_length == 0 and self.spend()

    def spend(self) -> bool:
        """Whether one more request may be sent again."""
        if self._left < 1:
            return False
        self._left -= 1
        return True
