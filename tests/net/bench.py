"""A gateway in this process, on real sockets or in memory: what the tests of connections and of the story stand on.

Whatever a test does, it must leave nothing behind: every exchange recorded once, no connection, no deadline
and no task left, nothing told to the loop's exception handler. `stop` holds it to that.
"""

from __future__ import annotations

import asyncio
import contextlib

import yaml

from proxy.assembly import assemble
from proxy.config.loader import loads
from proxy.limiter.memory import MemoryStore
from proxy.net.frontend import FrontendRunner
from proxy.telemetry.metrics import Metrics
from tests.support.network import network
from tests.support.patience import until
from tests.support.weir import overlaid

SWEEP = 0.02


def settings(changes=None, *, servers=("http://127.0.0.1:1",)):
    base = {
        "listen": "127.0.0.1:0",
        "downstream": {"half_close": "abort"},  # a test's client that closes has left at once
        "upstream": {"servers": list(servers)},
        "limits": [],
    }
    return loads(yaml.safe_dump(overlaid(base, changes or {})), "bench.yaml", {})


def limit(rate="2/h", burst=2):
    return {
        "limits": [{"name": "few", "key": ["header:X-Auth-Token", "client-ip"], "rate": rate, "burst": burst}]
    }


class Ledger(Metrics):
    """The metrics, and every exchange that was recorded."""

    def __init__(self) -> None:
        super().__init__()
        self.recorded = []
        self.logged = []

    def record(self, exchange):
        self.recorded.append(exchange)
        super().record(exchange)

    # As the access log is.

    headers = ()

    def adopt(self, settings):
        """It writes the exchange itself."""

    def write(self, exchange):
        self.logged.append(exchange)

    def flush(self):
        pass

    close = flush

    @property
    def outcomes(self):
        return [exchange.outcome for exchange in self.recorded]

    @property
    def reasons(self):
        return [exchange.fault and exchange.fault.reason for exchange in self.recorded]

    def check(self):
        assert len({id(exchange) for exchange in self.recorded}) == len(self.recorded), "recorded twice"
        assert self.logged == self.recorded
        assert all(exchange.outcome and exchange.finished >= exchange.started for exchange in self.recorded)


class Bench:
    def __init__(self, given, store=None) -> None:
        self.ledger = Ledger()
        around = network()
        self.store = store or MemoryStore(lambda: int(around.clock() * 1_000_000))
        parts = self.parts = assemble(
            given,
            metrics=self.ledger,
            access_log=self.ledger,
            store=self.store,
            clock=around.clock,
            dial=around.dial,
        )
        self.shared, self.frontend, self.sweeper = parts.shared, parts.frontend, parts.sweeper
        self.sweeper.interval = SWEEP
        self.pools = [parts.shared.pool]
        self.runner = FrontendRunner(self.frontend, shutdown_timeout=5.0)
        self.complaints = []  # what the loop was told
        self.port = 0

    @property
    def address(self):
        return self.shared.pool.addresses[0]

    @property
    def exchanges(self):
        return self.ledger.recorded

    def reload(self, given):
        """As the worker does it."""
        self.parts.adopt(self.parts.prepare(given))
        self.sweeper.interval = SWEEP
        if self.shared.pool is not self.pools[-1]:
            self.pools.append(self.shared.pool)

    async def start(self, send_bytes=0):
        """`send_bytes` makes the kernel's send buffers small, so that Weir soon feels who does not read."""
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: self.complaints.append(context)
        )
        await self.parts.start()
        await self.runner.setup()
        protocol = self.parts.protocol(self.parts.settings.listen[0])
        self.listener = await network().serve(protocol, send_bytes)
        self.port = self.listener.port

    async def recorded(self, count=1):
        await until(lambda: len(self.exchanges) >= count, f"{count} exchanges are recorded")
        return self.exchanges[count - 1]

    async def is_empty(self):
        """No client and no exchange is left."""
        await until(lambda: not self.frontend.connections, "every client's connection ended")
        await until(
            lambda: all(server.load == 0 for server in self.addresses), "no server's connection is busy"
        )

    def _has_no_tasks(self):
        return all(task.done() for pool in self.pools for task in pool._tasks)

    @property
    def addresses(self):
        return [server for pool in self.pools for server in pool.addresses]

    async def stop(self):
        await self.listener.close()
        with contextlib.suppress(AssertionError):
            await self.runner.cleanup()
        for pool in self.pools:
            pool.retire()
        await until(self._has_no_tasks, "the pools' tasks ended")
        await self.is_empty()
        await until(
            lambda: not any(server.open for server in self.addresses), "every server's connection ended"
        )
        assert all((server.idle, server.connecting) == ({}, set()) for server in self.addresses)
        assert self.sweeper._members == {}
        assert not self.store.held.slots, "no slot is held"
        await self.parts.stop()
        self.ledger.check()
        assert self.complaints == [], self.complaints
