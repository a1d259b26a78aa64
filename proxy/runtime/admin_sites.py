"""The admin plane's sockets and those of its probes become sites of one aiohttp runner."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin.app import admin_app
from proxy.admin.bounds import AdminConnections
from proxy.admin.probes import Probes

if TYPE_CHECKING:
    from proxy.admin.sources import AdminSources
    from proxy.runtime.sockets import AdminSockets

# Of a connection, that the kernel takes ahead (socket(7): it doubles the number). aiohttp parses all that a
# read brings at once: 256 KiB in chunks of one byte would keep requests waiting for 50 ms.
AHEAD_BYTES = 2 * 1024
BACKLOG = 16  # as many may be accepted at once, beyond the bound of connections


async def serve_admin(sources: AdminSources, sockets: AdminSockets) -> web.AppRunner:
    runner = web.AppRunner(admin_app(sources), shutdown_timeout=1.0)
    await runner.setup()
    assert runner.server is not None
    for sock in sockets.plane:
        await AdminSite(runner, sock, AdminConnections(runner.server)).start()
    for sock in sockets.probes:
        await AdminSite(runner, sock, Probes(lambda: sources.readiness()[0])).start()
    return runner


class AdminSite(web.SockSite):
    """A socket whose connections are made by `protocols`."""

    def __init__(
        self, runner: web.BaseRunner, sock: socket.socket, protocols: AdminConnections | Probes
    ) -> None:
        super().__init__(runner, sock, backlog=BACKLOG)
        self._protocols = protocols

    async def start(self) -> None:
        await web.BaseSite.start(self)
        if self._sock.family != socket.AF_UNIX:  # else file permissions say who may ask
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, AHEAD_BYTES)
        self._server = await asyncio.get_running_loop().create_server(
            self._protocols, sock=self._sock, backlog=self._backlog
        )

    async def stop(self) -> None:
        await super().stop()
        if isinstance(self._protocols, Probes):
            self._protocols.close()  # those of the plane are closed by the runner
