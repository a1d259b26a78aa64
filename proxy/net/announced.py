"""Listeners whose connections begin with a PROXY header: read to its last byte, then served like any other.

The header is read from the bare socket, since TLS may follow it, and only as many bytes as are certainly
part of it. What is none is closed without an answer and counted; so is one that does not come in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from functools import partial
from typing import TYPE_CHECKING, cast

from aiohttp import web

from proxy import faults
from proxy.background import keep_doing
from proxy.clients.proxy_protocol import NotAnnouncedError, announced, missing
from proxy.net.downstream import DownstreamConnection
from proxy.telemetry.log import event

if TYPE_CHECKING:
    import socket
    import ssl

    from proxy.net.frontend import Frontend

EMFILE_SECONDS = 1.0  # after which accepting is tried again if there are no descriptors (asyncio's figure)

_log = logging.getLogger("weir.net")


class AnnouncedSite(web.SockSite):
    """What such a listener has in place of aiohttp's own site; its runner is a `FrontendRunner`."""

    async def start(self) -> None:
        await web.BaseSite.start(self)
        frontend = cast("Frontend", self._runner.server)
        self._sock.listen(self._backlog)
        self._sock.settimeout(0)
        arrivals = Arrivals(self._sock, frontend, self._ssl_context)
        self._server = cast("asyncio.AbstractServer", arrivals)  # a site asks for its sockets and its end


class Arrivals:
    """Accepts connections and reads their headers, each in a task that ends when the header is there."""

    def __init__(self, sock: socket.socket, frontend: Frontend, context: ssl.SSLContext | None) -> None:
        self.sockets = (sock,)
        self._frontend = frontend
        self._context = context
        self._loop = asyncio.get_running_loop()
        self._arriving: set[asyncio.Task[None]] = set()
        self._accepting = self._loop.create_task(self._serve_all(sock))

    def close(self) -> None:
        self._accepting.cancel()
        for task in self._arriving:
            task.cancel()

    async def _serve_all(self, listener: socket.socket) -> None:
        with listener:
            await keep_doing(_log, partial(self._accept, listener))

    async def _accept(self, listener: socket.socket) -> None:
        try:
            sock, _ = await self._loop.sock_accept(listener)
        except ConnectionError:
            return  # it has left already
        except OSError as error:
            event(_log, logging.ERROR, "accept_failed", reason=error.strerror)
            await asyncio.sleep(EMFILE_SECONDS)
            return
        try:
            sock.settimeout(0)
            if len(self._arriving) >= self._frontend.arriving_max:
                sock.close()
                return
            task = self._loop.create_task(self._arrive(sock))
        except BaseException:
            sock.close()
            raise
        self._arriving.add(task)
        task.add_done_callback(partial(self._arrived, sock))

    def _arrived(self, sock: socket.socket, task: asyncio.Task[None]) -> None:
        self._arriving.discard(task)
        if task.cancelled():  # perhaps before it had begun
            sock.close()

    async def _arrive(self, sock: socket.socket) -> None:
        """Reads one header; whatever happens, the socket is given on or closed."""
        patience = self._frontend.rules.head_timeout
        try:
            async with asyncio.timeout(patience):
                peer = await self._read(sock)
        except (NotAnnouncedError, TimeoutError):
            await self._serve(sock, DownstreamConnection(self._frontend, fault=faults.NOT_ANNOUNCED), None)
        except BaseException as error:
            sock.close()
            if not isinstance(error, OSError | EOFError):
                raise
        else:
            await self._serve(sock, DownstreamConnection(self._frontend, peer), self._context)

    async def _read(self, sock: socket.socket) -> str | None:
        """Raises NotAnnouncedError, EOFError and OSError."""
        header = b""
        while count := missing(header):
            data = await self._loop.sock_recv(sock, count)
            if not data:
                raise EOFError
            header += data
        return announced(header)

    async def _serve(
        self, sock: socket.socket, connection: DownstreamConnection, context: ssl.SSLContext | None
    ) -> None:
        patience = self._frontend.rules.head_timeout if context is not None else None
        with contextlib.suppress(OSError):  # a handshake that fails, a client that has left
            await self._loop.connect_accepted_socket(
                lambda: connection, sock, ssl=context, ssl_handshake_timeout=patience
            )
