"""Connects to a name: at whichever of its addresses answers first (RFC 8305, "Happy Eyeballs").

One family of addresses may be dead without a word. Knows nothing of what is said there.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from aiohappyeyeballs import start_connection

RACE_SECONDS: Final = 0.25  # RFC 8305 section 8: Connection Attempt Delay
FAMILY_MAX: Final = 16  # addresses of one family that are tried: an answer may have thousands


async def reach(host: str, port: int) -> socket.socket:
    """A socket that is connected. Raises OSError."""
    infos = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    first, count = [], dict.fromkeys((socket.AF_INET6, socket.AF_INET), 0)
    for info in infos:  # in the system's order of preference (RFC 6724)
        family = socket.AddressFamily(info[0])
        if count.get(family, FAMILY_MAX) < FAMILY_MAX:
            count[family] += 1
            first.append(info)
    return await start_connection(first, happy_eyeballs_delay=RACE_SECONDS, interleave=1)
