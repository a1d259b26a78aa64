"""What no loop asks of a socket: whether input lies there unread, and whether the other side is still there.

A transport without a socket, as tests have it, knows of nothing. Knows nothing of HTTP.
"""

from __future__ import annotations

import fcntl
import os
import select
import socket
import ssl
import sys
import termios
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
LAST_BYTES: Final = 1024 * 1024  # read of a connection that broke; an early answer is a head and some text
READ_BYTES: Final = 64 * 1024
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
        for fd, events in self._poll.poll(0) if self._deaf else ():
            connection = self._deaf[fd]
            if events & select.POLLNVAL:  # closed, which it will be told
                self.discard(connection, fd)
            elif events & (select.POLLERR | select.POLLHUP):
                self.discard(connection, fd)
                connection.lost()
            else:
                self._poll.modify(fd, 0)
                connection.ended(_bytes_unread(fd))


def _fd(transport: asyncio.Transport) -> int:
    sock = transport.get_extra_info("socket")
    return sock.fileno() if sock is not None and not transport.is_closing() else -1


def _bytes_unread(fd: int) -> int:
    return int.from_bytes(fcntl.ioctl(fd, termios.FIONREAD, bytes(4)), sys.byteorder)


class Secured(ssl.SSLObject):
    """A connection's TLS, which can still be read when the loop has let go of it."""

    incoming: ssl.MemoryBIO


class LastWords:
    """What a server said before its connection broke under our write: an early answer, a tunnel's farewell.

    The loop closes at the first write that fails, with all that lies unread. The socket still gives it.
    """

    __slots__ = ("_fd", "_secured")

    def __init__(self, transport: asyncio.Transport) -> None:
        """Costs a descriptor over TLS, where the loop closes its own before it tells of the end."""
        sock = transport.get_extra_info("socket")
        secured = transport.get_extra_info("ssl_object")
        self._secured = secured if isinstance(secured, Secured) else None
        fd = sock.fileno() if sock is not None else -1
        self._fd = fd if self._secured is None else _duplicate(fd)

    def read(self, error: Exception) -> tuple[bytes, bool]:
        """Them, and whether they ended cleanly."""
        raw = _unread(self._fd) if self._fd >= 0 else b""
        if self._secured is not None:
            return _deciphered(self._secured, raw)
        # tcp(7): a write fails with EPIPE if an end had come before the reset, with ECONNRESET if none had.
        return raw, isinstance(error, BrokenPipeError)

    def drop(self) -> None:
        if self._secured is not None and self._fd >= 0:
            os.close(self._fd)
        self._fd = -1


def _duplicate(fd: int) -> int:
    try:
        return os.dup(fd)
    except OSError:  # closed already, or there are no descriptors: then its last words are lost
        return -1


def _unread(fd: int) -> bytes:
    pieces: list[bytes] = []
    left = LAST_BYTES
    try:
        while left > 0 and (data := os.read(fd, READ_BYTES)):
            pieces.append(data)
            left -= len(data)
    except OSError:  # nothing more lies there
        pass
    return b"".join(pieces)


def _deciphered(secured: Secured, raw: bytes) -> tuple[bytes, bool]:
    pieces: list[bytes] = []
    try:
        secured.incoming.write(raw)
        while data := secured.read(READ_BYTES):
            pieces.append(data)
    except ssl.SSLZeroReturnError:  # close_notify
        return b"".join(pieces), True
    except ssl.SSLError:
        pass
    return b"".join(pieces), False
