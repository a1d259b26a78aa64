"""The requests of one loop tick as one script call: packed, sent, and each told its decision from the reply.

Knows the order of charges in a call; what to do with an error or a late reply is the dispatcher's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from proxy.limiter.records import LAST_SHARD, UnansweredCall, pack_count, pack_head
from proxy.limiter.replies import are_numbers
from proxy.limiter.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.cache import TermsCache
    from proxy.limiter.dispatcher import Dispatcher
    from proxy.limiter.link import Link
    from proxy.limiter.operations import Operation
    from proxy.limiter.store import Waiter
    from proxy.policy.decision import Charge

    Request = tuple[Operation, Sequence[Charge], Waiter]

_log = logging.getLogger("weir.store")

SCRIPT = Script("call.lua", "plain.lua", "bucket.lua", "slots.lua", "take.lua")
CLOCK_ERROR_US = 1_000_000  # by which the server's clock may be mistaken; calls are forgotten later than that
ASKING = b"*1\r\n$6\r\nASKING\r\n"


class Batch:
    """`keys` are packed for a call; runs are requests in a row with the same operation."""

    can_wait = True

    __slots__ = (
        "_count",
        "_dispatcher",
        "_first_us",
        "_is_out",
        "_is_unsure",
        "_link",
        "_plan",
        "_record",
        "_sent",
        "_tag",
        "by_source",
        "deadline",
        "is_asking",
        "is_hasty",
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
        self.is_hasty = False  # goes at once, with a single request
        self.sends = 1
        self._dispatcher = dispatcher
        self._link: Link = None  # type: ignore[assignment]  # set when it is sent
        self._sent = 0.0
        self._tag = 0
        self._first_us = 0  # when it was sent for the first time
        self._is_out = False  # sent, and not answered
        self._is_unsure = False  # it was sent before, and that was never answered
        self._plan = b""  # runs, packed
        self._record = b""  # of the last run
        self._count = 0

    def take(self, cache: TermsCache, charges: Sequence[Charge], waiter: Waiter) -> None:
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
            self._plan += pack_count(self._count) + self._record
            self._count = 0

    def split(self) -> list[Batch]:
        """Each request on its own."""
        parts = []
        for operation, charges, waiter in self.requests:
            part = Batch(self._dispatcher, self.deadline)
            part.add(operation, charges, waiter)
            part.sends = self.sends
            if self._is_unsure:
                part._tag, part._first_us, part._is_unsure = self._tag, self._first_us, True
            parts.append(part)
        return parts

    # --- on the link ---

    def data(self, link: Link) -> bytes:
        self._end_run()
        self._record = b""
        self._link = link
        dispatcher = self._dispatcher
        self._sent = dispatcher.now()
        if not self._tag:
            self._tag = dispatcher.next_tag()
            self._first_us = int(self._sent * 1e6)
        self._is_unsure = self._is_unsure or self._is_out
        self._is_out = True
        again_us = self._since_us() if self._is_unsure else 0
        deadline_us = link.clock.server_us(int(self.deadline * 1e6))
        head = pack_head(deadline_us, self._tag, again_us, dispatcher.replicas.alike_until(link))
        call = SCRIPT.full_call if self.by_source else SCRIPT.call
        data = call(self.keys, head + self._plan)
        return ASKING + data if self.is_asking else data

    def _since_us(self) -> int:
        """It was not run before that, by the server's clock."""
        return self._link.clock.server_us(self._first_us) - CLOCK_ERROR_US

    @property
    def doubt(self) -> UnansweredCall | None:
        """Set if it may have been run, and nobody knows."""
        return UnansweredCall(self._tag, self._since_us()) if self._is_out or self._is_unsure else None

    def replied(self, reply: Any) -> None:
        """Decides its requests, or counts as trouble; then they are decided without Redis."""
        self._is_out = False
        dispatcher = self._dispatcher
        if type(reply) is not list:
            if self.is_asking and reply == b"OK":
                self._is_out = True
                self._link.expect(self)  # the reply to ASKING; the one that counts is next
            else:
                dispatcher.rejected(self, self._link, reply)
        elif are_numbers(reply, len(self.keys) + 2) or are_numbers(reply, 1):
            received = dispatcher.now()
            sent_us = int(self._sent * 1e6)
            received_us = int(received * 1e6)
            self._link.clock.learn(sent_us, received_us, reply[-1])
            if len(reply) == 1:
                self._late(received)
            elif 0 <= (foreign := reply[-2]) <= len(self.keys):
                dispatcher.answered(self, received_us, received - self._sent, foreign)
                self._answer(reply, sent_us)
            else:
                dispatcher.rejected(self, self._link, reply)
        else:
            dispatcher.rejected(self, self._link, reply)

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
            try:
                waiter.decided(operation.decision(charges, answers, at, sent_us))
            except Exception:  # noqa: BLE001 - a mistake of one must not leave the others without an answer
                _log.exception("crashed")
            at += operation.width
