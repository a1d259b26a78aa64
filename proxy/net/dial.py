"""Opens connections to servers. What opens them is handed in: a bench may bring servers of its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

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
    await loop.create_connection(
        lambda: upstream,
        address.ip or url.host,
        url.port,
        ssl=address.ssl,
        server_hostname=address.tls_name,
    )
