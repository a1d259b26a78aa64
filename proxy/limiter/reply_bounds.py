"""How much a server of Redis may say: no reply to a call of ours is larger than `REPLY_BYTES`.

hiredis makes room for what a header promises before it has come, also for lists within lists, so promises are
judged first. Knows nothing of calls.
"""

from __future__ import annotations

import re
from typing import Final

REPLY_BYTES = 1024 * 1024  # a page of SCAN, the largest there is, has a tenth of that
PROMISED_MAX = 100_000  # elements of aggregates, beside one for each byte that has come

_AGGREGATE = re.compile(rb"(?:^|\n)[*%~>|]([0-9]{1,20})")
_TAIL_BYTES = 24  # in which a header may have begun
OF_NUMBERS: Final = b"-:0123456789\r\n"
RETURN: Final = 13


class Bounds:
    """Bounds on replies of a connection that do not come whole, or are no list of numbers (wire.py)."""

    __slots__ = ("_bytes", "_promised", "_tail")

    def __init__(self) -> None:
        self._bytes = 0  # since the last whole reply
        self._promised = 0
        self._tail = b"\n"  # of the pieces before

    def began(self, data: bytes) -> None:
        """The last reply of a plain piece is not whole yet."""
        self._bytes = len(data)
        self._tail = data[-_TAIL_BYTES:]

    def replied(self) -> None:
        """All replies so far are whole."""
        self._bytes = self._promised = 0
        self._tail = b"\n"

    def are_broken(self, data: bytes) -> bool:
        """Whether a piece promises too much, or a reply goes on for too long."""
        text = self._tail + data
        self._bytes += len(data)
        self._promised += sum(map(int, _AGGREGATE.findall(text)))
        self._tail = text[-_TAIL_BYTES:]
        return self._bytes > REPLY_BYTES or self._promised > PROMISED_MAX + self._bytes
