"""A client's connection: cuts what comes into heads and bodies, tells its lane, one exchange at a time.

What a pipelining client sends ahead waits unread in `_buffer`; past READ_AHEAD_BYTES the socket is not read
any more, so memory for each connection is bounded by that and one read. A body is given on only while the
lane wants it. Knows nothing of limits, upstreams or what an answer means.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.faults import Fault
from proxy.http1.chunked import ChunkedDecoder
from proxy.http1.framing import CHUNKED
from proxy.http1.head import request_head, unfinished_fault
from proxy.net.connection import Connection, reset_at_close
from proxy.net.sweep import NEVER

if TYPE_CHECKING:
    from proxy.http1.head import RequestHead
    from proxy.net.frontend import Frontend
    from proxy.net.interfaces import Lane

READ_AHEAD_BYTES: Final = 64 * 1024  # unread input until the socket is paused (asyncio's streams: 64 KiB)
# Of a refused request's body, read and dropped to keep the connection (nginx: lingering).
DISCARD_BYTES = 64 * 1024
LAST_BYTES: Final = 2 * 1024  # a longer head is not kept for the next request to be compared with ...
LAST_HEADERS: Final = 32  # ... nor one of more fields: 300 bytes each, and the connection may rest
LINGER_BYTES = 8 * 1024 * 1024  # read and dropped at most once it has ended: LINGER_SECONDS of 32 Mbit/s
TURN: Final = 32  # heads and pieces of bodies until others have their turn: about 1 ms at 25 us each
CHUNKED_BYTES = 32 * 1024  # of a chunked body, a turn: 10 ms if its chunks are of one byte
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")

_HEADS: Final = 0
_BUSY: Final = 1
_DISCARDING: Final = 2
_TUNNEL: Final = 3
_LINGERING: Final = 4
_CLOSED: Final = 5


class DownstreamConnection(Connection):
    """One client's connection. `lane` is told of everything that happens on it."""

    __slots__ = (
        "_body_read",
        "_body_wanted",
        "_buffer",
        "_decoder",
        "_fault",
        "_frontend",
        "_is_advancing",
        "_is_head_begun",
        "_last",
        "_left",
        "_state",
        "lane",
        "peer",
        "scheme",
    )

    def __init__(self, frontend: Frontend, peer: str | None = None, fault: Fault | None = None) -> None:
        """`peer` is who the client is, if it is not the socket's; with a `fault` it is refused."""
        super().__init__(frontend.outbox, frontend.sweeper)
        self._frontend = frontend
        # connection
        self.lane: Lane = None  # type: ignore[assignment]  # set when connected
        self.scheme = b"http"
        self.peer = peer or ""
        self._fault = fault
        self._state = _HEADS
        self._buffer = b""
        self._is_advancing = False  # or will go on in the next tick
        self._last: RequestHead | None = None  # what the next head may repeat
        # request
        self._is_head_begun = False  # its deadline runs from its first byte, however slowly the rest comes
        self._body_wanted = False
        self._left = 0  # bytes of the body still to come
        self._decoder: ChunkedDecoder | None = None
        self._body_read = 0  # bytes of a chunked body so far

    # --- the connection's own events ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        frontend = self._frontend
        if not self.peer:
            peername = transport.get_extra_info("peername")
            self.peer = peername[0] if isinstance(peername, tuple) else ""  # a Unix socket has none
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = b"https"
        self.lane = frontend.new_lane(self)
        self._sweeper.add(self)
        self._wait()
        fault = None if frontend.entered(self) else faults.TOO_MANY_CONNECTIONS
        fault = self._fault or fault  # what spoke no PROXY protocol understands no answer either
        if fault is not None:
            self.lane.refuse_head(fault)

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state == _TUNNEL:
            self.lane.request_data(data)
        elif state == _LINGERING:
            self._left -= len(data)
            if self._left < 0:
                self.transport.abort()
        elif state != _CLOSED:
            self._buffer = self._buffer + data if self._buffer else data
            self._advance()

    def eof_received(self) -> bool:
        """A client that stops sending has left (docs/supported-http.md)."""
        self.lane.client_left()
        self.linger()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        self._state = _CLOSED
        self._buffer = b""
        self._frontend.left(self)
        self._sweeper.discard(self)
        self.lane.client_left()
        self.lane = None  # type: ignore[assignment]  # each holds the other; nothing happens here any more

    def pause_writing(self) -> None:
        self.is_write_paused = True
        self._takes_output()
        self.deadline = self._sweeper.now + self._frontend.limits.body_timeout
        self.lane.client_paused()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self._state == _LINGERING:
            return
        self._wait()
        self.lane.client_resumed()
        if self._state != _TUNNEL:
            self._advance()

    def expire(self) -> None:
        """The deadline has passed: what that means depends on what was waited for."""
        self.deadline = NEVER
        if self._state == _LINGERING:
            if not self._may_linger(self._frontend.limits.body_timeout):
                self.abort()
        elif self.is_write_paused:
            self._expire_writing()
        elif self._state == _BUSY:
            self.lane.fail(faults.BODY_TIMEOUT)
        elif self._state == _HEADS and self._buffer:
            self._refuse(faults.HEAD_TIMEOUT, self._buffer)
        else:
            self.close()

    def _expire_writing(self) -> None:
        if self._takes_output():
            self.deadline = self._sweeper.now + self._frontend.limits.body_timeout
            return
        self.lane.fail(faults.READ_TIMEOUT)
        self.abort()

    def _wait(self) -> None:
        """Sets the deadline for what the client must do next; while it does not read, that comes first."""
        if self.is_write_paused:
            return
        limits, state = self._frontend.limits, self._state
        patience = NEVER
        if state == _HEADS:
            patience = limits.head_timeout if self._is_head_begun else limits.idle_timeout
        elif state == _DISCARDING or (state == _BUSY and self._body_wanted):
            patience = limits.body_timeout
        self.deadline = self._sweeper.now + patience

    # --- cutting the stream ---

    def _advance(self) -> None:
        """Gives on what can be given on; never runs inside itself, however the lane answers."""
        if self._is_advancing:
            self._bound_read_ahead()
            return
        self._is_advancing = True
        try:
            taken = 0
            while taken < TURN:
                step = self._step()
                if not step:
                    self._is_advancing = False
                    break
                taken += step
            else:
                asyncio.get_running_loop().call_soon(self._take_turn)
        except Exception as error:  # noqa: BLE001 - the one bare except of this side: it ends the exchange
            self._is_advancing = False
            self.lane.crashed(error)
        if self._is_read_paused or len(self._buffer) > READ_AHEAD_BYTES:
            self._bound_read_ahead()

    def _take_turn(self) -> None:
        self._is_advancing = False
        self._advance()

    def _bound_read_ahead(self) -> None:
        if len(self._buffer) > READ_AHEAD_BYTES:
            self.pause_reading()
        else:
            self.resume_reading()

    def _step(self) -> int:
        """One head or one piece of a body: how much of a turn it took.

        Nothing is done, 0, when more bytes, or the lane's leave, are needed.
        """
        state = self._state
        if state == _HEADS:
            return bool(self._buffer) and not self.is_write_paused and self._head()
        if state == _BUSY:
            return self._body_wanted and self._body()
        return state == _DISCARDING and bool(self._buffer) and self._discard()

    def _head(self) -> bool:
        data = self._buffer
        limits = self._frontend.limits
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > limits.head_bytes or data.startswith(b"\r\n"):
            return self._unusual_head(data, end)
        self._buffer = data[end:]
        self._is_head_begun = False
        head = request_head(data[:end], limits.line_bytes, limits.headers_max, self._last)
        if isinstance(head, Fault):
            self._refuse(head, data)
            return False
        self.deadline = NEVER
        self._state = _BUSY
        length = head.section.body_length
        if length:
            self._left = length
            self._decoder = ChunkedDecoder() if length == CHUNKED else None
            self._body_read = 0
        self._last = head if end <= LAST_BYTES and len(head.section.headers) <= LAST_HEADERS else None
        self.lane.begin(head)
        return self._state != _BUSY or self._body_wanted

    def _unusual_head(self, data: bytes, end: int) -> bool:
        """A head that is not whole, too large, or behind empty lines, which are skipped (RFC 9112, 2.2)."""
        empty_lines = _EMPTY_LINES.match(data)
        if empty_lines is not None:
            self._buffer = data[empty_lines.end() :]
            return bool(self._buffer)
        limits = self._frontend.limits
        fault = unfinished_fault(data, end, limits.line_bytes, limits.head_bytes)
        if fault is not None:
            self._refuse(fault, data)
        elif not self._is_head_begun:
            self._is_head_begun = True
            self._wait()
        return False

    def _refuse(self, fault: Fault, data: bytes) -> None:
        """At the door. What looks like a HEAD is answered without a body, whatever is wrong with it."""
        self.lane.refuse_head(fault, has_body=not data.startswith(b"HEAD "))

    def _body(self) -> int:
        data = self._buffer
        if self._decoder is not None:
            return self._chunked_body(self._decoder, data)
        if not data:
            return False
        left = self._left
        if len(data) <= left:
            self._buffer = b""
        else:
            self._buffer = data[left:]
            data = data[:left]
        self._left = left - len(data)
        if self._left:
            self._wait()
            self.lane.request_data(data)
        else:
            self._body_wanted = False
            self._wait()
            self.lane.request_data(data)
            self.lane.request_end([])
        return True

    def _chunked_body(self, decoder: ChunkedDecoder, data: bytes) -> int:
        if not data:
            return False
        self._buffer = data[CHUNKED_BYTES:]
        payload = decoder.decode(data[:CHUNKED_BYTES])
        if decoder.is_malformed:
            self.lane.fail(faults.MALFORMED_CHUNK)
            return False
        self._body_read += len(payload)
        body_bytes = self._frontend.limits.body_bytes
        if body_bytes is not None and self._body_read > body_bytes:
            self.lane.fail(faults.BODY_TOO_LARGE)
            return False
        if payload:
            self.lane.request_data(payload)
        if decoder.is_done:
            self._buffer = decoder.rest + self._buffer
            self._decoder = None
            self._left = 0
            self._body_wanted = False
            self._wait()
            self.lane.request_end(decoder.trailers)
        else:
            self._wait()
        return TURN if len(data) > CHUNKED_BYTES else True

    def _discard(self) -> bool:
        data = self._buffer
        self._buffer = data[self._left :]
        self._left -= min(self._left, len(data))
        if self._left == 0:
            self._become_idle()
            return True
        return False

    # --- what the lane asks for ---

    @property
    def is_idle(self) -> bool:
        return self._state == _HEADS and not self._buffer

    @property
    def is_body_pending(self) -> bool:
        """Some of the request's body has not been read."""
        return self._left != 0

    @property
    def can_discard_body(self) -> bool:
        """What is left of the body is known to be small enough to be read and dropped."""
        return self._decoder is None and self._left <= DISCARD_BYTES

    def want_body(self) -> None:
        self._body_wanted = True
        self._wait()
        self._advance()

    def pause_body(self) -> None:
        self._body_wanted = False
        self._wait()  # the server is the slow one now

    def finish(self) -> None:
        """The exchange is over and the connection stays: on to the next request."""
        self._body_wanted = False
        if self._left:
            self._state = _DISCARDING
            self._wait()
        else:
            self._become_idle()
        if self._buffer and not self._is_advancing:
            self._advance()

    def linger(self) -> None:
        """The connection is over too: what was written goes out, input is read and dropped for a while."""
        if self._state in (_LINGERING, _CLOSED):
            return
        self._state = _LINGERING
        self._buffer = b""
        self._body_wanted = False
        self._left = LINGER_BYTES
        self._end_output(self._frontend.limits.body_timeout)

    def close(self) -> None:
        """Nothing is under way, so nothing can be lost but what was written just now."""
        self.linger()
        self.transport.close()

    def abort(self) -> None:
        self._state = _CLOSED
        self._buffer = b""
        self.transport.abort()

    def reset(self) -> None:
        """Ends an answer that would look whole if its connection just closed."""
        reset_at_close(self.transport)
        self.abort()

    def become_tunnel(self) -> None:
        self._state = _TUNNEL
        self._wait()
        self.resume_reading()
        if self._buffer:
            early, self._buffer = self._buffer, b""
            self.lane.request_data(early)

    # --- ---

    def _become_idle(self) -> None:
        self._state = _HEADS
        self._left = 0
        self._decoder = None
        if not self.is_write_paused:
            self.deadline = self._sweeper.now + self._frontend.limits.idle_timeout
