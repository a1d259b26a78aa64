"""The servers of the upstream: which one is next. A server is the less loaded of two taken at random."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from proxy.net.server import Server

if TYPE_CHECKING:
    from proxy.config.sections.upstream import UpstreamSettings
    from proxy.net.connection import Outbox
    from proxy.net.ports import Lane
    from proxy.net.sweep import Sweeper
    from proxy.net.upstream import Upstream


class Pool:
    """All servers of the upstream."""

    def __init__(self, settings: UpstreamSettings, sweeper: Sweeper, outbox: Outbox) -> None:
        self.servers: list[Server] = [
            Server(server, settings, sweeper, outbox) for server in settings.servers
        ]

    def acquire(self, lane: Lane, avoid: Server | None = None, *, fresh: bool = False) -> Upstream | None:
        """A connection that is ready, or none: then `lane.connected` or `.connect_failed` is called later."""
        server = self._choose(avoid)
        if not fresh:
            upstream = server.take_idle()
            if upstream is not None:
                return upstream
        server.connect(lane)
        return None

    def _choose(self, avoid: Server | None) -> Server:
        servers = self.servers
        if len(servers) == 1:
            return servers[0]
        candidates = [server for server in servers if server is not avoid]
        if len(candidates) == 1:
            return candidates[0]
        one, other = random.sample(candidates, 2)
        return one if one.load <= other.load else other

    def has_other(self, server: Server) -> bool:
        return any(other is not server for other in self.servers)

    def retire(self) -> None:
        for server in self.servers:
            server.retire()

    def status(self) -> list[dict[str, object]]:
        return [
            {"server": server.name, "active": server.load, "idle": len(server.idle)}
            for server in self.servers
        ]

    def counts(self) -> dict[str, int]:
        idle = sum(len(server.idle) for server in self.servers)
        return {"active": sum(len(server.open) for server in self.servers) - idle, "idle": idle}
