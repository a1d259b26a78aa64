"""One run by one seed for limits on concurrency: replicas share a Redis, requests hold slots, and things go wrong. Checked is

- that Redis, asked while all is well, lets no request in beside which more would be held by the living than there are;
- that every slot is back 15 s after all is well again and the last request has ended, whoever died meanwhile and whatever
  was lost on the way; then there are exactly as many as the limit says, and nothing is left behind.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.config.sections.limits import LimitSettings
from proxy.policy.limits import compile_limits
from proxy.policy.slots import slots_of
from tests.limiter.asking import bucket
from tests.simulation.calm import SECONDS as CALM_SECONDS
from tests.simulation.operators import BEAT
from tests.simulation.simulation import SWEEP, Simulation, run_as
from tests.simulation.terms import charge
from tests.simulation.world import Replica

if TYPE_CHECKING:
    from proxy.policy.decision import Decision
    from proxy.policy.limits import Limits
    from tests.support.memory import MemoryLoop

SECONDS = 40.0  # in which things go wrong: three times as long as a slot outlives its holder
TOLD_ANEW = (
    4.0  # seconds in which Redis hears again of all slots, when it has lost them or was told otherwise
)
BACK_WITHIN = 15.0
KEYS = ("ada", "bob")


class Held:
    """A request; from its decision on it holds a slot, for a while."""

    def __init__(self, world: SlotSimulation, name: str, replica: Replica, seconds: float) -> None:
        self.name = name
        self.replica = replica
        self.decision: Decision | None = None
        self._world = world
        self._seconds = seconds

    def decided(self, decision: Decision) -> None:
        self.decision = decision
        if decision.is_admitted and self.replica in self._world.replicas:
            self._world.let_in(self)
            self._world.loop.call_later(self._seconds, self.end)

    def end(self) -> None:
        if self in self._world.held and self.decision is not None:
            del self._world.held[self]
            self.replica.store.vacate(slots_of(self.decision))


class SlotSimulation(Simulation):
    def __init__(self, seed: int, loop: MemoryLoop) -> None:
        super().__init__(seed, loop)
        self.slots = self.random.choice([1, 2, 5])
        self.configs = [_limits(self.slots)]
        self.config = 0
        self.faults.all = [each for each in self.faults.all if each != self.faults.step] + [self._step]
        self.operators.all = []  # a rate's
        self.held: dict[Held, None] = {}

    def let_in(self, request: Held) -> None:
        self.held[request] = None
        assert request.decision is not None
        beside = sum(each.name == request.name for each in self.held)
        if self.calm.lasts() and request.decision.via == "store" and beside > self.slots:
            self.broken.append(
                f"{self.loop.time() - 1000:.4f} s: {beside} of {self.slots} are held of {request.name}"
            )

    async def run(self) -> None:
        for _ in range(self.count):
            await self.begin(Replica(self.server))
        await asyncio.sleep(BEAT)
        background = [asyncio.create_task(each()) for each in (self._sweep_and_look, self._ask_on)]
        until = self.loop.time() + SECONDS
        while (now := self.loop.time()) < until:
            await asyncio.sleep(min(self.random.expovariate(0.2), until - now))
            await self._go_wrong()
            self.check(holds=True, what="")
        background[1].cancel()
        await self._recover()
        await self._end_well()
        background[0].cancel()
        for replica in self.replicas:
            await replica.store.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _sweep_and_look(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            self.calm.look()
            for replica in self.replicas:
                replica.store.sweep()

    async def _ask_on(self) -> None:
        while True:
            await asyncio.sleep(self.random.expovariate(4.0 * self.slots))
            seconds = self.random.choice([0.02, 0.3, 5.0, 25.0])
            self.ask_for(self.random.choice(KEYS), self.random.choice(self.replicas), seconds)

    def ask_for(self, name: str, replica: Replica, seconds: float) -> Held:
        """By the limit alone, or with an ample rate."""
        at_once, ample = self.limits
        charges = [charge(at_once, bucket(name))]
        if self.random.random() < 0.3:
            charges.append(charge(ample, bucket("all")))
        request = Held(self, name, replica, seconds)
        decision = replica.store.take(charges, request)
        if decision is not None:
            request.decided(decision)
        return request

    def refilled(self) -> None:
        self.calm.disturb(TOLD_ANEW + CALM_SECONDS)

    # --- what goes wrong, beside what goes wrong with rates ---

    async def _replace(self) -> str:
        """A replica dies with its requests; another one starts."""
        dead = self.random.choice(self.replicas)
        self.replicas.remove(dead)
        for request in [each for each in self.held if each.replica is dead]:
            del self.held[request]
        await dead.kill()
        await self.begin(Replica(self.server))
        return "replica killed, another started"

    async def _step(self) -> str:
        """Back by any time; forward by less than a holder has until it counts as dead."""
        seconds = self.random.choice([-3600.0, -1.5, 0.5])
        self.server.stepped_us += int(seconds * 1e6)
        return f"clock stepped by {seconds} s"

    async def _reload(self) -> str:
        """The limit is taken away for a moment, while requests hold its slots."""
        for replica in self.replicas:
            replica.store.configure(compile_limits([], b""))
            replica.store.configure(self.limits)
        return "reloaded"

    # --- all is well again ---

    async def _end_well(self) -> None:
        for request in list(self.held):
            request.end()
        await self._ask_beyond()  # where the clock went back, a refusal bounds what the dead hold
        await asyncio.sleep(BACK_WITHIN)
        self._check_empty("15 s later")
        for name in KEYS:
            got = await self._ask_beyond(name)
            self.check(holds=got == self.slots, what=f"{got} of {self.slots} for {name} in the end")
        await asyncio.sleep(0.1)
        self._check_empty("at the end")
        self._check_floor()

    async def _ask_beyond(self, *names: str) -> int:
        requests = [
            self.ask_for(name, self.random.choice(self.replicas), 1000.0)
            for name in names or KEYS
            for _ in range(self.slots + 2)
        ]
        await asyncio.sleep(0.1)
        admitted = [each for each in requests if each.decision is not None and each.decision.is_admitted]
        for request in admitted:
            request.end()
        return len(admitted)

    def _check_empty(self, when: str) -> None:
        left = self.server.model.holders()
        self.check(holds=not left, what=f"held in Redis {when}: {left}")
        for replica in self.replicas:
            self.check(holds=not len(replica.store.held.slots), what=f"held by a replica {when}")


def _limits(slots: int) -> Limits:
    at_once = LimitSettings(name="at-once", concurrency=slots, key=["const"])
    ample = LimitSettings(name="ample", rate="100000/s", burst=1000, key=["const"])
    return compile_limits([at_once, ample], b"secret")


def run(seed: int) -> list[str]:
    """What happened. Raises BrokenError."""
    return run_as(SlotSimulation, seed)
