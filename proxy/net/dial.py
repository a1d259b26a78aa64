"""Opens connections to servers. What opens them is handed in: a bench may bring servers of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.reach import reach

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.net.server_address import ServerAddress

    Dial = Callable[[ServerAddress, asyncio.Protocol], Awaitable[None]]


async def open_connection(address: ServerAddress, protocol: asyncio.Protocol) -> None:
    """Opens one; on return `protocol` has been told. Raises OSError."""
    loop = asyncio.get_running_loop()
    url = address.url
    if url.unix_path is not None:
        await loop.create_unix_connection(lambda: protocol, url.unix_path)
        return
    if address.ip is None and url.is_name:  # before the first lookup of a pool has ended
        sock = await reach(url.host, url.port)
        await loop.create_connection(
            lambda: protocol, sock=sock, ssl=address.ssl, server_hostname=address.tls_name
        )
        return
    await loop.create_connection(
        lambda: protocol,
        address.ip or url.host,
        url.port,
        ssl=address.ssl,
        server_hostname=address.tls_name,
    )
