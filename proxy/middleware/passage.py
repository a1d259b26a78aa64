"""One request's way through the limits of a service: in, to the service or not, out.

Whatever breaks here is logged and lets the request pass: a limiter must not take its service down. Knows
nothing of frameworks.
"""

from __future__ import annotations

import asyncio
import logging
from time import monotonic, time
from typing import TYPE_CHECKING, NamedTuple

from proxy.faults import ABANDONED, FAULTED, REFUSED, Fault
from proxy.http1.refused_heads import UNREAD
from proxy.limiter.store import obey
from proxy.middleware.request import head_of
from proxy.policy.decision import LOCAL, Decision, spared, unspent
from proxy.policy.fields import fields
from proxy.policy.limits import UNCHARGED
from proxy.policy.slots import slots_of
from proxy.policy.upstream_429 import emptied, retry_after_us
from proxy.policy.vouching import heard, with_newcomers
from proxy.record import SERVED, UPSTREAM, Record
from proxy.rules.request_ids import new_request_id
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.http1.head import RequestHead
    from proxy.middleware.limiter import Arrival, Limiter
    from proxy.policy.decision import Charge, Verdict
    from proxy.policy.limits import Due, Limits

Headers = list[tuple[bytes, bytes]]

_log = logging.getLogger("weir.middleware")


class OwnAnswer(NamedTuple):
    """A refusal, for a framework to send."""

    status: int
    headers: Headers
    body: bytes


class Passage:
    def __init__(self, limiter: Limiter, request: Arrival, now: float) -> None:
        self.limiter = limiter
        self.record = Record(request.method.encode("latin-1", "replace"), request.target, request.peer, now)
        self.answer: OwnAnswer | None = None  # the refusal, if it was refused
        self._request = request
        self._head: RequestHead = UNREAD
        self._admitted: list[Decision] = []  # whose slots it holds
        self._is_answered = False  # its answer has begun

    # --- 1. In ---

    async def admit(self) -> OwnAnswer | None:
        """The refusal, if it may not pass."""
        try:
            return await self._judge(None)
        except Exception as error:  # noqa: BLE001 - a limiter never takes its service down
            event(_log, logging.ERROR, "crashed", error=error)
            return None

    async def charge(self, limits: Limits) -> OwnAnswer | None:
        """The same for limits of a route; what was taken before comes back if they refuse."""
        try:
            return await self._judge(limits)
        except Exception as error:  # noqa: BLE001 - a limiter never takes its service down
            event(_log, logging.ERROR, "crashed", error=error)
            return None

    async def _judge(self, route: Limits | None) -> OwnAnswer | None:
        due = self._due() if route is None else self._route_due(route)
        if isinstance(due, Fault):
            return self._turn_away(due)
        exempt = due[1]
        charges: Sequence[Charge] = due[0]
        limits = self.limiter.rules.limits if route is None else route
        store = self.limiter.store
        record = self.record
        if limits.vouches and store is not None:
            charges = with_newcomers(charges, self._head, record.client, store.proven)
        record.exempt = [*record.exempt, *exempt]
        if not charges:
            return None
        decision = await self._decision(charges)
        self._admitted.append(decision)
        if limits.watched_waits:
            record.would_wait = [*record.would_wait, *decision.would_wait]
        if decision.is_admitted and limits.may_wait and (waits := decision.waits):
            await self._wait(decision, waits)
        before = record.decision
        if before is not None and not decision.is_admitted:
            self.give_back(before)
        record.charges = [*record.charges, *charges]
        record.decision = decision if before is None else _both(before, decision)
        return None if decision.is_admitted else self._refuse(decision.fault)

    def _due(self) -> Due | Fault:
        request, rules = self._request, self.limiter.rules
        head = self._head = head_of(
            request.method, request.target, request.headers, has_crumbs=request.has_crumbs
        )
        facts = rules.heads.judged(head, request.peer)
        record = self.record
        record.client = facts.client
        record.request_id = facts.request_id or new_request_id()
        fault = rules.edge.refusal(head, facts.client)
        if fault is None and rules.cors.is_preflight(head):
            return UNCHARGED
        return fault or facts.charges or rules.limits.charges(head, facts.client)

    def _route_due(self, route: Limits) -> Due | Fault:
        if not self.record.request_id:  # what comes before it broke: nobody knows who asks
            return UNCHARGED
        return route.charges(self._head, self.record.client)

    async def _decision(self, charges: Sequence[Charge]) -> Decision:
        waiter = Waiting(self)
        store = self.limiter.store
        if store is None:  # closed, while requests still come
            return Decision(True, [], LOCAL)  # noqa: FBT003 - is_admitted
        try:
            return store.take(charges, waiter) or await waiter.decision
        except asyncio.CancelledError:
            waiter.leave()
            raise

    async def _wait(self, decision: Decision, waits: list[Verdict]) -> None:
        """Waits for tokens that are reserved; who leaves gives them back."""
        turn = Turn()
        fault = self.limiter.room.enter(turn, decision, waits)
        if fault is not None:
            self.give_back(decision)
            decision.turn_down(waits)
            return
        try:
            self.record.waited += await turn.waited
        except asyncio.CancelledError:
            if not turn.has_come:
                self.record.waited += self.limiter.room.leave(turn)
            self.give_back(decision)
            raise

    # --- 2. Not to the service ---

    def _turn_away(self, fault: Fault) -> OwnAnswer:
        """It cannot be charged; what was taken before comes back."""
        before = self.record.decision
        if before is not None:
            self.give_back(before)
        answer = self._refuse(fault)
        if before is not None:
            before.is_admitted = False  # so that it does not come back again
        return answer

    def _refuse(self, fault: Fault) -> OwnAnswer:
        rules, record = self.limiter.rules, self.record
        frame = rules.pages.frame(self._head, record.request_id)
        page = rules.pages.refusal(fault, record.decision, record.target, frame, b"\r\n")
        top, _, body = record.request_id.encode().join(page.pieces).partition(b"\r\n\r\n")
        record.fault, record.status = fault, fault.status
        self.answer = OwnAnswer(fault.status, _pairs(top.split(b"\r\n")[1:]), body)
        return self.answer

    # --- 3. The service's answer ---

    def answered(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> Headers:
        """Its head is about to leave: what is to be told beside. Names are in lower case."""
        self._is_answered = True
        record = self.record
        record.status, record.source = status, UPSTREAM
        record.upstream_started = record.upstream_started or record.started
        record.upstream_seconds = monotonic() - record.started
        decision = record.decision
        if decision is None:
            return []
        try:
            self._settle(status, headers, decision)
            told = fields(decision, self.limiter.settings.ratelimit_fields)
        except Exception as error:  # noqa: BLE001 - a limiter never takes its service down
            event(_log, logging.ERROR, "crashed", error=error)
            return []
        return _pairs(told.split(b"\r\n")[:-1])

    def _settle(self, status: int, headers: Iterable[tuple[bytes, bytes]], decision: Decision) -> None:
        """Settles as the gateway does (`proxy.settlement`)."""
        store = self.limiter.store
        if store is None:
            return
        obey(store, heard(decision, status, self._head, self.record.client))
        if status == 304:
            if back := spared(decision):
                store.give_back(back)
        elif status == 429 and (debts := emptied(decision, retry_after_us(dict(headers), time()))):
            store.empty(debts)

    # --- 4. Out ---

    def vacate(self) -> None:
        """The answer is out: its slots come back, whatever the service still does."""
        for decision in self._admitted:
            self._vacate(decision)

    def end(self, error: BaseException | None = None) -> None:
        """Exactly once."""
        self.vacate()
        record = self.record
        record.finished = monotonic()
        if self.answer is not None:
            record.outcome = REFUSED
        elif isinstance(error, asyncio.CancelledError):
            record.outcome = ABANDONED
        else:
            record.outcome = SERVED if error is None else FAULTED
            if error is not None and not self._is_answered:  # of which its server makes such an answer
                record.status, record.source = 500, UPSTREAM
        self.limiter.metrics.record(record)

    def give_back(self, decision: Decision) -> None:
        """Nobody was served by it."""
        self._vacate(decision)
        store = self.limiter.store
        if store is not None and decision.is_admitted and (back := unspent(decision)):
            store.give_back(back)

    def _vacate(self, decision: Decision) -> None:
        store = self.limiter.store
        if (slots := slots_of(decision)) and store is not None:
            store.vacate(slots)


class Waiting:
    """Who asked the store."""

    def __init__(self, passage: Passage) -> None:
        self.decision: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        self._passage = passage

    def decided(self, decision: Decision) -> None:
        if self.decision.done():  # cancelled
            self._passage.give_back(decision)
        else:
            self.decision.set_result(decision)

    def leave(self) -> None:
        """Cancelled; a decision that came in the same moment, and was not heard any more, is undone."""
        if self.decision.done() and not self.decision.cancelled():
            self._passage.give_back(self.decision.result())


class Turn:
    """Who waits in the room."""

    def __init__(self) -> None:
        self.waited: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self.has_come = False

    def turn_came(self, waited: float) -> None:
        self.has_come = True
        if not self.waited.done():  # else it was cancelled in the same moment
            self.waited.set_result(waited)

    turn_is_too_late = turn_came


def _both(one: Decision, other: Decision) -> Decision:
    return Decision(other.is_admitted, [*one.verdicts, *other.verdicts], other.via, other.fault)


def _pairs(lines: Sequence[bytes]) -> Headers:
    """Names in lower case, as ASGI has them."""
    split = (line.partition(b": ") for line in lines if line)
    return [(name.lower(), value) for name, _, value in split]
