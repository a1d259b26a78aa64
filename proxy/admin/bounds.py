"""Connections of the admin plane within bounds: whoever connects is a stranger until its token was read.

Rules: what is silent ends, be it before a head, within one, or under an answer that it does not take; of too
many connections the oldest gives way to the newest, strangers before those that have shown the token. What
is no HTTP gets a small answer and leaves no trace in the log, since anybody can send it.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from http import HTTPStatus
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.admin.answers import DRESS, problem
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from aiohttp.web_request import BaseRequest

CONNECTIONS_MAX = 64  # dashboards and scrapers are a handful
NEWEST = 8  # of them, that never give way
HEADERS_MAX = 40  # of 8 KiB each: aiohttp's bound
IDLE_SECONDS = 10.0  # for a head to arrive whole, and between two requests
UNTAKEN_SECONDS = 30.0  # for an answer that the peer does not read
LINGER_SECONDS = 1.0  # for what is left of a request that was refused

_log = logging.getLogger("weir.admin")


class AdminConnections:
    """Makes the protocol of each connection."""

    def __init__(self, server: web.Server) -> None:
        self._server = server

    def __call__(self) -> asyncio.Protocol:
        crowd = self._server.connections
        old = crowd[:-NEWEST]  # who has just come is heard first
        first = sorted(old, key=_is_known) if len(crowd) > CONNECTIONS_MAX else []
        for oldest in first[: len(crowd) - CONNECTIONS_MAX]:
            if oldest.transport is not None:
                oldest.transport.abort()
        return AdminConnection(
            self._server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # as AppRunner takes it
            keepalive_timeout=IDLE_SECONDS,
            lingering_time=LINGER_SECONDS,
            max_headers=HEADERS_MAX,
            auto_decompress=False,  # nothing that is asked needs it, and a bomb of 64 KiB takes 64 MiB
        )


class AdminConnection(web.RequestHandler):
    __slots__ = ("is_known",)  # it has shown the token

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.is_known = False
        super().connection_made(transport)
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNTAKEN_SECONDS * 1000))

    def handle_error(
        self,
        request: BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - aiohttp's words, which quote the request
    ) -> web.StreamResponse:
        if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            event(_log, logging.ERROR, "admin_failed", error=exc, path="")
        if request.writer.output_size > 0:
            raise ConnectionError("an answer is under way already")
        response = problem(HTTPStatus(status), {"Server": "weir"} | DRESS)  # aiohttp's own names its version
        response.force_close()
        return response


def _is_known(connection: web.RequestHandler) -> bool:
    return isinstance(connection, AdminConnection) and connection.is_known
