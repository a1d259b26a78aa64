"""What no loop asks of a socket: whether input lies there unread, and whether the other side is still there.

A transport without a socket, as tests have it, knows of nothing. Knows nothing of HTTP.
"""

from __future__ import annotations

import select
import socket
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    import asyncio

# A peer that vanished without a FIN or RST is dead after 60 + 4 x 15 s: two minutes (the kernel: two hours).
KEEPALIVE: Final = (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 60),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 15),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4),
)
UNACKNOWLEDGED_SECONDS: Final = 120.0  # bytes may wait for it so long (the kernel: about 15 minutes)


class Adjustable(Protocol):
    def setsockopt(self, level: int, name: int, value: int, /) -> None: ...


def watch_peer(sock: Adjustable, patience: float) -> None:
    """Has the kernel end a connection whose other side has vanished; sockets that listen hand it down.

    `patience` is how long, in seconds, the other side may take nothing for a reason of its own.
    """
    for level, name, value in KEEPALIVE:
        sock.setsockopt(level, name, value)
    milliseconds = int(max(UNACKNOWLEDGED_SECONDS, patience) * 1000)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, milliseconds)


def watch_server(transport: asyncio.Transport, patience: float) -> None:
    """The same for a connection of our own, if it is one over TCP."""
    sock = transport.get_extra_info("socket")
    if sock is not None and sock.fileno() >= 0 and sock.family != socket.AF_UNIX:
        watch_peer(sock, patience)


def has_input(transport: asyncio.Transport) -> bool:
    """Bytes, or an end, have come that the loop has not read yet."""
    sock = transport.get_extra_info("socket")
    fd = sock.fileno() if sock is not None else -1
    if fd < 0 or transport.is_closing():
        return False
    look = select.poll()
    look.register(fd, select.POLLIN)
    return bool(look.poll(0))
