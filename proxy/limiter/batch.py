"""The requests of one loop tick as one script call: packed, sent, and each told its decision from the reply.

Knows the order of charges in a call; what to do with an error or a late reply is the dispatcher's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from proxy.limiter.records import LAST_SHARD, pack_head, pack_run
from proxy.limiter.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.cache import LimitCache
    from proxy.limiter.dispatcher import Dispatcher
    from proxy.limiter.link import Link
    from proxy.limiter.operations import Operation
    from proxy.limiter.store import Waiter
    from proxy.policy.decision import Charge

    Request = tuple[Operation, Sequence[Charge], Waiter]

_log = logging.getLogger("weir.store")

SCRIPT = Script("bucket.lua", "take.lua")
ASKING = b"*1\r\n$6\r\nASKING\r\n"


class Batch:
    """`keys` are packed for a call; runs are requests in a row with the same operation."""

    can_wait = True

    __slots__ = (
        "_count",
        "_dispatcher",
        "_link",
        "_plan",
        "_record",
        "_sent",
        "by_source",
        "deadline",
        "is_asking",
        "keys",
        "requests",
        "sends",
    )

    def __init__(self, dispatcher: Dispatcher, deadline: float) -> None:
        self.requests: list[Request] = []
        self.keys: list[bytes] = []
        self.deadline = deadline
        self.by_source = False  # Redis does not know the script
        self.is_asking = False  # its slot is on the move (ASK)
        self.sends = 1
        self._dispatcher = dispatcher
        self._link: Link = None  # type: ignore[assignment]  # set when it is sent
        self._sent = 0.0
        self._plan = b""  # runs, packed
        self._record = b""  # of the last run
        self._count = 0

    def take(self, cache: LimitCache, charges: Sequence[Charge], waiter: Waiter) -> None:
        """The hot path, `add` written out: a request with one charge."""
        key = charges[0].key
        self.keys.append(cache.prefixes[key[0] & LAST_SHARD] + key)
        take = cache.take
        self.requests.append((take, charges, waiter))
        if take.record is self._record:
            self._count += 1
        else:
            self._begin_run(take.record)

    def add(self, operation: Operation, charges: Sequence[Charge], waiter: Waiter) -> None:
        self.keys += operation.keys(charges)
        self.requests.append((operation, charges, waiter))
        if operation.record is self._record:
            self._count += 1
        else:
            self._begin_run(operation.record)

    def _begin_run(self, record: bytes) -> None:
        self._end_run()
        self._record = record
        self._count = 1

    def _end_run(self) -> None:
        if self._count:
            self._plan += pack_run(self._count) + self._record
            self._count = 0

    def split(self) -> list[Batch]:
        """Each request on its own."""
        parts = []
        for operation, charges, waiter in self.requests:
            part = Batch(self._dispatcher, self.deadline)
            part.add(operation, charges, waiter)
            part.sends = self.sends
            parts.append(part)
        return parts

    # --- on the link ---

    def data(self, link: Link) -> bytes:
        self._end_run()
        self._record = b""
        self._link = link
        self._sent = self._dispatcher.now()
        head = pack_head(link.clock.server_us(int(self.deadline * 1e6)))
        call = SCRIPT.full_call if self.by_source else SCRIPT.call
        data = call(self.keys, head + self._plan)
        return ASKING + data if self.is_asking else data

    def replied(self, reply: Any) -> None:
        if type(reply) is list:
            received = self._dispatcher.now()
            sent_us = int(self._sent * 1e6)
            received_us = int(received * 1e6)
            self._link.clock.learn(sent_us, received_us, reply[-1])
            if len(reply) == 1:
                self._late(received)
            else:
                self._dispatcher.answered(self, received_us, received - self._sent)
                self._answer(reply, sent_us)
        elif self.is_asking and reply == b"OK":
            self._link.expect(self)  # the reply to ASKING; the one that counts is next
        else:
            self._dispatcher.rejected(self, self._link, reply)

    def failed(self) -> None:
        self._dispatcher.unanswered(self)

    def _late(self, now: float) -> None:
        if now < self.deadline:  # Redis found it late before it was: the clocks were apart, and now are not
            self._dispatcher.again(self, self._link)
        else:
            self._dispatcher.count_error("late")  # not Redis's doing alone: this process may have been busy
            self._dispatcher.unanswered(self)

    def _answer(self, answers: list[int], sent_us: int) -> None:
        at = 0
        for operation, charges, waiter in self.requests:
            decision = operation.decision(charges, answers, at, sent_us)
            at += operation.width
            try:
                waiter.decided(decision)
            except Exception:  # noqa: BLE001 - a mistake of one must not leave the others without an answer
                _log.exception("crashed")
