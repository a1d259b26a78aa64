"""The addresses of servers' names, looked up at intervals by the system's resolver.

It tells no lifetimes, and it or the cluster's cache keeps to them: the interval is how late a change may be
seen. It has timeouts of its own; a lookup holds one of the loop's few threads, so that each name has one at
a time. A lookup that fails changes nothing. Knows nothing of what the addresses are for.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from typing import TYPE_CHECKING, Final

from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.addresses import UpstreamUrl

ADDRESSES_MAX: Final = 64  # of one name: a broken answer must not open servers without bound

_log = logging.getLogger("weir.upstream")


async def keep_resolving(url: UpstreamUrl, interval: float, tell: Callable[[list[str]], None]) -> None:
    """Tells the addresses of the URL's name whenever they change; `interval` in seconds."""
    known: list[str] = []
    is_failing = False
    while True:
        try:
            found = await addresses_of(url.host, url.port)
        except (OSError, UnicodeError) as error:  # of a name that can be none
            if not is_failing:
                event(_log, logging.WARNING, "resolve_failed", server=url.url, reason=str(error))
            is_failing = True
        else:
            is_failing = False
            if found != known:
                known = found
                tell(found)
        await asyncio.sleep(interval)


async def addresses_of(host: str, port: int) -> list[str]:
    """All addresses of a name, sorted, so that a resolver's rotation is no change. Raises OSError."""
    loop = asyncio.get_running_loop()
    infos = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({_text(info[0], info[4]) for info in infos})[:ADDRESSES_MAX]


def _text(family: int, address: tuple[object, ...]) -> str:
    """Its text with the zone, which a link-local IPv6 address is nothing without (RFC 4007 section 11)."""
    host = str(address[0])
    if family == socket.AF_INET6 and len(address) == 4 and address[3] and "%" not in host:
        return f"{host}%{address[3]}"
    return host
