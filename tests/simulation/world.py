"""One Redis, its connections, and replicas of Weir's store on a clock that moves; and what goes wrong with them.

All of it hangs on one seed: the same seed is the same run, to the byte. See simulation.py for what must hold.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from proxy.config.addresses import parse_store
from proxy.limiter.dialler import Dialler, Opened
from proxy.limiter.leases import LEASE_SECONDS
from proxy.limiter.redis import RedisStore
from tests.simulation.redis_model import Model, commands

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from proxy.limiter.discovery import NodeAddress
    from proxy.policy.limits import Limits
    from tests.support.memory import MemoryLoop

EPOCH_US = 1_800_000_000_000_000  # what Redis's clock says when the loop's says nought
URL = parse_store("redis://redis.test:6379")
TIMEOUT = 0.05
USUAL = 0.001  # seconds of a way to Redis, at most
APART = 1e-7  # seconds: a loop may turn round what is due at one moment


class Server:
    """A process of Redis and the way to it."""

    def __init__(self, loop: MemoryLoop, random: Random) -> None:
        self.loop = loop
        self.random = random
        self.model = Model(self._now_us)
        self.stepped_us = 0  # of its clock
        self.is_running = True
        self.is_frozen = False
        self.is_mute = False  # what it says is lost
        self.is_doubling = False  # each call reaches it twice
        self.is_echoing = False  # each reply is said twice
        self.seconds = USUAL  # of a way, at most
        self.pipes: dict[Pipe, None] = {}
        self.lost: Callable[[object], None] = lambda owner: None  # whose connection ends
        self._unread: list[tuple[Pipe, bytes]] = []
        self._misled_until: dict[object, float] = {}  # by owner

    def _now_us(self) -> int:
        return EPOCH_US + int(self.loop.time() * 1e6) + self.stepped_us

    def latency(self) -> float:
        return self.seconds * self.random.uniform(0.1, 1.0)

    async def connect(self, owner: object) -> Pipe:
        await asyncio.sleep(self.latency())
        while self.is_frozen:
            await asyncio.sleep(0.5)
        if not self.is_running:
            raise ConnectionRefusedError(111, "Connection refused")
        pipe = Pipe(self, owner)
        self.pipes[pipe] = None
        return pipe

    def receive(self, pipe: Pipe, data: bytes) -> None:
        if self.is_frozen:
            self._unread.append((pipe, data))
            return
        pipe.commands.feed(data)
        while (words := pipe.commands.gets()) is not False:
            reply = self.model.run(words)
            if self.is_doubling:
                reply = self.model.run(words)
            if not self.is_mute:
                pipe.say(reply)
                if self.is_echoing:
                    pipe.say_again(reply)

    @property
    def is_well(self) -> bool:
        is_usual = self.seconds == USUAL and self.model.refuses is None
        is_odd = self.is_mute or self.is_frozen or self.is_doubling or self.is_echoing or bool(self.echoed)
        return self.is_running and is_usual and not is_odd

    @property
    def echoed(self) -> list[Pipe]:
        """Connections on which a reply was said twice, and that are open still: later replies may be taken for others."""
        return [pipe for pipe in self.pipes if pipe.is_echoed]

    def misleads(self, owner: object) -> bool:
        """What it tells this owner may be another call's reply; or was, as long as tokens of it may be held."""
        is_misled = any(pipe.owner is owner for pipe in self.echoed)
        return is_misled or self.loop.time() <= self._misled_until.get(owner, 0.0)

    def ended(self, pipe: Pipe) -> None:
        del self.pipes[pipe]
        if pipe.is_echoed:
            self._misled_until[pipe.owner] = self.loop.time() + LEASE_SECONDS
        self.lost(pipe.owner)

    # --- what may happen to it ---

    def cut(self) -> None:
        for pipe in list(self.pipes):
            pipe.cut()

    def kill(self) -> None:
        """Its data are gone."""
        self.is_running = False
        self.is_frozen = False
        self._unread.clear()
        self.cut()
        self.model.forget()

    def thaw(self) -> None:
        """What was sent meanwhile is read at once, also from those who have gone since."""
        self.is_frozen = False
        unread, self._unread = self._unread, []
        for pipe, data in unread:
            self.receive(pipe, data)

    def heal(self) -> None:
        self.is_running, self.seconds = True, USUAL
        self.is_mute = self.is_doubling = self.is_echoing = False
        self.model.refuses = None
        if self.is_frozen:
            self.thaw()


class Pipe:
    """A connection: in order, each way with its delay. In the place of a transport."""

    def __init__(self, server: Server, owner: object) -> None:
        self.commands = commands()
        self.owner = owner
        self._server = server
        self._loop = server.loop
        self._protocol: Any = None
        self.is_echoed = False
        self._is_open = True
        self._there = 0.0  # when the last bytes arrive
        self._back = 0.0

    def set_protocol(self, protocol: Any) -> None:
        self._protocol = protocol

    def write(self, data: bytes) -> None:
        if self._is_open:
            self._there = max(self._there + APART, self._loop.time() + self._server.latency())
            self._loop.call_at(self._there, self._server.receive, self, data)

    def say(self, data: bytes) -> None:
        """Now and then in two pieces."""
        middle = self._server.random.randrange(len(data)) if self._server.random.random() < 0.1 else 0
        for piece in (data[:middle], data[middle:]):
            if piece:
                self._back = max(self._back + APART, self._loop.time() + self._server.latency())
                self._loop.call_at(self._back, self._told, piece)

    def say_again(self, data: bytes) -> None:
        self.is_echoed = True
        self.say(data)

    def _told(self, data: bytes) -> None:
        if self._is_open and self._protocol is not None:
            self._protocol.data_received(data)

    def cut(self) -> None:
        """Both ends learn of it; what is on its way to Redis may arrive, what is on its way back is lost."""
        if self._is_open:
            self.abort()
            if self._protocol is not None:
                self._loop.call_soon(self._protocol.connection_lost, None)

    def abort(self) -> None:
        if self._is_open:
            self._is_open = False
            self._server.ended(self)


class SimulatedDialler(Dialler):
    """Leads to the server, unless the replica is dead."""

    def __init__(self, server: Server) -> None:
        super().__init__(URL)
        self._server = server
        self.is_dead = False

    async def connect(self, address: NodeAddress) -> Opened:  # noqa: ARG002 - there is one
        if self.is_dead:
            raise ConnectionRefusedError(111, "Connection refused")
        pipe = await self._server.connect(self)
        return Opened(cast("asyncio.Transport", pipe), pipe.abort)  # as much of one as is used


class Replica:
    """One process of Weir, as far as limits go."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.dialler = SimulatedDialler(server)
        self.store = RedisStore(self.dialler, TIMEOUT, now=server.loop.time)

    async def start(self, limits: Limits) -> None:
        self.store.configure(limits)
        await self.store.start()

    async def kill(self) -> None:
        """It says no goodbye."""
        self.dialler.is_dead = True
        for pipe in [pipe for pipe in self._server.pipes if pipe.owner is self.dialler]:
            pipe.cut()
        await asyncio.sleep(0)
        await self.store.close()
