"""What no loop asks of a socket: whether input lies there unread, and whether the other side is still there.

A transport without a socket, as tests have it, knows of nothing. Knows nothing of HTTP.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import sys
import termios
from typing import TYPE_CHECKING, Final, Protocol

from proxy.background import in_turns

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


def peer_address(transport: asyncio.BaseTransport) -> str | None:
    """The other end's address: empty on a Unix socket, which has none; None of one that was gone before."""
    peername = transport.get_extra_info("peername")
    if isinstance(peername, tuple):
        return str(peername[0])
    sock = transport.get_extra_info("socket")
    return "" if sock is not None and sock.family == socket.AF_UNIX else None


def has_input(transport: asyncio.Transport) -> bool:
    """Bytes, or an end, have come that the loop has not read yet."""
    fd = _fd(transport)
    if fd < 0:
        return False
    look = select.poll()
    look.register(fd, select.POLLIN)
    return bool(look.poll(0))


class Deaf(Protocol):
    """A connection that is not read now, and so would not hear of its end."""

    transport: asyncio.Transport

    def lost(self) -> None:
        """It was reset."""

    def ended(self, unread: int) -> None:
        """The other side sends no more than the bytes that lie unread."""


class Vigil:
    """Looks after connections that are not read: one call for all of them."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._deaf: dict[int, Deaf] = {}

    def add(self, connection: Deaf, *, is_ended: bool) -> int:
        """`is_ended`: that it sends no more is known. The descriptor, to let go of it again."""
        fd = _fd(connection.transport)
        if fd >= 0:
            self._deaf[fd] = connection
            self._poll.register(fd, 0 if is_ended else select.POLLRDHUP)
        return fd

    def discard(self, connection: Deaf, fd: int) -> None:
        if self._deaf.get(fd) is connection:
            del self._deaf[fd]
            self._poll.unregister(fd)

    def look(self) -> None:
        """Tells those whose other side has gone, or ends; many of them in turns."""
        found = self._poll.poll(0) if self._deaf else ()
        in_turns([(fd, events, self._deaf[fd]) for fd, events in found], self._tell)

    def _tell(self, seen: tuple[int, int, Deaf]) -> None:
        fd, events, connection = seen
        if self._deaf.get(fd) is not connection:  # it is read again, or closed
            return
        if events & select.POLLNVAL:  # closed, which it will be told
            self.discard(connection, fd)
        elif events & (select.POLLERR | select.POLLHUP):
            self.discard(connection, fd)
            connection.lost()
        else:
            self._poll.modify(fd, 0)
            connection.ended(_bytes_unread(fd))


def glance(transport: asyncio.Transport, most: int) -> bytes | None:
    """What lies unread, and stays there; None if that is more than `most` bytes, or cannot be looked at."""
    fd = _fd(transport)
    count = _bytes_unread(fd) if fd >= 0 else 0
    if not count:
        return b""
    if count > most:
        return None
    try:
        with socket.socket(fileno=os.dup(fd)) as sock:
            return sock.recv(count, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except OSError:  # a reset, which is told otherwise
        return None


def _fd(transport: asyncio.Transport) -> int:
    sock = transport.get_extra_info("socket")
    return sock.fileno() if sock is not None and not transport.is_closing() else -1


def _bytes_unread(fd: int) -> int:
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)
