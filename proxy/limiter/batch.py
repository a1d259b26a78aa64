"""The requests of one loop tick as one script call: packed, sent, and each told its decision from the reply.

Knows the order of charges in a call; what to do with an error or a late reply is the store's.
"""

from __future__ import annotations

import logging
from struct import pack
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

from proxy.limiter.books import LAST_SHARD, shard_tag
from proxy.limiter.resp import Script, key_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.books import Book, Shape
    from proxy.limiter.emptying import Emptying
    from proxy.limiter.leases import Leases
    from proxy.limiter.link import Link
    from proxy.limiter.store import Waiter
    from proxy.policy.decision import Charge, Decision

    Request = tuple[Book | Shape | Leases | Emptying, Sequence[Charge], Waiter]

_log = logging.getLogger("weir.store")

TAKE = Script("take.lua")
ASKING = b"*1\r\n$6\r\nASKING\r\n"


def rehearsal(link: Link, shard: int) -> bytes:
    """Takes a token and gives it back: what the user may not do shows before requests depend on it."""
    key = key_prefix(b"weir:%b:rehearsal" % shard_tag(shard), 0)
    deadline = pack("<d", link.clock.server_us(int((monotonic() + link.timeout) * 1e6)))
    runs = [pack("<HBdddB", 1, 1, 1, cost, 1000, 0) for cost in (1000, -1000)]
    return TAKE.call([key, key], deadline + b"".join(runs))


class Nobody:
    """Waits for tokens that are given back, and for leases."""

    def decided(self, decision: Decision) -> None:
        """Nobody minds."""


NOBODY = Nobody()


class Desk(Protocol):
    """The store, as a batch sees it."""

    def answered(self, batch: Batch, received_us: int, seconds: float) -> None: ...

    def unanswered(self, batch: Batch) -> None:
        """Came too late, or not at all: its requests are decided without Redis."""

    def rejected(self, batch: Batch, link: Link, error: Exception) -> None: ...

    def count_error(self, reason: str) -> None: ...

    def again(self, batch: Batch, link: Link) -> None:
        """Redis found it late before it was: the clocks were apart, and now are not."""


class Batch:
    """`keys` are packed for a call; runs are requests in a row that are charged to the same limits."""

    can_wait = True

    __slots__ = (
        "_columns",
        "_count",
        "_desk",
        "_link",
        "_plan",
        "_sent",
        "_width",
        "by_source",
        "deadline",
        "is_asking",
        "keys",
        "requests",
        "sends",
    )

    def __init__(self, desk: Desk, deadline: float) -> None:
        self.requests: list[Request] = []
        self.keys: list[bytes] = []
        self.deadline = deadline
        self.by_source = False  # Redis does not know the script
        self.is_asking = False  # its slot is on the move (ASK)
        self.sends = 1
        self._desk = desk
        self._link: Link = None  # type: ignore[assignment]  # set when it is sent
        self._sent = 0.0
        self._plan = b""  # runs, packed
        self._columns = b""  # of the last run
        self._width = 0
        self._count = 0

    def add_one(self, book: Book, charges: Sequence[Charge], waiter: Waiter) -> None:
        """The hot path: a request with one charge."""
        key = charges[0].key
        self.keys.append(book.prefixes[key[0] & LAST_SHARD] + key)
        self.requests.append((book, charges, waiter))
        if book.columns is self._columns:
            self._count += 1
        else:
            self._begin_run(book.columns, 1)

    def add(
        self,
        shape: Book | Shape | Leases | Emptying,
        charges: Sequence[Charge],
        waiter: Waiter,
        columns: bytes,
    ) -> None:
        """`columns` are the shape's own, or those that give back."""
        self.keys += shape.packed(charges)
        self.requests.append((shape, charges, waiter))
        if columns is self._columns:
            self._count += 1
        else:
            self._begin_run(columns, shape.width)

    def _begin_run(self, columns: bytes, width: int) -> None:
        self._end_run()
        self._columns = columns
        self._width = width
        self._count = 1

    def _end_run(self) -> None:
        if self._count:
            self._plan += pack("<HB", self._count, self._width) + self._columns
            self._count = 0

    def split(self) -> list[Batch]:
        """Each request on its own."""
        parts = []
        for shape, charges, waiter in self.requests:
            part = Batch(self._desk, self.deadline)
            part.add(shape, charges, waiter, shape.refund_columns if waiter is NOBODY else shape.columns)
            part.sends = self.sends
            parts.append(part)
        return parts

    # --- on the link ---

    def data(self, link: Link) -> bytes:
        self._end_run()
        self._columns = b""
        self._link = link
        self._sent = monotonic()
        deadline = pack("<d", link.clock.server_us(int(self.deadline * 1e6)))
        call = TAKE.full_call if self.by_source else TAKE.call
        data = call(self.keys, deadline + self._plan)
        return ASKING + data if self.is_asking else data

    def replied(self, reply: Any) -> None:
        if type(reply) is list:
            received = monotonic()
            sent_us = int(self._sent * 1e6)
            received_us = int(received * 1e6)
            self._link.clock.learn(sent_us, received_us, reply[-1])
            if len(reply) == 1:
                self._late(received)
            else:
                self._desk.answered(self, received_us, received - self._sent)
                self._answer(reply, sent_us)
        elif self.is_asking and reply == b"OK":
            self._link.expect(self)  # the reply to ASKING; the one that counts is next
        else:
            self._desk.rejected(self, self._link, reply)

    def failed(self) -> None:
        self._desk.unanswered(self)

    def _late(self, now: float) -> None:
        if now < self.deadline:
            self._desk.again(self, self._link)
        else:
            self._desk.count_error("late")  # not Redis's doing alone: this process may have been busy
            self._desk.unanswered(self)

    def _answer(self, answers: list[int], sent_us: int) -> None:
        at = 0
        for shape, charges, waiter in self.requests:
            decision = shape.decision(charges, answers, at, sent_us)
            at += shape.width
            try:
                waiter.decided(decision)
            except Exception:  # noqa: BLE001 - a mistake of one must not leave the others without an answer
                _log.exception("crashed")
