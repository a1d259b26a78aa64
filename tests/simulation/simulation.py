"""One run by one seed: replicas share a Redis, clients ask, and things go wrong. After each decision it is checked

- that it is the only one for its request, and comes in time;
- that no client got more than its burst and what came back. Let go is only what docs/limits.md says: in an outage of
  several replicas one burst, since none may know what the others gave; and of several requests that are on one
  connection when it breaks all but one;
- that a client far below its rate was admitted, whatever else happened.

In the end all is well again: every link is up, after some quiet each client has its burst, neither less nor more, and
nothing is left behind in Redis.
"""

from __future__ import annotations

import asyncio
import random as global_random
from random import Random
from typing import TYPE_CHECKING, Any

from proxy.config.sections.limits import LimitSettings
from proxy.policy.decision import Charge
from proxy.policy.limits import compile_limits
from tests.limiter.asking import bucket
from tests.simulation.accounts import DECIDED_WITHIN, Account, BrokenError
from tests.simulation.crashes import crashes, end_tasks
from tests.simulation.redis_faults import RedisFaults
from tests.simulation.world import USUAL, Replica, Server
from tests.support.memory import MemoryLoop

if TYPE_CHECKING:
    from proxy.policy.decision import Decision
    from proxy.policy.limits import Limits

SECONDS = 6.0  # in which things go wrong
BACK_WITHIN = 3.0  # once all is well
BEAT = 1.1  # in which all replicas hear of each other
SWEEP = 0.25


class Request:
    """Of one client, to one replica. Waits for its decision."""

    def __init__(self, world: Simulation, client: Client, replica: Replica, charges: list[Charge]) -> None:
        self._world = world
        self.client = client
        self.replica = replica
        self._begun = world.loop.time()
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
            if now - self._begun > DECIDED_WITHIN:
                raise BrokenError(f"a request was decided after {now - self._begun:.3f} s")
            self.client.told(decision, now, may_owe_double=world.faults.has_doubled)
        except BrokenError as error:
            world.broken.append(f"{now - 1000:.4f} s, {self.client}: {error}, {decision}")


class Client:
    """Asks at a steady pace: far above the rate if `is_greedy`, else far below."""

    def __init__(self, name: str, interval: float, account: Account, *, is_greedy: bool) -> None:
        self.name = name
        self.key = bucket(name)
        self.interval = interval
        self.account = account
        self.is_greedy = is_greedy

    def told(self, decision: Decision, now: float, *, may_owe_double: bool) -> None:
        if decision.is_admitted:
            self.account.admitted(now)
        elif not (self.is_greedy or may_owe_double):
            raise BrokenError("a client far below its rate was refused")

    def __repr__(self) -> str:
        return self.name


class Simulation:
    def __init__(self, seed: int, loop: MemoryLoop) -> None:
        self.seed = seed
        self.loop = loop
        self.random = Random(seed)
        self.server = Server(loop, Random(seed + 1))
        self.server.lost = self._under_way
        self.history: list[str] = []
        self.broken: list[str] = []
        self.undecided: dict[Request, None] = {}
        self.replicas: list[Replica] = []
        draw = self.random
        self.rates = [(draw.choice([2, 5, 10]), draw.choice([2, 3, 8]))]
        if draw.random() < 0.3:  # two configs, changed by reloads
            self.rates.append((draw.choice([2, 5, 10]), draw.choice([2, 3, 8])))
        self.configs = [_limits(rate, burst) for rate, burst in self.rates]
        self.config = 0
        self.count = draw.choice([1, 1, 2, 3])
        rate, burst = (max(each) for each in zip(*self.rates, strict=True))
        slow = min(rate for rate, _ in self.rates)
        self.faults = RedisFaults(self.server, self.random, self, rate)
        self.clients = [
            Client("greedy", 0.4 / rate, Account(rate, burst), is_greedy=True),
            Client("greedier", 0.2 / rate, Account(rate, burst), is_greedy=True),
            Client("polite", 5.0 * self.count / slow, Account(rate, burst), is_greedy=False),
        ]

    @property
    def limits(self) -> Limits:
        return self.configs[self.config]

    def note(self, what: str) -> None:
        self.history.append(f"{self.loop.time() - 1000:.4f} s: {what}")

    def check(self, *, holds: bool, what: str) -> None:
        if not holds:
            self.broken.append(f"{self.loop.time() - 1000:.4f} s: {what}")
        if self.broken:
            told = "\n  ".join([*self.history, *self.broken[:3]])
            raise BrokenError(f"seed {self.seed}: {self.count} replicas, {self.rates}\n  {told}")

    # --- the run ---

    async def run(self) -> None:
        for _ in range(self.count):
            await self.begin(Replica(self.server))
        await asyncio.sleep(BEAT)
        sweeping = asyncio.create_task(self._sweep())
        asking = [asyncio.create_task(self._ask(client)) for client in self.clients]
        until = self.loop.time() + SECONDS
        while (now := self.loop.time()) < until:
            await asyncio.sleep(min(self.random.expovariate(1.0), until - now))
            await self._go_wrong()
            self.check(holds=True, what="")
        for task in asking:
            task.cancel()
        await self._recover()
        await self._settle_accounts()
        sweeping.cancel()
        for replica in self.replicas:
            await replica.store.close()
        self.check(holds=not self.server.pipes, what="a connection is still open")
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*tasks, return_exceptions=True)

    async def begin(self, replica: Replica) -> None:
        self.replicas.append(replica)
        await replica.start(self.limits)

    async def _sweep(self) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            for replica in self.replicas:
                replica.store.sweep()

    async def _ask(self, client: Client) -> None:
        while True:
            await asyncio.sleep(client.interval * self.random.uniform(0.7, 1.3))
            self.ask(client, self.random.choice(self.replicas))

    def ask(self, client: Client, replica: Replica) -> Request:
        """By one limit, or by two together: the second is ample, and its bucket everybody's."""
        own, shared = self.limits
        charges = [_charge(own, client.key)]
        if self.random.random() < 0.3:
            charges.append(_charge(shared, bucket("all")))
        request = Request(self, client, replica, charges)
        self.undecided[request] = None
        decision = replica.store.take(charges, request)
        if decision is not None:
            request.decided(decision)
        return request

    # --- what goes wrong ---

    async def _go_wrong(self) -> None:
        fault = self.random.choice([*self.faults.all, self._reload, self._replace])
        self.note(await fault())

    def outage(self) -> None:
        """Replicas may decide by themselves for a while, and several do not know of each other."""
        if self.count > 1:
            self.forgive(max(burst for _, burst in self.rates))

    def _under_way(self, owner: object) -> None:
        """Of several requests of one client that a connection takes along, more may pass than had room.

        While Redis is slow, connections come and go: each time is an outage of its own.
        """
        if self.server.seconds > USUAL:
            self.outage()
        for client in self.clients:
            count = sum(
                request.client is client and request.replica.dialler is owner for request in self.undecided
            )
            client.account.grace += max(0, count - 1)

    def forgive(self, tokens: float) -> None:
        for client in self.clients:
            client.account.grace += tokens

    async def _reload(self) -> str:
        """Replica by replica, as they do."""
        before = self.rates[self.config][1]
        self.config = (self.config + 1) % len(self.configs)
        self.forgive(max(0, before - self.rates[self.config][1]))  # what is owed beyond the new burst
        for replica in self.replicas:
            replica.store.configure(self.limits)
        return f"reloaded: {self.rates[self.config]}"

    async def _replace(self) -> str:
        """One replica dies, a new one starts. Alone, it takes with it what only it knew."""
        is_well = self.server.seconds == USUAL and all(replica.store.is_up for replica in self.replicas)
        if self.count == 1 or not is_well:  # who starts in an outage takes itself for the only one
            return "nothing"
        self.outage()
        replica = self.random.choice(self.replicas)
        self.replicas.remove(replica)
        await replica.kill()
        await self.begin(Replica(self.server))
        await asyncio.sleep(BEAT)  # until then the others do not know of it, nor it of them
        return "replica killed, another started"

    # --- all is well again ---

    async def _recover(self) -> None:
        self.server.heal()
        self.note("healed for good")
        await asyncio.sleep(BACK_WITHIN)
        for replica in self.replicas:
            self.check(holds=replica.store.is_up, what=f"not back in time: {replica.store.status()}")
            errors = set(replica.store.figures.errors)
            self.check(holds=not errors & {"stuck", "protocol", "internal"}, what=f"errors: {errors}")
        self.check(holds=not self.undecided, what=f"undecided: {len(self.undecided)}")

    async def _settle_accounts(self) -> None:
        """Nothing is lost for ever: after time to fill up, a burst and no more."""
        rate, burst = self.rates[self.config]
        await asyncio.sleep(8 + 8 / rate)
        counted = {replica.store.replicas.count for replica in self.replicas}
        self.check(holds=counted == {self.count}, what=f"replicas counted: {counted}")
        for client in self.clients:
            client.is_greedy = True
            requests = [self.ask(client, self.random.choice(self.replicas)) for _ in range(burst + 3)]
            await asyncio.sleep(0.1)
            got = sum(request.decision is not None and request.decision.is_admitted for request in requests)
            self.check(holds=got == burst, what=f"{client}: {got} of {burst} after a long rest")
        await asyncio.sleep(burst / rate + 1)
        left = self.server.model.buckets()
        self.check(holds=not left, what=f"left in Redis: {left}")


def _charge(limit: Any, key: bytes) -> Charge:
    (terms,) = limit
    return Charge(terms, key)


def _limits(rate: int, burst: int) -> Limits:
    own = LimitSettings(name="own", rate=f"{rate}/s", burst=burst, key=["const"])
    shared = LimitSettings(name="shared", rate="100000/s", burst=1000, key=["const"])
    return compile_limits([own, shared], b"secret")


def run(seed: int) -> list[str]:
    """What happened. Raises BrokenError."""
    return run_as(Simulation, seed)


def run_as(kind: type[Simulation], seed: int) -> list[str]:
    global_random.seed(seed)
    loop = MemoryLoop()
    try:
        with crashes("weir.store") as found:
            simulation = kind(seed, loop)
            loop.run_until_complete(simulation.run())
        if found:
            raise BrokenError(f"seed {seed}: crashed: {found}\n  " + "\n  ".join(simulation.history))
    finally:
        end_tasks(loop)
    return simulation.history
