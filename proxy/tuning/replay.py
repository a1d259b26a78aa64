"""Replays requests through the store that the gateway decides by in memory, with the log's own clock.

Whatever the policy says of them is counted by limit and key. Tokens come back, or buckets are emptied, when
the service's answer came. Knows nothing of formats and files.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from proxy.limiter.memory import MemoryStore
from proxy.limiter.store import obey
from proxy.policy.decision import spared, unspent
from proxy.policy.upstream_429 import emptied
from proxy.policy.vouching import UNAUTHORIZED, heard, with_newcomers
from proxy.tuning.arrivals import ArrivalTimes
from proxy.tuning.charging import NOT_ASKED, Answered
from proxy.tuning.load import Load
from proxy.tuning.tally import Tally

if TYPE_CHECKING:
    from proxy.policy.decision import Decision, Verdict
    from proxy.policy.limits import Limits
    from proxy.tuning.charging import LoggedDue

SWEEP_US = 1_000_000
SETTLED_AT_ONCE = 16_384  # requests whose arrivals are put away together


class Replay:
    """Decides by one config."""

    def __init__(self, limits: Limits, max_keys: int) -> None:
        self.now_us = 0  # since the first request
        self.requests = 0
        self._began_us: int | None = None  # since 1970
        self._store = MemoryStore(lambda: self.now_us, max_keys)
        self._store.configure(limits)
        self._limits = limits
        self._vouches = limits.vouches
        self.tallies = {limit: Tally(limit, ArrivalTimes(), Load()) for limit in limits}
        self._answers: list[tuple[int, int, Answered, Decision]] = []  # those that do something, by time
        self._sweep_at = SWEEP_US
        self._next_us = SWEEP_US  # when an answer comes or the store is swept

    def play(self, requests: list[tuple[int, LoggedDue | Answered]]) -> None:
        """Plays them in their order."""
        if requests and self._began_us is None:
            self._began_us = requests[0][0]
        began = self._began_us or 0
        for at, charged in requests:
            now = self.now_us = at - began
            if now >= self._next_us:
                self._do_what_is_due(now)
            self.requests += 1
            if isinstance(charged, Answered):
                decision = self._decide(charged.due, now)
                if decision is not None and decision.is_admitted:
                    self._expect(charged, decision)
            else:
                self._decide(charged, now)
            if self.requests % SETTLED_AT_ONCE == 0:
                self._settle_arrivals()

    def _settle_arrivals(self) -> None:
        for tally in self.tallies.values():
            tally.arrivals.settle()

    def _decide(self, due: LoggedDue, now: int) -> Decision | None:
        charges = due.charges
        if due.may_be_new:
            charges = with_newcomers(charges, due.head, due.client, self._store.proven)
        if not charges:
            self._count_exempt(due)
            return None
        decision = self._store.take(charges, self)
        if not due.is_single or len(charges) > 1:
            self._count_all(due, decision, now)
            return decision
        verdict = decision.verdicts[0]  # nearly always
        tally = self.tallies[verdict.limit]
        tally.matched += 1
        if not verdict.is_admitted:
            tally.refused += 1
        elif waits(verdict):
            tally.waited += 1
        tally.count(verdict.charge.key, due.labels[0], verdict, now)
        return decision

    def decided(self, decision: Decision) -> None:
        """The store decides at once."""

    def _count_all(self, due: LoggedDue, decision: Decision, now: int) -> None:
        """A limit with several charges has met one request, and refused it if any of them says so."""
        self._count_exempt(due)
        last = None
        is_refused = has_waited = False
        labels = iter(due.labels)
        for verdict in decision.verdicts:
            tally = self.tallies[verdict.limit]
            if tally is not last:
                last, is_refused, has_waited = tally, False, False
                tally.matched += 1
            if not verdict.is_admitted and not is_refused:
                is_refused = True
                tally.refused += 1
            if decision.is_admitted and not has_waited and waits(verdict):
                has_waited = True
                tally.waited += 1
            if not verdict.terms.is_newcomer:
                tally.count(verdict.charge.key, next(labels), verdict, now)
            elif not verdict.is_admitted:
                tally.refused_as_new += 1

    def _count_exempt(self, due: LoggedDue) -> None:
        for limit in due.exempt:
            self.tallies[limit].exempt += 1

    def _expect(self, answered: Answered, decision: Decision) -> None:
        status = answered.status
        has_newcomers = len(decision.verdicts) > len(answered.due.charges)
        if not has_newcomers and status not in (NOT_ASKED, 304, UNAUTHORIZED, 429):
            return  # in a log of a service that vouches, most say nothing
        wait = max([each.wait_units // each.terms.scale for each in decision.waits], default=0)
        at = self.now_us + wait + answered.delay_us
        heappush(self._answers, (at, self.requests, answered, decision))
        self._next_us = min(self._next_us, at)

    def _do_what_is_due(self, now: int) -> None:
        while self._answers and self._answers[0][0] <= now:
            self.now_us, _, answered, decision = heappop(self._answers)
            self._settle(answered.due, answered.status, decision)
        self.now_us = now
        if now >= self._sweep_at:
            self._store.sweep()
            self._sweep_at = now + SWEEP_US
        self._next_us = min(self._sweep_at, self._answers[0][0] if self._answers else self._sweep_at)

    def _settle(self, due: LoggedDue, status: int, decision: Decision) -> None:
        """What the gateway does when the service's answer is there."""
        store, limits = self._store, self._limits
        if status == NOT_ASKED:
            store.give_back(unspent(decision))
            return
        if self._vouches:
            obey(store, heard(decision, status, due.head, due.client))
        if status == 304 and limits.gives_back:
            store.give_back(spared(decision))
        elif status == 429 and limits.empties:
            store.empty(emptied(decision, None))

    def end(self) -> None:
        """No more will come."""
        for tally in self.tallies.values():
            tally.end(self.now_us)

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and the last request, in microseconds since 1970."""
        return None if self._began_us is None else (self._began_us, self._began_us + self.now_us)


def waits(verdict: Verdict) -> bool:
    """It waits for its token; by a limit in shadow, it would."""
    return verdict.is_admitted and verdict.debt > verdict.terms.burst_units
