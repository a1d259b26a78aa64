"""Where tests' connections run: real sockets, or the memory of this process (tests/support/memory.py).

The loop of a test says which: a memory loop has a network of its own. What tests and their origins write and read
by is a Channel, one end of a connection, whose other end may be Weir's.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from time import monotonic
from typing import TYPE_CHECKING, Protocol

from proxy.net.dial import open_connection

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from proxy.net.dial import Dial

RECEIVE_BYTES = 256 * 1024  # at once
SHUTDOWN_SECONDS = 1.0  # for the other side's word that TLS ends


async def status_by_unix(path: str, request: bytes) -> int:
    """Of the answer on a Unix socket."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(request)
    line = await reader.readline()
    writer.close()
    return int(line.split()[1])


class Channel(Protocol):
    """One end of a connection."""

    async def send(self, data: bytes) -> None:
        """Returns when all of it is on its way. Raises ConnectionError."""

    async def receive(self, size: int = RECEIVE_BYTES) -> bytes:
        """Some bytes, at most so many; none at a clean end. Raises ConnectionError."""

    def finish_sending(self) -> None:
        """The other side sees the end; receiving goes on. Raises OSError."""

    def close(self) -> None: ...

    def abort(self) -> None:
        """Ends the connection by a reset."""


class Listener(Protocol):
    port: int

    async def close(self) -> None:
        """Whoever comes from now on is refused."""


class Network(Protocol):
    dial: Dial
    clock: Callable[[], float]  # seconds

    async def connect(self, port: int, host: str, receive_bytes: int) -> Channel:
        """`receive_bytes` makes the receive buffer small. Raises OSError."""

    async def listen(self, port: int, host: str, accepted: Callable[[Channel], None]) -> Listener: ...

    async def serve(self, new: Callable[[], asyncio.Protocol], send_bytes: int = 0) -> Listener:
        """A protocol for each connection; `send_bytes` makes their send buffers small."""


def network() -> Network:
    """The one of the running loop."""
    found: Network = getattr(asyncio.get_running_loop(), "network", SOCKETS)
    return found


class SocketChannel:
    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self._loop.sock_sendall(self._socket, data)

    async def receive(self, size: int = RECEIVE_BYTES) -> bytes:
        return await self._loop.sock_recv(self._socket, size)

    def finish_sending(self) -> None:
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._socket.close()

    def abort(self) -> None:
        if self._socket.fileno() >= 0:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()


class SecureChannel:
    """Over TLS, which knows no half of an end."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def send(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def receive(self, size: int = RECEIVE_BYTES) -> bytes:
        return await self._reader.read(size)

    def finish_sending(self) -> None:
        """And receiving ends with it."""
        self.close()

    def close(self) -> None:
        """As TLS tells it."""
        self._writer.close()

    def abort(self) -> None:
        """Without a word of TLS; by a reset if anything lies unread."""
        self._writer.transport.abort()


class SecureListener:
    def __init__(self, server: asyncio.Server) -> None:
        self.port: int = server.sockets[0].getsockname()[1]
        self._server = server

    async def close(self) -> None:
        self._server.close()


async def listen_securely(
    port: int, host: str, context: ssl.SSLContext, accepted: Callable[[Channel], None]
) -> Listener:
    """By TLS, on real sockets. Whoever fails its handshake is not told of."""
    server = await asyncio.start_server(
        lambda reader, writer: accepted(SecureChannel(reader, writer)),
        host,
        port,
        ssl=context,
        ssl_shutdown_timeout=SHUTDOWN_SECONDS,
    )
    return SecureListener(server)


async def connect_securely(port: int, host: str, context: ssl.SSLContext, name: str) -> Channel:
    """The same as a client. Raises OSError."""
    reader, writer = await asyncio.open_connection(
        host, port, ssl=context, server_hostname=name, ssl_shutdown_timeout=SHUTDOWN_SECONDS
    )
    return SecureChannel(reader, writer)


class SocketListener:
    def __init__(self, port: int, host: str, accepted: Callable[[Channel], None]) -> None:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((host, port))
        sock.listen(256)
        self.port: int = sock.getsockname()[1]
        self._socket = sock
        self._accepting = asyncio.create_task(self._accept(accepted))

    async def close(self) -> None:
        """By an error in the task that accepts: cancelled, it would lose a connection that has just come."""
        if self._socket.fileno() >= 0:
            self._socket.shutdown(socket.SHUT_RDWR)
        await asyncio.gather(self._accepting, return_exceptions=True)
        self._socket.close()

    async def _accept(self, accepted: Callable[[Channel], None]) -> None:
        loop = asyncio.get_running_loop()
        while True:
            sock, _ = await loop.sock_accept(self._socket)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted(SocketChannel(sock))


class ServerListener:
    def __init__(self, server: asyncio.Server) -> None:
        self.port: int = server.sockets[0].getsockname()[1]
        self._server = server

    async def close(self) -> None:
        self._server.close()


class Sockets:
    clock = staticmethod(monotonic)
    dial = staticmethod(open_connection)

    async def connect(self, port: int, host: str, receive_bytes: int) -> Channel:
        sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
        sock.setblocking(False)
        try:
            if receive_bytes:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_bytes)
            await asyncio.get_running_loop().sock_connect(sock, (host, port))
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        return SocketChannel(sock)

    async def listen(self, port: int, host: str, accepted: Callable[[Channel], None]) -> Listener:
        return SocketListener(port, host, accepted)

    async def serve(self, new: Callable[[], asyncio.Protocol], send_bytes: int = 0) -> Listener:
        sock = socket.create_server(("127.0.0.1", 0), backlog=256)
        if send_bytes:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_bytes)
        return ServerListener(await asyncio.get_running_loop().create_server(new, sock=sock))


SOCKETS = Sockets()
