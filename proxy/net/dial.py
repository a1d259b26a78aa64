"""Opens connections to servers. What opens them is handed in: a bench may bring servers of its own."""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING

from aiohappyeyeballs import start_connection

from proxy.net.search import RACE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.net.server_address import ServerAddress
    from proxy.net.upstream import UpstreamConnection

    Dial = Callable[[ServerAddress, UpstreamConnection], Awaitable[None]]


async def open_connection(address: ServerAddress, upstream: UpstreamConnection) -> None:
    """On return it is open, and `upstream` has been told. Raises OSError."""
    loop = asyncio.get_running_loop()
    url = address.url
    if url.unix_path is not None:
        await loop.create_unix_connection(lambda: upstream, url.unix_path)
        return
    if address.ip is None and url.is_name:
        sock = await _reach_by_name(url.host, url.port)
        await loop.create_connection(
            lambda: upstream, sock=sock, ssl=address.ssl, server_hostname=address.tls_name
        )
        return
    await loop.create_connection(
        lambda: upstream,
        address.ip or url.host,
        url.port,
        ssl=address.ssl,
        server_hostname=address.tls_name,
    )


async def _reach_by_name(host: str, port: int) -> socket.socket:
    """Before the first lookup of a pool has ended: at whichever of its addresses answers first."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await start_connection(infos, happy_eyeballs_delay=RACE_SECONDS, interleave=1)
