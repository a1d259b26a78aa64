"""The servers of the upstream: which one is next, who waits while all are full, who is left out.

A name stands for all of its addresses, looked up again and again; each address is a `Server` of its own. At
most half of them are ejected at once; if none is fit, all are tried: an attempt is better than a certain
refusal (Envoy: panic threshold). Requests that wait are served in the order in which they came.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from proxy import faults
from proxy.net.health import keep_checking
from proxy.net.resolver import keep_resolving
from proxy.net.server_address import Server
from proxy.net.tls import ServersTls
from proxy.policy.balancer import Balancer
from proxy.policy.standing import STATES, Trust
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from proxy.config.sections.upstream import ServerSettings, UpstreamSettings
    from proxy.net.connection import Outbox
    from proxy.net.interfaces import Lane
    from proxy.net.sweep import Sweeper
    from proxy.net.upstream import Upstream
    from proxy.telemetry.metrics import Metrics

_log = logging.getLogger("weir.upstream")


class Site:
    """One server of the settings, and its addresses."""

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self.servers: list[Server] = []


class Pool:
    """All servers of the upstream, as long as their settings hold."""

    def __init__(
        self, settings: UpstreamSettings, sweeper: Sweeper, outbox: Outbox, metrics: Metrics
    ) -> None:
        """Raises TlsError."""
        self.settings = settings
        self.tls = ServersTls(settings.tls) if any(_has_tls(each) for each in settings.servers) else None
        self.sweeper = sweeper
        self.outbox = outbox
        self.trust = _trust(settings)
        self.waiting: dict[Lane, float] = {}  # for a connection, with the time until which
        self._metrics = metrics
        self._most = settings.limits.connections  # requests at once to each server
        self._is_changing = False  # a server is ejected, or has not yet its whole share
        self._is_serving = False  # those that wait, in the next tick
        self._tasks: list[asyncio.Task[None]] = []
        self._sites = [Site(each) for each in settings.servers]
        for site in self._sites:
            site.servers.append(Server(site, self))
        self._balancer: Balancer[Server] = Balancer()
        self._weigh()

    def start(self, before: Pool | None = None) -> None:
        """Looks up names and checks health from now on; takes over from the pool `before`."""
        for site in self._sites:
            if site.settings.url.is_name:
                self._run(keep_resolving(self, site, self.settings.resolve))
        if self.settings.health.path is not None:
            self._run(keep_checking(self, self.settings.health, self.settings.health.path))
        if before is not None:
            self.waiting, before.waiting = before.waiting, {}
            self.has_room()

    @property
    def servers(self) -> list[Server]:
        return [server for site in self._sites for server in site.servers]

    # --- which server, which connection ---

    def acquire(self, lane: Lane, avoid: Server | None = None, *, fresh: bool = False) -> Upstream | None:
        """A connection that is ready, or none.

        Then `lane.connected`, `.connect_failed` or `.turned_away` is called, perhaps at once.
        """
        server = self._with_room(avoid)
        if server is None or self.waiting:
            self._wait(lane)
            return None
        if not fresh:
            upstream = server.take_idle()
            if upstream is not None:
                return upstream
        server.connect(lane)
        return None

    def has_other(self, server: Server) -> bool:
        return any(other is not server for other in self.servers)

    def _with_room(self, avoid: Server | None = None) -> Server | None:
        server = self._balancer.choose(avoid)
        most = self._most
        if most is None or server.load < most:
            return server
        with_room = [other for other in self._balancer.servers if other.load < most]
        return min(with_room, key=_load) if with_room else None

    # --- who waits ---

    def _wait(self, lane: Lane) -> None:
        limits = self.settings.limits
        if len(self.waiting) >= limits.queue:
            lane.turned_away(faults.QUEUE_FULL)
            return
        self.waiting[lane] = self.sweeper.now + limits.wait
        self.has_room()

    def forget(self, lane: Lane) -> None:
        """Its client has left."""
        self.waiting.pop(lane, None)

    def has_room(self) -> None:
        """A server may take another request: of those that wait, if any do, in the next tick."""
        if self.waiting and not self._is_serving:
            self._is_serving = True
            asyncio.get_running_loop().call_soon(self._serve_waiting)

    def _serve_waiting(self) -> None:
        self._is_serving = False
        while self.waiting and (server := self._with_room()) is not None:
            lane = next(iter(self.waiting))
            del self.waiting[lane]
            upstream = server.take_idle()
            if upstream is not None:
                lane.connected(upstream)
            else:
                server.connect(lane)

    # --- how they stand ---

    def eject(self, server: Server) -> None:
        """Unless half of them are out already: the rest could not bear it."""
        servers = self.servers
        out = sum(each.standing.ejected_until is not None for each in servers)
        if server not in servers or (out + 1) * 2 > len(servers):
            return
        seconds = server.standing.eject(self.sweeper.now)
        self._metrics.count_ejection(server.name)
        event(_log, logging.WARNING, "server_ejected", server=server.label, seconds=seconds)
        self._weigh()

    def checked(self, server: Server, problem: str) -> None:
        """A health check's result: what was wrong, if anything."""
        if server.is_retired:  # since the check began
            return
        is_well = not problem
        if server.standing.checked(self.sweeper.now, is_well=is_well):
            if is_well:
                event(_log, logging.INFO, "server_healthy", server=server.label)
            else:
                event(_log, logging.WARNING, "server_unhealthy", server=server.label, reason=problem)
            self._weigh()

    def sweep(self, now: float) -> None:
        """What time changes: who has waited too long, whose ejection ends, whose share grows."""
        for lane in [lane for lane, until in self.waiting.items() if until <= now]:
            del self.waiting[lane]
            lane.turned_away(faults.QUEUE_TIMEOUT)
        if self._is_changing:
            for server in self.servers:
                if server.standing.returns(now):
                    event(_log, logging.INFO, "server_back", server=server.label)
            self._weigh()

    def _weigh(self) -> None:
        """Who may be chosen, and how often; a site's weight is shared out among its addresses."""
        now = self.sweeper.now
        servers = self.servers
        fit = [server for server in servers if server.standing.is_fit] or servers
        self._balancer.use((server, _weight(server) * server.standing.share(now)) for server in fit)
        self._is_changing = any(
            server.standing.ejected_until is not None or server.standing.share(now) < 1 for server in servers
        )
        self.has_room()  # one that is back, or new, may take those that wait

    # --- what the names say ---

    def resolved(self, site: Site, addresses: Sequence[str]) -> None:
        """The addresses of a name. Those that are new are opened, those that are gone finish what they do."""
        known: dict[str | None, Server] = {server.address: server for server in site.servers}
        if known.keys() != set(addresses):
            event(_log, logging.INFO, "resolved", server=site.settings.url.url, addresses=[*addresses])
        site.servers = [
            known.pop(address) if address in known else Server(site, self, address) for address in addresses
        ]
        for gone in known.values():
            gone.retire()
        self._weigh()

    # --- the end ---

    def retire(self) -> None:
        for task in self._tasks:
            task.cancel()
        for server in self.servers:
            server.retire()

    def _run(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))

    # --- what the admin plane and the metrics ask for ---

    def status(self) -> list[dict[str, object]]:
        now = self.sweeper.now
        return [
            {
                "server": server.name,
                "address": server.address,
                "state": server.standing.state(now),
                "active": server.load,
                "idle": len(server.idle),
            }
            for server in self.servers
        ]

    def states(self) -> dict[tuple[str, str], int]:
        """Addresses by their server and state."""
        found = {(site.settings.url.url, state): 0 for site in self._sites for state in STATES}
        for server in self.servers:
            found[server.name, server.standing.state(self.sweeper.now)] += 1
        return found

    def counts(self) -> dict[str, int]:
        servers = self.servers
        idle = sum(len(server.idle) for server in servers)
        return {"active": sum(len(server.open) for server in servers) - idle, "idle": idle}


def _load(server: Server) -> int:
    return server.load


def _weight(server: Server) -> float:
    return server.site.settings.weight / len(server.site.servers)


def _has_tls(server: ServerSettings) -> bool:
    return server.url.scheme == "https"


def _trust(settings: UpstreamSettings) -> Trust:
    ejection, health = settings.ejection, settings.health
    return Trust(
        ejection.failures or 0,
        ejection.first,
        ejection.longest,
        settings.slow_start,
        health.rise,
        health.fall,
    )
