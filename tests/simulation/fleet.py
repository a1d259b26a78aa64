"""One run of whole replicas by one seed: real gateways before a service and beside a Redis, clients that come and
go, and things that go wrong with all of them. After each step it is checked

- what tests/simulation/simulation.py checks of decisions;
- that only requests that were admitted reach the service, unchanged, and what must not be repeated once;
- that each ends once: one answer, the service's own or one that what happened explains, or one close; one line, one
  count;
- that no secret leaves.

In the end all is well again: each client has its burst, and nothing is left in the replicas or in Redis.
"""

from __future__ import annotations

import asyncio
import random as global_random
from random import Random
from typing import TYPE_CHECKING

from tests.simulation.accounts import BrokenError
from tests.simulation.books import Books
from tests.simulation.calm import Calm
from tests.simulation.clients import Patron, Visit
from tests.simulation.configs import EJECTED_SECONDS, USERS, Drawn
from tests.simulation.crashes import crashes, end_tasks
from tests.simulation.floors import left_in
from tests.simulation.gateways import Gateway
from tests.simulation.redis_faults import RedisFaults
from tests.simulation.requests import Sent
from tests.simulation.services import USUAL, Service
from tests.simulation.world import Server
from tests.support.memory import MemoryLoop
from tests.support.wire import Wire

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.wire import Response

SECONDS = 4.0  # in which things go wrong
PARTING_SECONDS = 16.0  # in which the last client has gone
BACK_WITHIN = 3.0  # once all is well
BEAT = 1.1  # in which all replicas hear of each other
REST_SECONDS = 2.5  # more than a connection may be at rest


class Fleet:
    def __init__(self, seed: int, loop: MemoryLoop) -> None:
        self.seed = seed
        self.loop = loop
        self.random = draw = Random(seed)
        self.drawn = Drawn(draw)
        self.history: list[str] = []
        self.broken: list[str] = []
        self.redis = Server(loop, Random(seed + 1))
        families = [name for name in ("redis", "services", "replicas", "reloads") if draw.random() < 0.5]
        self.families = families
        self.gateways: list[Gateway] = []
        self.books = Books(loop, self.tell)
        self.calm = Calm(self.redis, lambda: [gateway.store for gateway in self.gateways], self.books.suspect)
        self.books.trust(self.calm, self.redis)
        self.redis.lost = self._lost
        self.faults = RedisFaults(self.redis, draw, self, self.drawn.highest_rate)
        self.services = [Service(draw, self.books.find, self.tell) for _ in range(draw.choice([1, 2]))]
        if "services" not in families:
            for service in self.services:
                service.moods = USUAL
        self.count = draw.choice([1, 1, 2, 3])
        self.vanished: dict[Wire, None] = {}
        self.is_over = False
        self._numbers = 0
        self._calm_since = 0.0
        self._stall = 0.0

    # --- what clients and services ask for ---

    @property
    def aborts_half_closed(self) -> bool:
        return self.drawn.aborts_half_closed

    def new(self, method: str, user: str, body: bytes = b"") -> Sent:
        self._numbers += 1
        folder = self.random.choice(["r", "r", "s"])
        sent = self.books.sent[self._numbers] = Sent(self._numbers, method, user, body, folder)
        sent.begun = self.loop.time()
        return sent

    def some_gateway(self) -> Gateway | None:
        return self.random.choice(self.gateways) if self.gateways else None

    def answered(self, sent: Sent, response: Response) -> None:
        problem = sent.answered(response, is_calm=self.is_calm(sent))
        if problem:
            self.tell(f"{sent}: {problem}")

    def is_calm(self, sent: Sent) -> bool:
        """Nothing has happened to the service that could make the request fail."""
        return not self.drawn.has_queue and sent.begun > self._calm_since

    def way_to_servers(self) -> float:
        return self._stall or self.random.uniform(0.0, 0.002)

    # --- what is checked ---

    def note(self, what: str) -> None:
        self.history.append(f"{self.loop.time() - 1000:.4f} s: {what}")

    def tell(self, what: str) -> None:
        self.broken.append(f"{self.loop.time() - 1000:.4f} s: {what}")

    def check(self) -> None:
        if self.broken:
            told = "\n  ".join([*self.history, *self.broken[:4]])
            raise BrokenError(f"fleet {self.seed}: {self.count} replicas, {self.drawn}\n  {told}")

    def set_back(self, seconds: float) -> None:
        self.calm.set_back(seconds)

    def refilled(self) -> None:
        self.books.refilled()

    def _lost(self, owner: object) -> None:
        self.books.lost(owner)
        self.calm.disturb()

    def outage(self) -> None:
        if self.count > 1:
            self.books.outage()

    def forgive(self, tokens: float) -> None:
        self.books.forgive(tokens)

    # --- the run ---

    async def run(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: self.tell(str(context)))
        for service in self.services:
            await service.start()
        for _ in range(self.count):
            await self._begin()
        await asyncio.sleep(BEAT)
        patrons = [Patron(self, user, pace) for user in USERS for pace in (0.15, 0.4)]
        living = [asyncio.create_task(patron.live()) for patron in patrons]
        until = self.loop.time() + SECONDS
        while (now := self.loop.time()) < until:
            await asyncio.sleep(min(self.random.expovariate(1.5), until - now))
            await self._go_wrong()
            self.check()
        await self._recover()
        await asyncio.wait_for(asyncio.gather(*living), PARTING_SECONDS)
        self.check()
        await self._settle_accounts()
        await self._rest()
        for gateway in self.gateways:
            await gateway.drain()
        for service in self.services:
            await service.stop()
        self.note(f"{self._numbers} requests")
        self.check()

    async def _begin(self) -> Gateway:
        gateway = Gateway(self, self.drawn.settings(self.services))
        await gateway.start()
        self.gateways.append(gateway)
        return gateway

    # --- what goes wrong ---

    async def _go_wrong(self) -> None:
        ways: dict[str, list[Callable[[], Awaitable[str]]]] = {
            "redis": self.faults.all,
            "services": [self._refuse, self._cut, self._stall_servers],
            "replicas": [self._kill, self._replace],
            "reloads": [self._reload],
        }
        if not self.families:
            return
        family = self.random.choice(self.families)
        way = self.random.choice(ways[family])
        if family == "redis":
            with self.calm.fault():
                self.note(await way())
        else:
            self.note(await way())

    async def _refuse(self) -> str:
        """A server is away, its connections are closed."""
        service = self.random.choice(self.services)
        await service.refuse()
        service.cut(is_clean=self.random.random() < 0.5)
        seconds = self.random.choice([0.0, 0.1, 0.8])
        await self._disturb(seconds)
        await service.start()
        return f"server {service.port} was away for {seconds} s"

    async def _cut(self) -> str:
        self.random.choice(self.services).cut(is_clean=self.random.random() < 0.5)
        await self._disturb(0.0)
        return "a server's connections cut"

    async def _stall_servers(self) -> str:
        """Who connects waits."""
        self._stall = self.random.choice([0.3, 0.8])
        await self._disturb(0.5)
        told, self._stall = self._stall, 0.0
        return f"connections took {told} s"

    async def _disturb(self, seconds: float) -> None:
        self._calm_since = float("inf")
        await asyncio.sleep(seconds)
        self._calm_since = self.loop.time() + 2 * EJECTED_SECONDS

    async def _kill(self) -> str:
        """At once, and another one takes its place."""
        return await self._end(is_kill=True)

    async def _replace(self) -> str:
        """As a rolling restart does."""
        return await self._end(is_kill=False)

    async def _end(self, *, is_kill: bool) -> str:
        if not self.redis.is_well or not all(each.store.is_up for each in self.gateways):
            return "nothing"  # who starts in an outage takes itself for the only one
        self.outage()
        gateway = self.random.choice(self.gateways)
        self.gateways.remove(gateway)
        await (gateway.kill() if is_kill else gateway.drain())
        await self._begin()
        await asyncio.sleep(BEAT)  # until then the others do not know of it, nor it of them
        return f"replica {gateway.port} {'killed' if is_kill else 'drained'}, another started"

    async def _reload(self) -> str:
        """Replica by replica, as they do."""
        self.drawn.turn()
        for gateway in self.gateways:
            await gateway.reload(self.drawn.settings(self.services))
            await asyncio.sleep(self.random.uniform(0.0, 0.05))
        return f"reloaded: {self.drawn.told}"

    # --- all is well again ---

    async def _recover(self) -> None:
        self.redis.heal()
        self.is_over = True
        for service in self.services:
            service.moods = {"plain": 1}
        self.note("healed for good")
        await asyncio.sleep(BACK_WITHIN)
        for gateway in self.gateways:
            if not gateway.store.is_up:
                self.tell(f"not back in time: {gateway.store.status()}")
            expected = {"protocol"} if self.faults.has_echoed else set()
            errors = set(gateway.store.figures.errors) & {"stuck", "protocol", "internal"} - expected
            if errors:
                self.tell(f"errors: {errors}")
        if self.redis.echoed:
            self.tell("doubled replies were not noticed")
        if self.books.undecided:
            self.tell(f"undecided: {self.books.undecided}")
        self.check()

    async def _settle_accounts(self) -> None:
        """Nothing is lost for ever: after time to fill up, a burst and no more."""
        await asyncio.sleep(self.drawn.seconds_to_full)
        for user in USERS:
            most = self.drawn.most_at_once(user)
            many = [self.new("GET", user) for _ in range(most + 3)]
            await asyncio.gather(*(self._ask_once(sent) for sent in many))
            got = sum(sent.is_admitted is True for sent in many)
            least = most - self.drawn.most_lost(self.count)
            if got < least or (got > most and not self.drawn.has_queue):  # a full one gives tokens back
                self.tell(f"{user} got {got} of {most} after a long rest")
        self.check()

    async def _ask_once(self, sent: Sent) -> None:
        sent.folder = "r"
        gateway = self.random.choice(self.gateways)
        visit = Visit(self, gateway, await Wire.open(gateway.port))
        await visit.wire.send(sent.whole())
        await visit.hear(sent)
        visit.wire.close()

    async def _rest(self) -> None:
        """Until those have been given up who never said that they leave, and buckets are full."""
        await asyncio.sleep(max(REST_SECONDS, self.drawn.seconds_to_full))
        for gateway in self.gateways:
            gateway.check_floor()
            left_behind = left_in(gateway.store)
            if left_behind:
                self.tell(f"left in a replica's store: {left_behind}")
        if not {"replicas", "reloads"} & set(self.families):  # else limits and replicas go, and what they owe
            self.books.check_returns()
        left = self.redis.model.buckets()
        if left:
            self.tell(f"left in Redis: {left}")
        for wire in self.vanished:
            wire.abort()


def run(seed: int) -> list[str]:
    """What happened. Raises BrokenError."""
    global_random.seed(seed)
    loop = MemoryLoop()
    with crashes() as found:
        fleet = Fleet(seed, loop)
        try:
            loop.run_until_complete(fleet.run())
        finally:
            end_tasks(loop)
    if found:
        raise BrokenError(f"fleet {seed}: crashed: {found}\n  " + "\n  ".join(fleet.history))
    return fleet.history
