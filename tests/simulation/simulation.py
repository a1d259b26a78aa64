"""One run by one seed: replicas share a Redis, clients ask, and things go wrong. After each decision it is checked

- that it is the only one for its request, and comes in time;
- that no client got more than its burst and what came back. Let go is only what docs/limits.md says: in an outage of
  several replicas one burst, since none may know what the others gave; a burst where Redis has lost its data; what a
  link decides on which replies came doubled; and of several requests that are on one connection when it breaks all but
  one;
- that a client far below its rate was admitted, whatever else happened, but for calls or replies that came doubled;
- that who is refused while all is calm owes so much: nothing is charged for a request that was refused;
- that a limit in shadow refuses nobody, that one with `allow` or `deny` does so without Redis, and that who is blocked
  is refused for that, and nobody else.

In the end all is well again: every link is up, after some quiet each client has its burst, neither less nor more, and
a token more once it has come back. Nothing is left behind in Redis or in the replicas' tables.
"""

from __future__ import annotations

import asyncio
import random as global_random
from random import Random
from typing import TYPE_CHECKING

from tests.limiter.asking import bucket
from tests.simulation.accounts import BrokenError
from tests.simulation.askers import Client, Request
from tests.simulation.calm import Calm
from tests.simulation.crashes import crashes, end_tasks
from tests.simulation.floors import left_in
from tests.simulation.operators import BEAT, Operators
from tests.simulation.redis_faults import RedisFaults
from tests.simulation.terms import Extra, charge
from tests.simulation.world import USUAL, Replica, Server
from tests.support.memory import MemoryLoop

if TYPE_CHECKING:
    from proxy.policy.limits import Limits

SECONDS = 6.0  # in which things go wrong
BACK_WITHIN = 3.0  # once all is well
SWEEP = 0.25


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
        self.extra = Extra(draw)
        self.rates = [self.extra.rate(draw)]
        if draw.random() < 0.3:  # two configs, changed by reloads
            self.rates.append(self.extra.rate(draw))
        self.configs = [self.extra.limits(rate, burst) for rate, burst in self.rates]
        self.config = 0
        self.count = draw.choice([1, 1, 2, 3])
        fast, slow = max(rate for rate, _ in self.rates), min(rate for rate, _ in self.rates)
        self.faults = RedisFaults(self.server, self.random, self, fast)
        self.operators = Operators(self)
        self.calm = Calm(self.server, lambda: [replica.store for replica in self.replicas], self._suspect)
        cost = self.extra.cost
        self.clients = [
            Client(self, "greedy", 0.4 * cost / fast, is_greedy=True),
            Client(self, "greedier", 0.2 * cost / fast, is_greedy=True),
            Client(self, "polite", 5.0 * cost * self.count / slow, is_greedy=False),
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
            raise BrokenError(f"seed {self.seed}: {self.count} replicas, {self.rates} {self.extra}\n  {told}")

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
            self.calm.look()
            for replica in self.replicas:
                replica.store.sweep()

    async def _ask(self, client: Client) -> None:
        while True:
            await asyncio.sleep(client.interval * self.random.uniform(0.7, 1.3))
            self.ask(client, self.random.choice(self.replicas))

    def ask(self, client: Client, replica: Replica) -> Request:
        """By one limit, or by two together: the second is ample, and its bucket everybody's."""
        own, shared = self.limits
        charges = [charge(own, client.key)]
        if self.random.random() < 0.3:
            charges.append(charge(shared, bucket("all")))
        request = Request(self, client, replica, charges)
        self.undecided[request] = None
        decision = replica.store.take(charges, request)
        if decision is not None:
            request.decided(decision)
        return request

    # --- what goes wrong ---

    async def _go_wrong(self) -> None:
        operators = self.operators.all
        what = self.random.choice([*self.faults.all, self._reload, self._replace, *operators])
        if what in operators:
            self.note(await what())
            return
        for client in self.clients:
            client.blocked_until = 0.0  # what was told of it may be lost
        with self.calm.fault():
            self.note(await what())

    def _suspect(self) -> None:
        for client in self.clients:
            client.suspicion.forget(self.loop.time())

    def outage(self) -> None:
        """Replicas may decide by themselves for a while, and several do not know of each other."""
        if self.count > 1:
            self.forgive(max(burst for _, burst in self.rates))

    def _under_way(self, owner: object) -> None:
        """Of several requests of one client that a connection takes along, more may pass than had room.

        While Redis is slow, connections come and go: each time is an outage of its own.
        """
        self.calm.disturb()
        if self.server.seconds > USUAL:
            self.outage()
        for client in self.clients:
            count = sum(
                request.client is client and request.replica.dialler is owner for request in self.undecided
            )
            client.account.grace += max(0, count - 1) * self.extra.cost

    def set_back(self, seconds: float) -> None:
        self.calm.set_back(seconds)

    def refilled(self) -> None:
        for client in self.clients:
            client.account.grace += client.account.burst

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
        for replica in self.replicas:
            await replica.store.bring_over()
        return f"reloaded: {self.rates[self.config]}"

    async def _replace(self) -> str:
        """One replica dies, a new one starts. Alone, it takes with it what only it knew."""
        is_well = self.server.is_well and all(replica.store.is_up for replica in self.replicas)
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
            expected = {"protocol"} if self.faults.has_echoed else set()
            broken = errors & {"stuck", "protocol", "internal"} - expected
            self.check(holds=not broken, what=f"errors: {broken}")
        self.check(holds=not self.server.echoed, what="doubled replies were not noticed")
        self.check(holds=not self.undecided, what=f"undecided: {len(self.undecided)}")

    async def _settle_accounts(self) -> None:
        """Nothing is lost for ever: after time to fill up, a burst and no more."""
        rate, burst = self.rates[self.config]
        await asyncio.sleep(8 + 8 / rate)
        counted = {replica.store.replicas.count for replica in self.replicas}
        self.check(holds=counted == {self.count}, what=f"replicas counted: {counted}")
        for client in self.clients:
            client.is_greedy = True
            await self._empty(client, burst // self.extra.cost)
        await asyncio.sleep(burst / rate + 1)
        left = self.server.model.buckets()
        self.check(holds=not left, what=f"left in Redis: {left}")
        self._check_floor()

    async def _empty(self, client: Client, most: int) -> None:
        """It has so much, which refusals do not make less."""
        rate, _ = self.rates[self.config]
        got = await self._ask_at_once(client, most + 3)
        least = most - self.extra.most_lost(self.count)
        self.check(holds=least <= got <= most, what=f"{client}: {got} of {most} after a long rest")
        await asyncio.sleep(self.extra.cost / rate)
        got = await self._ask_at_once(client, 1)
        self.check(holds=got == 1, what=f"{client} was refused when its token had come back")

    async def _ask_at_once(self, client: Client, count: int) -> int:
        """How many were admitted."""
        requests = [self.ask(client, self.random.choice(self.replicas)) for _ in range(count)]
        await asyncio.sleep(0.1)
        return sum(request.fits for request in requests)

    def _check_floor(self) -> None:
        for replica in self.replicas:
            left = left_in(replica.store)
            self.check(holds=not left, what=f"left in a replica: {left}")


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
