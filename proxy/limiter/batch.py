"""The requests of one loop tick as one script call: packed, sent, and each told its decision from the reply.

Knows the order of charges in a call; what to do with an error or a late reply is the dispatcher's.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Protocol

from proxy.limiter.records import UnansweredCall, pack_count, pack_head
from proxy.limiter.replies import are_numbers
from proxy.limiter.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.limiter.clock import ServerClock
    from proxy.limiter.link import Link
    from proxy.limiter.operations import Operation
    from proxy.limiter.replicas import Replicas
    from proxy.limiter.store import Waiter
    from proxy.policy.decision import Charge

    BatchEntry = tuple[Operation, Sequence[Charge], Waiter]

_log = logging.getLogger("weir.store")

SCRIPT = Script("call.lua", "plain.lua", "bucket.lua", "slots.lua", "take.lua")
CLOCK_ERROR_US = 1_000_000  # by which the server's clock may be mistaken; calls are forgotten later than that
ASKING = b"*1\r\n$6\r\nASKING\r\n"


class BatchOwner(Protocol):
    """Who makes batches, and hears what becomes of each."""

    replicas: Replicas
    now: Callable[[], float]

    def next_tag(self) -> int:
        """Marks a call of this process; of two in a place, the one that is sent later has the later tag."""

    def answered(self, batch: Batch, received_us: int, seconds: float, foreign: int) -> None:
        """Notes that a call was, in time, after so long; so many keys held something else than a bucket."""

    def unanswered(self, batch: Batch) -> None:
        """Came too late, or not at all."""

    def again(self, batch: Batch, link: Link) -> None:
        """It did nothing, and may be sent on this link once more."""

    def rejected(self, batch: Batch, link: Link, reply: Any) -> None:
        """An error, or something that no script of ours replies."""

    def count_error(self, reason: str) -> None: ...


class Batch:
    """`keys` are packed for a call; runs are requests in a row with the same operation."""

    can_wait = True

    __slots__ = (
        "_clock",
        "_count",
        "_first_us",
        "_is_out",
        "_is_unsure",
        "_owner",
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

    def __init__(self, owner: BatchOwner, deadline: float) -> None:
        self.requests: list[BatchEntry] = []
        self.keys: list[bytes] = []
        self.deadline = deadline
        self.by_source = False  # Redis does not know the script
        self.is_asking = False  # its slot is on the move (ASK)
        self.is_hasty = False  # goes at once, with a single request
        self.sends = 1
        self._owner = owner
        self._clock: ServerClock | None = None  # of the server that it was sent to, the last time
        self._sent = 0.0
        self._tag = 0
        self._first_us = 0  # when it was sent for the first time
        self._is_out = False  # sent, and not answered
        self._is_unsure = False  # it was sent before, and that was never answered
        self._plan = b""  # runs, packed
        self._record = b""  # of the last run
        self._count = 0

    def add(self, operation: Operation, charges: Sequence[Charge], waiter: Waiter) -> None:
        self.keys += operation.keys(charges)
        self.requests.append((operation, charges, waiter))
        if operation.record is self._record:  # it is packed once, so that of equal operations is one object
            self._count += 1
        else:
            self._begin_run(operation.record)

    def _begin_run(self, record: bytes) -> None:
        if self._count:
            self._end_run()
        self._record = record
        self._count = 1

    def _end_run(self) -> None:
        self._plan += pack_count(self._count) + self._record
        self._count = 0

    def split(self) -> list[Batch]:
        """Each request on its own."""
        parts = []
        for operation, charges, waiter in self.requests:
            part = Batch(self._owner, self.deadline)
            part.add(operation, charges, waiter)
            part.sends = self.sends
            if self._is_unsure:
                part._tag, part._first_us, part._is_unsure = self._tag, self._first_us, True
                part._clock = self._clock
            parts.append(part)
        return parts

    # --- on the link ---

    def data(self, link: Link) -> bytes:
        if self._count:
            self._end_run()
        self._record = b""
        owner = self._owner
        clock = self._clock = link.clock
        self._sent = owner.now()
        if not self._tag:
            self._tag = owner.next_tag()
            self._first_us = int(self._sent * 1e6)
        self._is_unsure = self._is_unsure or self._is_out
        self._is_out = True
        again_us = self._since_us(clock) if self._is_unsure else 0
        deadline_us = clock.server_us(int(self.deadline * 1e6))
        head = pack_head(deadline_us, self._tag, again_us, owner.replicas.alike_until(link))
        call = SCRIPT.full_call if self.by_source else SCRIPT.call
        data = call(self.keys, head + self._plan)
        return ASKING + data if self.is_asking else data

    def _since_us(self, clock: ServerClock) -> int:
        """It was not run before that, by the server's clock."""
        return clock.server_us(self._first_us) - CLOCK_ERROR_US

    @property
    def doubt(self) -> UnansweredCall | None:
        """Set if it may have been run, and nobody knows."""
        if self._clock is None or not (self._is_out or self._is_unsure):
            return None
        return UnansweredCall(self._tag, self._since_us(self._clock))

    def replied(self, reply: Any, link: Link) -> None:
        """Decides its requests, or counts as trouble; then they are decided without Redis."""
        self._is_out = False
        owner = self._owner
        if type(reply) is not list:
            if self.is_asking and reply == b"OK":
                self._is_out = True
                link.expect(self)  # the reply to ASKING; the one that counts is next
            else:
                owner.rejected(self, link, reply)
        elif are_numbers(reply, len(self.keys) + 2) or are_numbers(reply, 1):
            received = owner.now()
            sent_us = int(self._sent * 1e6)
            received_us = int(received * 1e6)
            link.clock.learn(sent_us, received_us, reply[-1])
            if len(reply) == 1:
                self._late(received, link)
            elif 0 <= (foreign := reply[-2]) <= len(self.keys):
                owner.answered(self, received_us, received - self._sent, foreign)
                self._answer(reply, sent_us)
            else:
                owner.rejected(self, link, reply)
        else:
            owner.rejected(self, link, reply)

    def failed(self) -> None:
        self._owner.unanswered(self)

    def _late(self, now: float, link: Link) -> None:
        if now < self.deadline:  # Redis found it late before it was: the clocks were apart, and now are not
            self._owner.again(self, link)
        else:
            self._owner.count_error("late")  # not Redis's doing alone: this process may have been busy
            self._owner.unanswered(self)

    def _answer(self, answers: list[int], sent_us: int) -> None:
        at = 0
        for operation, charges, waiter in self.requests:
            try:
                waiter.decided(operation.decision(charges, answers, at, sent_us))
            except Exception:  # noqa: BLE001 - a mistake of one must not leave the others without an answer
                _log.exception("crashed")
            at += operation.width
