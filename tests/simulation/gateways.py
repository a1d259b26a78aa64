"""A replica as a whole: the real parts of a worker, on connections in memory."""

from __future__ import annotations

import asyncio
import json
from functools import lru_cache
from typing import TYPE_CHECKING, Any, cast

from proxy.assembly import assemble
from proxy.config.loader import loads
from proxy.limiter.redis import RedisStore
from proxy.net.frontend import FrontendRunner
from tests.simulation.books import Ledger, WatchedStore
from tests.simulation.world import TIMEOUT, SimulatedDialler
from tests.support.memory import MemoryTransport

if TYPE_CHECKING:
    from proxy.config.settings import Settings
    from proxy.net.server_address import ServerAddress
    from proxy.net.upstream import UpstreamConnection
    from tests.simulation.fleet import Fleet
    from tests.support.network import Listener

DRAIN_SECONDS = 1.5  # for what is under way at an orderly end
CONNECT_SECONDS = 0.5  # that an attempt to connect to a server may take


@lru_cache(8)
def read(text: str) -> Settings:
    return loads(text, "simulated.yaml", {})


def written(settings: dict[str, Any]) -> str:
    """As JSON, which is YAML too and is written in no time."""
    return json.dumps(settings)


class Gateway:
    """One process of Weir."""

    def __init__(self, fleet: Fleet, settings: Settings) -> None:
        self.port = 0
        self.is_dead = False
        self.dialler = SimulatedDialler(fleet.redis)
        self.ledger = Ledger(fleet.books, fleet.tell)
        self._fleet = fleet
        self._network = fleet.loop.network
        store = RedisStore(self.dialler, TIMEOUT, now=fleet.loop.time)
        self.store = store
        self.parts = assemble(
            settings,
            metrics=self.ledger,
            access_log=self.ledger.log,
            store=WatchedStore(store, fleet.books, self.dialler),
            clock=fleet.loop.time,
            dial=self._dial,
        )
        self.pools = [self.parts.shared.pool]
        self.runner = FrontendRunner(self.parts.frontend, shutdown_timeout=DRAIN_SECONDS)
        self._listener: Listener | None = None

    async def start(self) -> None:
        await self.parts.start()
        await self.runner.setup()
        listen = self.parts.settings.listen[0]
        self._listener = await self._network.serve(self.parts.protocol(listen))
        self.port = self._listener.port

    async def reload(self, settings: Settings) -> None:
        self.parts.adopt(self.parts.prepare(settings))
        if self.parts.shared.pool is not self.pools[-1]:
            self.pools.append(self.parts.shared.pool)
        await self.store.bring_over()

    async def _dial(self, address: ServerAddress, upstream: UpstreamConnection) -> None:
        if self.is_dead:
            raise ConnectionRefusedError(111, "Connection refused")
        await asyncio.sleep(self._fleet.way_to_servers())
        await self._network.dial(address, upstream)

    async def drain(self) -> None:
        """As a worker ends (`runtime.worker.stop`)."""
        shared = self.parts.shared
        shared.is_draining = True
        await asyncio.sleep(0.1)
        shared.room.end_at(shared.clock() + DRAIN_SECONDS / 2)
        await self._deafen()
        await self.runner.cleanup()
        await self.parts.stop()
        await asyncio.sleep(CONNECT_SECONDS)  # attempts whose requests have left go on for so long
        self.check_floor()

    async def kill(self) -> None:
        """The kernel closes what it had open; nobody is told anything."""
        self.is_dead = self.dialler.is_dead = self.ledger.is_dead = True
        self._fleet.books.bury(self.dialler)
        await self._deafen()
        self.parts.sweeper.stop()
        for connection in list(self.parts.frontend.connections):
            cast("MemoryTransport", connection.transport).perish()
        for pool in self.pools:
            for address in pool.addresses:
                for upstream in list(address.open):
                    cast("MemoryTransport", upstream.transport).perish()
        for pipe in [pipe for pipe in self._fleet.redis.pipes if pipe.owner is self.dialler]:
            pipe.cut()
        await asyncio.sleep(0)
        await self.parts.stop()

    async def _deafen(self) -> None:
        if self._listener is not None:
            await self._listener.close()

    def check_floor(self) -> None:
        """Nothing is left of connections, exchanges and deadlines, but what rests in the pools."""
        shared, frontend = self.parts.shared, self.parts.frontend
        resting = {upstream: None for pool in self.pools for each in pool.addresses for upstream in each.idle}
        left = {
            "clients": len(frontend.connections),
            "slow clients": len(frontend.slow),
            "addresses of clients": len(frontend._from),
            "requests that wait for a token": len(shared.room),
            "queues of them": len(shared.room._queues),
            "requests that wait for a server": sum(len(pool.waiting) for pool in self.pools),
            "searches": sum(len(pool.searches) for pool in self.pools),
            "attempts": sum(len(each.connecting) for pool in self.pools for each in pool.addresses),
            "connections under way": sum(each.load for pool in self.pools for each in pool.addresses),
            "deadlines": len([each for each in self.parts.sweeper._members if each not in resting]),
            "calls of the store": len(self.store._dispatcher._pending),
            "held bytes": frontend._held,
        }
        found = {what: count for what, count in left.items() if count}
        if found:
            self._fleet.tell(f"replica {self.port} has left: {found}")
        self.ledger.check()
