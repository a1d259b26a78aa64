"""Clients of stores, what each is told, and what that must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import faults
from proxy.policy.decision import BLOCK, LOCAL
from tests.limiter.asking import bucket
from tests.simulation.accounts import DECIDED_WITHIN, Account, BrokenError, Suspicion

if TYPE_CHECKING:
    from proxy.policy.decision import Charge, Decision, Verdict
    from tests.simulation.simulation import Simulation
    from tests.simulation.world import Replica


class Request:
    """Of one client, to one replica. Waits for its decision."""

    def __init__(self, world: Simulation, client: Client, replica: Replica, charges: list[Charge]) -> None:
        self._world = world
        self.client = client
        self.replica = replica
        self.begun = world.loop.time()
        self.charges = charges
        self.decision: Decision | None = None

    def decided(self, decision: Decision) -> None:
        """Mistakes are kept: who decides would swallow what is raised."""
        world, now = self._world, self._world.loop.time()
        world.undecided.pop(self, None)
        try:
            if self.decision is not None:
                raise BrokenError("a request was decided twice")
            self.decision = decision
            if now - self.begun > DECIDED_WITHIN:
                raise BrokenError(f"a request was decided after {now - self.begun:.3f} s")
            self.client.told(self, decision)
        except BrokenError as error:
            world.broken.append(f"{now - 1000:.4f} s, {self.client}: {error}, {decision}")

    @property
    def fits(self) -> bool:
        """By the client's own limit, which may be in shadow."""
        decision = self.decision
        return decision is not None and decision.is_admitted and decision.verdicts[0].is_admitted


class Client:
    """Asks at a steady pace: far above the rate if `is_greedy`, else far below."""

    def __init__(self, world: Simulation, name: str, interval: float, *, is_greedy: bool) -> None:
        rate, burst = (max(each) for each in zip(*world.rates, strict=True))
        self.name = name
        self.key = bucket(name)
        self.interval = interval
        self.is_greedy = is_greedy
        self.account = Account(rate, burst, world.extra.lag)
        self.suspicion = Suspicion(min(rate for rate, _ in world.rates), burst)
        self.admitted = 0  # requests
        self.blocked_from = self.blocked_until = 0.0  # everywhere
        self.was_blocked = False
        self._world = world

    def told(self, request: Request, decision: Decision) -> None:
        world, now = self._world, self._world.loop.time()
        if not world.calm.lasts():
            self.suspicion.forget(now)
        own = decision.verdicts[0]
        if self.blocked_from < request.begun and now < self.blocked_until and decision.via != BLOCK:
            raise BrokenError("a client that is blocked was not refused for that")
        if decision.via == BLOCK:
            if not self.was_blocked:
                raise BrokenError("a client that nobody has blocked was refused as blocked")
        elif not decision.is_admitted and world.extra.is_shadow:
            raise BrokenError("a limit in shadow refused")
        elif decision.via == LOCAL and world.extra.without_store != LOCAL:
            self._told_without_store(decision, own)
        else:
            self._weigh(request, own)

    def _told_without_store(self, decision: Decision, own: Verdict) -> None:
        """By a limit that then admits all, or nothing."""
        if own.is_admitted != (self._world.extra.without_store == "allow"):
            raise BrokenError(f"{self._world.extra.without_store}, and decided otherwise")
        if not decision.is_admitted and decision.fault is not faults.STORE_DOWN:
            raise BrokenError("refused for want of a store, and told of a limit")

    def _weigh(self, request: Request, own: Verdict) -> None:
        world, now = self._world, self._world.loop.time()
        cost = own.terms.cost
        if request.fits:
            self.admitted += 1
            self.suspicion.admitted(now, cost)
            if not world.server.misleads(request.replica.dialler):
                self.account.admitted(now, cost)
            return
        if not (self.is_greedy or world.faults.has_doubled):
            raise BrokenError("a client far below its rate was refused")
        if world.calm.lasts() and not world.extra.is_leased:  # a lease is charged before it is spent
            asked = sum(each.client is self for each in world.undecided)
            room = own.terms.ceiling_units / own.terms.interval
            self.suspicion.refused(now, cost * (1 + asked), room, now - request.begun)

    def __repr__(self) -> str:
        return self.name
