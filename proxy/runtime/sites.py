"""Sockets that listen become sites of an aiohttp runner: listeners with their TLS."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import web

from proxy.net.announced import AnnouncedSite
from proxy.net.credentials import TlsError
from proxy.runtime.listener_tls import ListenerTls, listen_setting
from proxy.runtime.sockets import BACKLOG, StartError

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from proxy.config.sections.front import Listen, ListenTls
    from proxy.runtime.listener_tls import Handshakes
    from proxy.runtime.sockets import ListenSockets

    Protocol = Callable[[], asyncio.Protocol]


class ListenerSite(web.SockSite):
    """A socket served by the protocol of its listener; TLS handshakes have a time to end."""

    def __init__(
        self,
        runner: web.BaseRunner,
        sock: socket.socket,
        protocol: Protocol,
        tls: ListenerTls | None,
        handshake_timeout: float,
    ) -> None:
        super().__init__(runner, sock, ssl_context=tls.front if tls is not None else None, backlog=BACKLOG)
        self._protocol = protocol
        self._handshake_timeout = handshake_timeout if tls is not None else None

    async def start(self) -> None:
        await web.BaseSite.start(self)
        self._server = await asyncio.get_running_loop().create_server(
            self._protocol,
            sock=self._sock,
            ssl=self._ssl_context,
            backlog=self._backlog,
            ssl_handshake_timeout=self._handshake_timeout,
        )


def listener_tls(listens: Sequence[Listen], handshakes: Handshakes) -> list[ListenerTls | None]:
    """The TLS of each listener. Raises StartError for files that cannot be used."""
    return [
        _tls(listen.tls, listen_setting(listens, number), handshakes) for number, listen in enumerate(listens)
    ]


def _tls(tls: ListenTls | None, setting: str, handshakes: Handshakes) -> ListenerTls | None:
    try:
        return ListenerTls(tls, setting, handshakes) if tls is not None else None
    except TlsError as error:
        raise StartError(f"{setting}.{error}") from None


async def serve_listeners(
    runner: web.BaseRunner,
    listens: Sequence[tuple[Listen, Protocol]],
    opened: ListenSockets,
    listeners: Sequence[ListenerTls | None],
    handshake_timeout: float,
) -> None:
    for (listen, protocol), sockets, tls in zip(listens, opened, listeners, strict=True):
        for sock in sockets:
            if listen.proxy_protocol:
                context = tls.front if tls is not None else None
                await AnnouncedSite(runner, sock, ssl_context=context, backlog=BACKLOG).start()
            else:
                await ListenerSite(runner, sock, protocol, tls, handshake_timeout).start()


async def shut(runner: web.BaseRunner | None) -> None:
    """No new connection from now on; waits for none of those there are."""
    for site in list(runner.sites) if runner else ():
        await site.stop()


def addresses(runner: web.BaseRunner | None) -> list[str]:
    return [address_text(address) for address in runner.addresses] if runner else []


def address_text(address: object) -> str:
    if isinstance(address, tuple):
        host, port = address[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"unix:{address}"
