"""A bucket that is emptied in Redis: a request in a batch like any other, which nobody waits for.

Leases of it that come in meanwhile are dropped. Knows nothing of connections, and no clock.
"""

from __future__ import annotations

from struct import pack
from typing import TYPE_CHECKING

from proxy.limiter.books import EMPTY, flags

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.books import Book
    from proxy.policy.decision import Charge, Decision


class Emptying:
    """The shape of such a request."""

    __slots__ = ("_book", "books", "columns", "refund_columns", "width")

    def __init__(self, book: Book, debt: int) -> None:
        limit = book.limit
        self._book = book
        self.books: tuple[Book, ...] = ()
        self.width = 1
        self.columns = self.refund_columns = pack(
            "<dddB", limit.scale, debt, limit.burst_units, flags(limit) | EMPTY
        )

    def packed(self, charges: Sequence[Charge]) -> list[bytes]:
        return self._book.packed(charges)

    def decision(self, charges: Sequence[Charge], answers: list[int], at: int, sent_us: int) -> Decision:
        if self._book.leases is not None:
            self._book.leases.forget(charges[0].key)
        return self._book.decision(charges, answers, at, sent_us)
