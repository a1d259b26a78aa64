"""What the replicas decide, held to what each client may have, and what they record, held to one end each."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from proxy import faults
from proxy.limiter.leases import LEASE_SECONDS
from proxy.limiter.store import Payer
from proxy.policy.decision import LOCAL
from proxy.telemetry.access_log import AccessLog
from proxy.telemetry.metrics import Metrics
from tests.simulation.accounts import (
    COMES_BACK_WITHIN,
    DECIDED_WITHIN,
    Account,
    BrokenError,
    Suspicion,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.limiter.store import Store, Waiter
    from proxy.policy.decision import Charge, Decision, Verdict
    from tests.simulation.calm import Calm
    from tests.simulation.requests import Sent
    from tests.simulation.world import Server, SimulatedDialler
    from tests.support.memory import MemoryLoop

Bucket = tuple[str, bytes]  # a limit's name and a partition key


class Books:
    """Of all replicas. What does not hold is told to `broken`; who decides would swallow what is raised."""

    def __init__(self, loop: MemoryLoop, broken: Callable[[str], None]) -> None:
        self.loop = loop
        self.undecided: dict[Witness, None] = {}
        self.sent: dict[int, Sent] = {}
        self._broken = broken
        self._is_calm: Callable[[], bool] = lambda: False
        self._misleads: Callable[[object], bool] = lambda _: False
        self._accounts: dict[Bucket, tuple[Account, Suspicion]] = {}
        self._has_buried = False
        self._due_back: dict[Bucket, int] = {}  # tokens
        self._came_back: dict[Bucket, int] = {}
        self._terms: dict[Bucket, tuple[float, float]] = {}  # by which each was asked last

    def trust(self, calm: Calm, server: Server) -> None:
        """While all is calm, refusals can be held to what is owed."""
        self._is_calm, self._misleads = calm.lasts, server.misleads

    def find(self, target: bytes) -> Sent | None:
        words = target.split(b"/")
        return self.sent.get(int(words[2])) if len(words) > 2 and words[2].isdigit() else None

    def decided(self, witness: Witness, decision: Decision) -> None:
        now = self.loop.time()
        lag = now - witness.begun
        try:
            self._count_decision(witness, decision)
            if lag > DECIDED_WITHIN:
                raise BrokenError(f"decided after {lag:.3f} s")
            for verdict in decision.verdicts:
                self._weigh(witness, decision, verdict, lag)
            if decision.is_admitted and decision.via != LOCAL and decision.waits:
                self._expect_of_who_left(witness, decision)
            if isinstance(witness.waiter, Payer) and not decision.verdicts[0].is_admitted:
                self._expect_no_more(witness.waiter._move.back)
        except BrokenError as error:
            self._broken(f"{witness}: {error}, {decision}")

    def _count_decision(self, witness: Witness, decision: Decision) -> None:
        sent = self.find(getattr(witness.waiter, "target", b""))
        if sent is not None:
            sent.decisions += 1
            sent.is_admitted = decision.is_admitted
            if not decision.is_admitted and decision.fault is faults.STORE_DOWN:
                sent.excuse = "the store was away"
            if sent.decisions > 1:
                raise BrokenError("decided twice")

    def _weigh(self, witness: Witness, decision: Decision, verdict: Verdict, lag: float) -> None:
        now = self.loop.time()
        account, suspicion = self._of(verdict)
        cost, is_leased = verdict.terms.cost, verdict.limit.lease > 1
        if not self._is_calm():
            suspicion.forget(now)
        if decision.is_admitted and verdict.is_admitted:
            suspicion.admitted(now, cost)
            if verdict.is_known and not self._misleads(witness.owner):
                account.admitted(now, cost)
        elif not verdict.is_admitted and self._is_calm() and not is_leased:
            room = verdict.terms.ceiling_units / verdict.terms.interval
            suspicion.refused(now, cost + self._asked_for(verdict), room, lag)

    def _asked_for(self, verdict: Verdict) -> int:
        """By others, and perhaps decided before: answers come in any order."""
        name, key = verdict.terms.name, verdict.charge.key
        return sum(
            charge.terms.cost
            for witness in self.undecided
            for charge in witness.charges
            if charge.key == key and charge.terms.name == name
        )

    def _of(self, verdict: Verdict) -> tuple[Account, Suspicion]:
        terms = verdict.terms
        name, key = terms.name, verdict.charge.key
        most, rate = terms.ceiling_units / terms.interval, terms.scale * 1e6 / terms.interval
        found = self._accounts.get((name, key))
        if found is None:
            found = self._accounts[name, key] = Account(rate, most, LEASE_SECONDS), Suspicion(rate, most)
            if self._has_buried:
                found[1].forget(self.loop.time())
        account, suspicion = found
        if (rate, most) != self._terms.get((name, key), (rate, most)):  # a reload, and others are to follow
            account.grace += max(0.0, account.burst - most)  # what is owed beyond the new burst
            account.rate, account.burst = max(account.rate, rate), max(account.burst, most)
            suspicion.rate, suspicion.most = min(suspicion.rate, rate), max(suspicion.most, most)
            suspicion.forget(self.loop.time())
        self._terms[name, key] = rate, most
        return found

    def returned(self, charges: Sequence[Charge]) -> None:
        """At once, as far as it allows more; later, as far as it forbids a refusal."""
        now = self.loop.time()
        for charge in charges:
            bucket = charge.terms.name, charge.key
            self._came_back[bucket] = self._came_back.get(bucket, 0) + charge.terms.cost
            found = self._accounts.get(bucket)
            if found is not None:
                account, suspicion = found
                tokens = account.returned(now, charge.terms.cost)
                self.loop.call_later(COMES_BACK_WITHIN, self._come_back, suspicion, tokens)

    def _come_back(self, suspicion: Suspicion, tokens: float) -> None:
        """Where all is not calm, Redis may not have heard of it."""
        suspicion.returned(self.loop.time(), tokens)
        if not self._is_calm():
            suspicion.forget(self.loop.time())

    def emptied(self, charges: Sequence[Charge]) -> None:
        for charge in charges:
            found = self._accounts.get((charge.terms.name, charge.key))
            if found is not None:
                terms = charge.terms
                found[1].forget(self.loop.time(), terms.most_units / terms.interval)

    # --- tokens that must come back, and those that do ---

    def ended(self, exchange: Any) -> None:
        """What docs/limits.md says of requests that cost nothing in the end."""
        decision = exchange.decision
        if decision is None or not decision.is_admitted or decision.via == LOCAL:
            return
        for verdict in decision.verdicts:
            if verdict.is_admitted and self._is_free(exchange, verdict):
                self._expect(verdict)

    def _is_free(self, exchange: Any, verdict: Verdict) -> bool:
        fault, limit = exchange.fault, verdict.limit
        if exchange.attempts == 0:  # it waited for its token, and left
            return True
        if fault is not None and fault.phase == "connect":
            return True
        is_moved = exchange.status == 401 and limit.moves_401s
        return fault is None and (is_moved or (exchange.status == 304 and limit.is_free_304))

    def _expect_of_who_left(self, witness: Witness, decision: Decision) -> None:
        """Before it was told that it would have to wait."""
        if getattr(witness.waiter, "outcome", ""):
            for verdict in decision.verdicts:
                self._expect(verdict)

    def _expect(self, verdict: Verdict) -> None:
        bucket = verdict.terms.name, verdict.charge.key
        self._due_back[bucket] = self._due_back.get(bucket, 0) + verdict.terms.cost

    def _expect_no_more(self, charges: Sequence[Charge]) -> None:
        """The address cannot pay for a 401, so its tokens stay with its key."""
        for charge in charges:
            self._due_back[charge.terms.name, charge.key] -= charge.terms.cost

    def check_returns(self) -> None:
        due_back = {bucket: tokens for bucket, tokens in self._due_back.items() if tokens}
        if due_back != self._came_back:
            self._broken(f"{due_back} were to come back, and {self._came_back} did")

    def bury(self, owner: object) -> None:
        """A replica has died: what it has asked for may have been charged, and nobody knows."""
        self._has_buried = True
        for witness in [witness for witness in self.undecided if witness.owner is owner]:
            witness.is_dead = True
            del self.undecided[witness]
        self.suspect()

    def suspect(self) -> None:
        """Something has happened that may have been charged, and nobody knows."""
        for _, suspicion in self._accounts.values():
            suspicion.forget(self.loop.time())

    def forgive(self, tokens: float) -> None:
        for account, _ in self._accounts.values():
            account.grace += tokens

    def refilled(self) -> None:
        """Redis has lost what was owed."""
        self.outage()

    def outage(self) -> None:
        """Buckets may have been full once more."""
        for account, _ in self._accounts.values():
            account.grace += account.burst

    def lost(self, owner: object) -> None:
        """Of several requests of one client that a connection takes along, more may pass than had room."""
        count: dict[Bucket, int] = {}
        for witness in self.undecided:
            if witness.owner is owner:
                for charge in witness.charges:
                    bucket = charge.terms.name, charge.key
                    count[bucket] = count.get(bucket, 0) + 1
        for bucket, many in count.items():
            if bucket in self._accounts:
                self._accounts[bucket][0].grace += many - 1


class Witness:
    """Stands before who waits for a decision, and sees it."""

    def __init__(self, books: Books, owner: object, charges: Sequence[Charge], waiter: Waiter) -> None:
        self.owner = owner
        self.charges = charges
        self.waiter = waiter
        self.begun = books.loop.time()
        self.is_dead = False  # its replica is
        self._books = books

    def decided(self, decision: Decision) -> None:
        self._books.undecided.pop(self, None)
        if not self.is_dead:
            self._books.decided(self, decision)
            self.waiter.decided(decision)

    def __repr__(self) -> str:
        return str(getattr(self.waiter, "target", b"nobody"))


class WatchedStore:
    """A replica's store. What is not seen here goes to it directly."""

    def __init__(self, store: Store, books: Books, owner: SimulatedDialler) -> None:
        self.store = store
        self._books = books
        self._owner = owner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def take(self, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        books = self._books
        witness = Witness(books, self._owner, charges, waiter)
        books.undecided[witness] = None
        decision = self.store.take(charges, witness)
        if decision is not None:
            del books.undecided[witness]
            books.decided(witness, decision)
        return decision

    def give_back(self, charges: Sequence[Charge]) -> None:
        if not self._owner.is_dead:
            self._books.returned(charges)
        self.store.give_back(charges)

    def empty(self, debts: Sequence[Any]) -> None:
        self._books.emptied([charge for charge, _ in debts])
        self.store.empty(debts)


class Lines:
    """Where the access log's lines go."""

    def __init__(self) -> None:
        self.dropped = 0
        self.data = bytearray()

    def offer(self, data: bytes) -> None:
        self.data += data

    def close(self, timeout: float) -> None: ...


class Ledger(Metrics):
    """A replica's counters and lines, and what was recorded of each exchange."""

    def __init__(self, books: Books, broken: Callable[[str], None]) -> None:
        super().__init__()
        self.log = AccessLog("off", self)
        self.lines = Lines()
        self.log._writer = self.lines  # type: ignore[assignment]  # as much of one as is used
        self.recorded: dict[Any, None] = {}
        self.is_dead = False
        self._books = books
        self._broken = broken

    def record(self, exchange: Any) -> None:
        if self.is_dead:
            return
        if exchange in self.recorded:
            self._broken(f"{exchange.target!r} ended twice")
        self.recorded[exchange] = None
        super().record(exchange)
        self._books.ended(exchange)
        sent = self._books.find(exchange.target)
        if sent is not None:
            sent.records.append((exchange.outcome, exchange.status, exchange.source, exchange.fault))
            if len(sent.records) > 1:
                self._broken(f"{sent} was recorded twice: {sent.records}")
        if exchange.fault is faults.INTERNAL:
            self._broken(f"{exchange.target!r} failed by a mistake of ours")

    def check(self) -> None:
        """One count and one line for each."""
        self.log.flush()
        lines = [json.loads(line) for line in self.lines.data.splitlines()]
        told = sorted((line["request_id"], line["status"], line["outcome"]) for line in lines)
        held = sorted((each.request_id, each.status, each.outcome) for each in self.recorded)
        if told != held:
            self._broken(f"lines and exchanges differ: {set(told) ^ set(held)}")
        if sum(self.ended.values()) != len(held):
            self._broken(f"{sum(self.ended.values())} counted, {len(held)} ended")
