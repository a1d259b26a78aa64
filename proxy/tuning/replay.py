"""Replays requests through the store that the gateway decides by in memory, with the log's own clock.

Whatever the policy says of them is counted by limit and key. Tokens come back, or buckets are emptied, when
the service's answer came. Knows nothing of formats and files.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING

from proxy.limiter.memory import MemoryStore
from proxy.policy.decision import spared
from proxy.policy.upstream_429 import emptied
from proxy.tuning.arrivals import ArrivalTimes
from proxy.tuning.charging import GIVES_BACK, Answered
from proxy.tuning.load import Load
from proxy.tuning.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.policy.decision import Decision, Verdict
    from proxy.policy.limits import Limits
    from proxy.tuning.charging import Due

SWEEP_US = 1_000_000


class Replay:
    """Of one config."""

    def __init__(self, limits: Limits, max_keys: int) -> None:
        self.now_us = 0  # since the first request
        self.requests = 0
        self._began_us: int | None = None  # since 1970
        self._store = MemoryStore(lambda: self.now_us, max_keys)
        self._store.configure(limits)
        self.tallies = {limit: Tally(limit, ArrivalTimes(), Load()) for limit in limits}
        self._answers: list[tuple[int, int, Answered, Decision]] = []  # those that do something, by time
        self._sweep_at = SWEEP_US
        self._next_us = SWEEP_US  # when an answer comes or the store is swept

    def play(self, requests: Iterable[tuple[int, Due | Answered]]) -> None:
        """In their order."""
        take, tallies = self._store.take, self.tallies
        for at, charged in requests:
            if self._began_us is None:
                self._began_us = at
            now = self.now_us = at - self._began_us
            if now >= self._next_us:
                self._do_what_is_due(now)
            self.requests += 1
            due = charged.due if isinstance(charged, Answered) else charged
            if due.is_single:  # nearly always
                charge = due.charges[0]
                decision = take(due.charges, self)
                verdict = decision.verdicts[0]
                tally = tallies[charge.limit]
                tally.matched += 1
                if not verdict.is_admitted:
                    tally.refused += 1
                elif waits(verdict):
                    tally.waited += 1
                tally.count(charge.key, due.labels[0], verdict, now)
            elif due.charges:
                decision = take(due.charges, self)
                self._count_all(due, decision, now)
            else:
                self._count_exempt(due)
                continue
            if isinstance(charged, Answered) and decision.is_admitted:
                self._expect(charged, decision)
        for tally in tallies.values():
            tally.arrivals.settle()

    def decided(self, decision: Decision) -> None:
        """The store decides at once."""

    def _count_all(self, due: Due, decision: Decision, now: int) -> None:
        """A limit with several charges has met one request, and refused it if any of them says so."""
        self._count_exempt(due)
        last = None
        is_refused = has_waited = False
        for charge, label, verdict in zip(due.charges, due.labels, decision.verdicts, strict=True):
            tally = self.tallies[charge.limit]
            if tally is not last:
                last, is_refused, has_waited = tally, False, False
                tally.matched += 1
            if not verdict.is_admitted and not is_refused:
                is_refused = True
                tally.refused += 1
            if decision.is_admitted and not has_waited and waits(verdict):
                has_waited = True
                tally.waited += 1
            tally.count(charge.key, label, verdict, now)

    def _count_exempt(self, due: Due) -> None:
        for limit in due.exempt:
            self.tallies[limit].exempt += 1

    def _expect(self, answered: Answered, decision: Decision) -> None:
        wait = max([each.wait_units // each.terms.scale for each in decision.waits], default=0)
        at = self.now_us + wait + answered.delay_us
        heappush(self._answers, (at, self.requests, answered, decision))
        self._next_us = min(self._next_us, at)

    def _do_what_is_due(self, now: int) -> None:
        while self._answers and self._answers[0][0] <= now:
            self.now_us, _, answered, decision = heappop(self._answers)
            if answered.effect == GIVES_BACK:
                self._store.give_back(spared(decision))
            else:
                self._store.empty(emptied(decision, None))
        self.now_us = now
        if now >= self._sweep_at:
            self._store.sweep()
            self._sweep_at = now + SWEEP_US
        self._next_us = min(self._sweep_at, self._answers[0][0] if self._answers else self._sweep_at)

    def end(self) -> None:
        """No more will come."""
        for tally in self.tallies.values():
            tally.end(self.now_us)

    @property
    def span(self) -> tuple[int, int] | None:
        """The first and the last request, in microseconds since 1970."""
        return None if self._began_us is None else (self._began_us, self._began_us + self.now_us)


def waits(verdict: Verdict) -> bool:
    """For its token; of a limit in shadow, it would."""
    return verdict.is_admitted and verdict.debt > verdict.terms.burst_units
