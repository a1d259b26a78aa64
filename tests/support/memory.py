"""A loop without sockets and without waiting: connections in memory, and a clock that is moved.

When nothing is left to do in a moment, the clock stands at the next one for which something is due: an hour of a
test costs what happens in it. Connections behave as those of the kernel do where Weir could notice: what is on its
way is bounded, so writers feel readers; an end comes behind the data; who closes with data unread, or is written to
after its close, resets the other side. What the memory does not have is delay, loss, TLS and names.
"""

from __future__ import annotations

import asyncio
import itertools
import selectors
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast

from tests.support.network import RECEIVE_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.net.server_address import ServerAddress
    from proxy.net.upstream import UpstreamConnection
    from tests.support.network import Channel, Listener

BUFFER_BYTES = 256 * 1024  # of each kernel, in one direction
HIGH_WATER, LOW_WATER = 64 * 1024, 16 * 1024  # of what a transport holds (asyncio's)


def reset() -> ConnectionResetError:
    """A new one each time: one that is raised keeps all that the raising frames know."""
    return ConnectionResetError(104, "Connection reset by peer")


class MemoryLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)
        self.network = MemoryNetwork(self)

    def time(self) -> float:
        return self.clock.now

    async def getaddrinfo(self, host: Any, port: Any, **_: Any) -> Any:
        """Addresses as they are written, and `localhost`: there are no other names."""
        try:
            address = ip_address("127.0.0.1" if host == "localhost" else host)
        except ValueError:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known") from None
        family = socket.AF_INET if address.version == 4 else socket.AF_INET6
        return [(family, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (str(address), port))]

    def _make_self_pipe(self) -> None:
        """Nobody wakes this loop: there is no other thread."""

    def _close_self_pipe(self) -> None: ...

    def _write_to_self(self) -> None:
        raise RuntimeError("a thread reports to a loop whose clock did not wait for it: mark the test `real`")


class Clock(selectors.BaseSelector):
    """In the place of a selector: asked to wait, it moves on."""

    def __init__(self) -> None:
        self.now = 1000.0  # seconds

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is None:
            raise AssertionError("nothing is left to happen: the test waits for ever")
        self.now += max(0.0, timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        raise RuntimeError("a loop in memory has no sockets: mark the test `real`")

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        raise KeyError(fileobj)

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        return {}


class Way:
    """One direction of a connection."""

    def __init__(self, loop: asyncio.AbstractEventLoop, receive_bytes: int = BUFFER_BYTES) -> None:
        self.data = bytearray()  # on its way
        self.is_ended = False
        self.is_broken = False  # by a reset
        self.is_abandoned = False  # its reader has gone
        self.back: Way  # the other direction
        self._loop = loop
        self.send_bytes = BUFFER_BYTES
        self._receive_bytes = receive_bytes
        self._readers: list[Callable[[], None]] = []
        self._writers: list[Callable[[], None]] = []

    def put(self, data: bytes) -> int:
        """How many bytes there was room for."""
        if self.is_abandoned:
            self.back.break_off()  # nobody is there: the answer is a reset
            return len(data)
        size = min(len(data), max(0, self.send_bytes + self._receive_bytes - len(self.data)))
        self.data += data[:size]
        self._wake(self._readers)
        return size

    def take(self, size: int = RECEIVE_BYTES) -> bytes:
        data = bytes(self.data[:size])
        del self.data[:size]
        self._wake(self._writers)
        return data

    def end(self) -> None:
        self.is_ended = True
        self._wake(self._readers)

    def break_off(self) -> None:
        self.is_broken = True
        self._wake(self._readers)
        self._wake(self.back._writers)  # who writes the other way learns of it too

    def abandon(self) -> None:
        """The reader closes: with data unread, or when more comes, the other side is reset."""
        self.is_abandoned = True
        if self.data:
            self.back.break_off()
        self.data.clear()
        self._wake(self._writers)

    def when_readable(self, call: Callable[[], None]) -> None:
        self._readers.append(call)

    def when_writable(self, call: Callable[[], None]) -> None:
        self._writers.append(call)

    def _wake(self, calls: list[Callable[[], None]]) -> None:
        for call in calls:
            self._loop.call_soon(call)
        calls.clear()


class MemoryChannel:
    """A test's end."""

    def __init__(self, inbound: Way, outbound: Way) -> None:
        self._in, self._out = inbound, outbound
        self._is_closed = False

    async def send(self, data: bytes) -> None:
        while data:
            if self._in.is_broken or self._is_closed:
                raise reset()
            sent = self._out.put(data)
            data = data[sent:]
            if not sent:
                await self._until(self._out.when_writable)

    async def receive(self, size: int = RECEIVE_BYTES) -> bytes:
        way = self._in
        while not (way.data or way.is_ended or way.is_broken):
            await self._until(way.when_readable)
        if not way.data and way.is_broken:
            raise reset()
        return way.take(size)

    def finish_sending(self) -> None:
        if self._is_closed or self._in.is_broken:
            raise OSError(107, "Transport endpoint is not connected")
        self._out.end()

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._out.end()
            self._in.abandon()

    def abort(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self._out.break_off()
            self._in.abandon()

    async def _until(self, when: Callable[[Callable[[], None]], None]) -> None:
        happened = asyncio.Event()
        when(happened.set)
        await happened.wait()


class MemoryTransport(asyncio.Transport):
    """Weir's end: what a loop's transport does for its protocol."""

    def __init__(self, protocol: asyncio.Protocol, inbound: Way, outbound: Way, port: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._protocol = protocol
        self._in, self._out = inbound, outbound
        self._buffer = bytearray()
        self._has_reset_at_close = False
        self._is_closing = self._is_lost = self._is_read_paused = self._is_write_paused = False
        self._is_eof_due = self._is_eof_seen = False
        super().__init__({"peername": ("127.0.0.1", port), "socket": self})
        protocol.connection_made(self)
        self._loop.call_soon(self._read)
        outbound.when_writable(self._written)

    # --- asyncio's transport ---

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._is_eof_due:
            raise RuntimeError("Cannot call write() after write_eof()")
        if not self._is_lost:
            self._buffer += data
            self._flush()
            if len(self._buffer) > HIGH_WATER and not self._is_write_paused:
                self._is_write_paused = True
                self._protocol.pause_writing()

    def write_eof(self) -> None:
        self._is_eof_due = True
        self._flush()

    def get_write_buffer_size(self) -> int:
        return len(self._buffer)

    def pause_reading(self) -> None:
        self._is_read_paused = True

    def resume_reading(self) -> None:
        """Who has seen the end sees it once more, as loops have it."""
        self._is_read_paused = self._is_eof_seen = False
        self._loop.call_soon(self._read)

    def is_reading(self) -> bool:
        return not self._is_read_paused and not self._is_closing

    def is_closing(self) -> bool:
        return self._is_closing

    def close(self) -> None:
        if not self._is_closing:
            self._is_closing = True
            if not self._buffer:
                self._loop.call_soon(self._lose, None)

    def abort(self) -> None:
        self._force(None)

    def perish(self) -> None:
        """Its process was killed: the kernel ends the connection, and the protocol is not told."""
        self._is_lost = self._is_closing = True
        self._buffer.clear()
        self._out.end()
        self._in.abandon()

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = cast("asyncio.Protocol", protocol)

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    # --- the socket's part ---

    def setsockopt(self, level: int, name: int, value: bytes) -> None:
        """SO_LINGER is all that Weir sets."""
        if self._is_closing:
            raise OSError(9, "Bad file descriptor")  # TLS on uvloop has closed it when it tells of the end
        self._has_reset_at_close = True

    def fileno(self) -> int:
        """No kernel knows of it."""
        return -1

    # --- what happens on the connection ---

    def _read(self) -> None:
        """One piece a turn, as a loop reads."""
        way = self._in
        if self._is_lost or self._is_closing or self._is_read_paused or self._is_eof_seen:
            return
        if way.data:
            data = way.take()
            self._loop.call_soon(self._read)
            self._protocol.data_received(data)
        elif way.is_broken:
            self._force(reset())
        elif way.is_ended:
            self._is_eof_seen = True
            way.when_readable(self._broken)
            if not self._protocol.eof_received():
                self.close()
        else:
            way.when_readable(self._read)

    def _broken(self) -> None:
        if self._in.is_broken:
            self._force(reset())

    def _written(self) -> None:
        """The other side has taken something, or is gone."""
        if self._is_lost:
            return
        self._out.when_writable(self._written)
        if self._in.is_broken and not self._in.data:
            self._force(reset())
            return
        self._flush()
        if self._is_write_paused and len(self._buffer) <= LOW_WATER:
            self._is_write_paused = False
            self._protocol.resume_writing()

    def _flush(self) -> None:
        del self._buffer[: self._out.put(bytes(self._buffer)) if self._buffer else 0]
        if not self._buffer:
            if self._is_eof_due:
                self._out.end()
            if self._is_closing:
                self._loop.call_soon(self._lose, None)

    def _force(self, error: Exception | None) -> None:
        self._is_closing = True
        self._buffer.clear()
        self._loop.call_soon(self._lose, error)

    def _lose(self, error: Exception | None) -> None:
        if self._is_lost:
            return
        self._is_lost = True
        if self._has_reset_at_close:
            self._out.break_off()
        else:
            self._out.end()
        self._in.abandon()
        self._protocol.connection_lost(error)


class MemoryNetwork:
    """Who listens, by address and port."""

    def __init__(self, loop: MemoryLoop) -> None:
        self.clock = loop.time
        self._loop = loop
        self._ports = itertools.count(50_000)  # of connections, and of listeners that do not say
        self._listening: dict[tuple[str, int], Callable[[Way, Way], None]] = {}

    async def connect(self, port: int, host: str, receive_bytes: int) -> Channel:
        return MemoryChannel(*self._reach(host, port, receive_bytes))

    async def dial(self, address: ServerAddress, upstream: UpstreamConnection) -> None:
        """For Weir's connections to servers."""
        url = address.url
        host = address.ip or (await self._loop.getaddrinfo(url.host, url.port))[0][4][0]
        ways = self._reach(str(host), url.port)
        await asyncio.sleep(0)
        MemoryTransport(upstream, *ways, url.port)

    async def listen(self, port: int, host: str, accepted: Callable[[Channel], None]) -> Listener:
        return MemoryListener(self, port, host, lambda *ways: accepted(MemoryChannel(*ways)))

    async def serve(self, new: Callable[[], asyncio.Protocol], send_bytes: int = 0) -> Listener:
        def accepted(inbound: Way, outbound: Way) -> None:
            outbound.send_bytes = send_bytes or BUFFER_BYTES
            MemoryTransport(new(), inbound, outbound, next(self._ports))

        return MemoryListener(self, 0, "127.0.0.1", accepted)

    def occupy(self, host: str, port: int, accepted: Callable[[Way, Way], None]) -> int:
        port = port or next(self._ports)
        if (host, port) in self._listening:
            raise OSError(98, "Address already in use")
        self._listening[host, port] = accepted
        return port

    def leave(self, host: str, port: int) -> None:
        self._listening.pop((host, port), None)

    def _reach(self, host: str, port: int, receive_bytes: int = 0) -> tuple[Way, Way]:
        """What comes and what goes, for who connects. Raises ConnectionRefusedError."""
        if (host, port) not in self._listening:
            raise ConnectionRefusedError(111, "Connection refused")
        to, back = Way(self._loop), Way(self._loop, receive_bytes or BUFFER_BYTES)
        to.back, back.back = back, to
        self._loop.call_soon(self._listening[host, port], to, back)
        return back, to


class MemoryListener:
    def __init__(
        self, network: MemoryNetwork, port: int, host: str, accepted: Callable[[Way, Way], None]
    ) -> None:
        self._network = network
        self._host = host
        self.port = network.occupy(host, port, accepted)

    async def close(self) -> None:
        self._network.leave(self._host, self.port)
