"""A client's connection: cuts what comes into heads and bodies, and begins an exchange for each head.

One exchange is under way at a time. What a pipelining client sends ahead waits unread in `_buffer`; past
READ_AHEAD_BYTES the socket is not read any more, so memory for each connection is bounded by that and one
read. A body is passed on only while its receiver wants it. Knows nothing of limits, servers or what an answer
means.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.faults import Fault
from proxy.http1.framing import UNTIL_CLOSE
from proxy.http1.head import UNREAD, RequestHead, request_head, unfinished_fault
from proxy.net.connection import LINGER_SECONDS, Connection, reset_at_close
from proxy.net.kernel import has_input
from proxy.net.request_body import RequestBody
from proxy.net.sweep import NEVER

if TYPE_CHECKING:
    from proxy.net.frontend import Frontend, NewExchange
    from proxy.net.interfaces import ExchangeEvents, Held
    from proxy.net.upstream import UpstreamConnection

READ_AHEAD_BYTES: Final = 64 * 1024  # unread input until the socket is paused (asyncio's streams: 64 KiB)
LAST_BYTES: Final = 2 * 1024  # a longer head is not kept for the next request to be compared with ...
LAST_HEADERS: Final = 32  # ... nor one of more fields: 300 bytes each, and the connection may rest
UPLOAD_SECONDS: Final = (
    30.0  # once it has ended, what still comes is read and dropped (nginx: lingering_time)
)
TURN: Final = 32  # heads and pieces of bodies until others have their turn: about 1 ms at 25 us each
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")

# States of the connection.
_HEADS: Final = 0  # the next head is awaited
_BUSY: Final = 1  # an exchange is under way
_DISCARDING: Final = 2  # what is left of a refused request's body is dropped
_TUNNEL: Final = 3
_LINGERING: Final = 4  # nothing more is sent, what still comes is dropped
_CLOSED: Final = 5


class DownstreamConnection(Connection):
    """One client's connection. `exchange` is told of everything that happens on it."""

    __slots__ = (
        "_buffer",
        "_fault",
        "_fd",
        "_frontend",
        "_is_advancing",
        "_is_end_sent",
        "_is_half_closed",
        "_is_head_begun",
        "_last",
        "_linger_until",
        "_new_exchange",
        "_state",
        "_unread",
        "body",
        "exchange",
        "peer",
        "scheme",
    )

    def __init__(
        self,
        frontend: Frontend,
        peer: str | None = None,
        fault: Fault | None = None,
        new_exchange: NewExchange | None = None,
    ) -> None:
        """`peer` is who the client is, if it is not the socket's; with a `fault` it is refused."""
        super().__init__(frontend.outbox, frontend.sweeper)
        self._frontend = frontend
        self._new_exchange = new_exchange or frontend.new_exchange
        # connection
        self.scheme = b"http"
        self.peer = peer or ""
        self._fault = fault
        self._state = _HEADS
        self._buffer = b""
        self._is_advancing = False  # or will go on in the next tick
        self._last: RequestHead | None = None  # what the next head may repeat
        self._unread: Held | None = None  # of the answer before, if the client has not taken it all
        self._linger_until = 0.0
        self._is_half_closed = False  # the client sends no more, but takes its answer
        self._is_end_sent = False  # in a tunnel: the server sends no more
        self._fd = -1  # while it is not read, and looked after
        # request
        self.exchange: ExchangeEvents | None = None
        self.body: RequestBody | None = None  # of the request; None if it has none
        self._is_head_begun = False  # its deadline runs from its first byte, however slowly the rest comes

    # --- the connection's own events ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        frontend = self._frontend
        if not self.peer:
            peername = transport.get_extra_info("peername")
            self.peer = peername[0] if isinstance(peername, tuple) else ""  # a Unix socket has none
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = b"https"
        self._sweeper.add(self)
        self._wait()
        fault = None if frontend.entered(self) else faults.TOO_MANY_CONNECTIONS
        fault = self._fault or fault  # what spoke no PROXY protocol understands no answer either
        if fault is not None:
            self._refuse(fault, b"")
            if frontend.is_crowded:
                self.transport.close()  # its descriptor counts for more than that it reads why

    def data_received(self, data: bytes) -> None:
        state = self._state
        if state == _TUNNEL:
            if not self.is_write_paused:
                self._wait()
            if self.body is not None and self.body.receiver is not None:
                self.body.pass_on(self.body.receiver, data)
        elif state == _LINGERING:
            self._hear_out()
        elif state != _CLOSED:
            self._buffer = self._buffer + data if self._buffer else data
            self._advance()

    def _hear_out(self) -> None:
        """Many a client sends its upload to the end before it reads why that was refused."""
        now = self._sweeper.now
        if now < self._linger_until:
            self.deadline = max(self.deadline, now + LINGER_SECONDS)

    def eof_received(self) -> bool:
        """The client sends no more. It may still wait for its answer; TLS knows no half of an end."""
        if self._is_half_closed:
            return True
        if self.scheme == b"http" and self._may_be_answered(0):
            self._is_half_closed = True
            self._watch()
            if self._state == _TUNNEL and self.body is not None and self.body.receiver is not None:
                self.body.receiver.end_sending()
            else:
                self._advance()
            return not self.transport.is_closing()
        self._leave()
        self.linger()
        return False

    def _may_be_answered(self, unread: int) -> bool:
        """Whether what has come, and what lies unread, can be all that a client wants answered."""
        state, body = self._state, self.body
        if state == _TUNNEL:
            receiver = body.receiver if body is not None else None
            return receiver is not None and receiver.can_half_close and not self._is_end_sent
        if self._frontend.limits.aborts_half_closed or self._state not in (_HEADS, _BUSY):
            return False
        if state == _HEADS:
            return b"\r\n\r\n" in self._buffer
        return body is None or not body.has_length or body.left <= len(self._buffer) + unread

    def end_sending(self) -> bool:
        """The server of a tunnel sends no more, the client may; false if it must end as a whole."""
        if self.scheme != b"http" or self._is_half_closed or self.transport.is_closing():
            return False
        self.flush()
        self.transport.write_eof()
        self._is_end_sent = True
        self._wait()
        return True

    # --- while it is not read ---

    def pause_reading(self) -> None:
        super().pause_reading()
        self._watch()

    def resume_reading(self) -> None:
        if self._fd >= 0 and not self._is_half_closed:
            self._frontend.vigil.discard(self, self._fd)
            self._fd = -1
        super().resume_reading()

    def _watch(self) -> None:
        if self._fd < 0:
            self._fd = self._frontend.vigil.add(self, is_ended=self._is_half_closed)

    def lost(self) -> None:
        self._leave()
        self.abort()

    def ended(self, unread: int) -> None:
        if self.scheme != b"http" or not self._may_be_answered(unread):
            self.lost()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        self._state = _CLOSED
        self._buffer = b""
        self._frontend.left(self)
        self._sweeper.discard(self)
        if self._fd >= 0:
            self._frontend.vigil.discard(self, self._fd)
        self._leave()

    def _leave(self) -> None:
        self._drop_unread()
        if self.exchange is not None:
            self.exchange.client_left()

    def pause_writing(self) -> None:
        self.is_write_paused = True
        self._takes_output()
        self._frontend.slowed(self)
        self.deadline = self._sweeper.now + self._frontend.limits.body_timeout
        if self.exchange is not None:
            self.exchange.client_paused()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        self._frontend.caught_up(self)
        if self._state == _LINGERING:
            return
        self._wait()
        self._drop_unread()
        if self.exchange is not None:
            self.exchange.client_resumed()
        if self._state != _TUNNEL:
            self._advance()

    def _drop_unread(self) -> None:
        if self._unread is not None:
            self._unread.drop()
            self._unread = None

    def expire(self) -> None:
        """The deadline has passed: what that means depends on what was waited for."""
        self.deadline = NEVER
        if self._state == _LINGERING:
            if not self._may_linger(self._frontend.limits.body_timeout):
                self.abort()
        elif self.is_write_paused:
            self._expire_writing()
        elif self._state == _BUSY:
            self._fail(faults.BODY_TIMEOUT)
        elif self._state == _TUNNEL:
            self._expire_tunnel()
        elif self._state == _HEADS and self._buffer:
            self._refuse(faults.HEAD_TIMEOUT, self._buffer)
        elif self._state == _HEADS and has_input(self.transport):
            self.deadline = self._sweeper.now  # it came just in time: seen before the next look
        else:
            self.close()

    def _expire_writing(self) -> None:
        if self._takes_output():
            self.deadline = self._sweeper.now + self._frontend.limits.body_timeout
            return
        self._fail(faults.READ_TIMEOUT)
        self.abort()

    def _expire_tunnel(self) -> None:
        """The client has said nothing for long; perhaps the server has."""
        body, now, patience = self.body, self._sweeper.now, self._frontend.limits.tunnel_timeout
        heard = body.receiver.heard if body is not None and body.receiver is not None else now - patience
        if heard + patience > now and not self._is_end_sent:
            self.deadline = heard + patience
        else:
            self._fail(faults.TUNNEL_TIMEOUT)

    def _wait(self) -> None:
        """Sets the deadline for what the client must do next; while it does not read, that comes first."""
        if self.is_write_paused:
            return
        limits, state, body = self._frontend.limits, self._state, self.body
        patience = NEVER
        if state == _HEADS:
            patience = limits.head_timeout if self._is_head_begun else limits.idle_timeout
        elif state == _DISCARDING or (state == _BUSY and body is not None and body.receiver is not None):
            patience = limits.body_timeout
        elif state == _TUNNEL:
            patience = limits.body_timeout if self._is_end_sent else limits.tunnel_timeout
        self.deadline = self._sweeper.now + patience

    # --- cutting the stream ---

    def _advance(self) -> None:
        """Gives on what can be given on; never runs inside itself, however the exchange answers."""
        if self._is_advancing:
            self._bound_read_ahead()
            return
        self._is_advancing = True
        try:
            taken = 0
            while taken < TURN:
                step = self._head() if self._state == _HEADS else self._body()
                if not step:
                    self._is_advancing = False
                    if self._is_half_closed:
                        self._end_half()
                    break
                taken += step
            else:
                asyncio.get_running_loop().call_soon(self._take_turn)
        except Exception as error:  # noqa: BLE001 - the one bare except of this side: it ends the exchange
            self._is_advancing = False
            self._exchange().crashed(error)
        if self._is_read_paused or len(self._buffer) > READ_AHEAD_BYTES:
            self._bound_read_ahead()

    def _end_half(self) -> None:
        """What the client has sent is not enough for anything more."""
        state, body = self._state, self.body
        is_starved = state == _DISCARDING or (
            body is not None and body.receiver is not None and not self._buffer
        )
        if (state == _HEADS and not self.is_write_paused) or (state in (_BUSY, _DISCARDING) and is_starved):
            self._leave()
            self.linger()

    def _take_turn(self) -> None:
        self._is_advancing = False
        self._advance()

    def _bound_read_ahead(self) -> None:
        if len(self._buffer) > READ_AHEAD_BYTES:
            self.pause_reading()
        else:
            self.resume_reading()

    def _head(self) -> int:
        """Reads one head: how much of a turn it took.

        Nothing is done, 0, when more bytes are needed, or the client must first take what it was sent.
        """
        data = self._buffer
        if not data or self.is_write_paused:
            return 0
        limits = self._frontend.limits
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > limits.head_bytes or data.startswith(b"\r\n"):
            return self._unusual_head(data, end)
        self._buffer = data[end:]
        self._is_head_begun = False
        head = request_head(data[:end], limits.line_bytes, limits.headers_max, self._last, limits.methods)
        if isinstance(head, Fault):
            self._refuse(head, data)
            return 0
        self.deadline = NEVER
        self._state = _BUSY
        section = head.section
        if section.body_length:
            self.body = RequestBody(section.body_length)
        self._last = head if end <= LAST_BYTES and len(section.lines) <= LAST_HEADERS else None
        exchange = self.exchange = self._new_exchange(self, head)
        exchange.begin()
        return self._state != _BUSY or (self.body is not None and self.body.receiver is not None)

    def _unusual_head(self, data: bytes, end: int) -> int:
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
        return 0

    def _refuse(self, fault: Fault, data: bytes) -> None:
        """At the door. What looks like a HEAD is answered without a body, whatever is wrong with it."""
        self._exchange().refuse_head(fault, has_body=not data.startswith(b"HEAD "))

    def _exchange(self) -> ExchangeEvents:
        """The one that is under way; else one of no request, to be refused or logged."""
        if self.exchange is None:
            self.exchange = self._new_exchange(self, UNREAD)
        return self.exchange

    def _fail(self, fault: Fault) -> None:
        if self.exchange is not None:
            self.exchange.fail(fault)

    def _body(self) -> int:
        """Passes on one piece of the request's body, or drops it: how much of a turn it took, as above."""
        body, data = self.body, self._buffer
        if body is None or not data:
            return 0
        if self._state == _DISCARDING:
            return self._discard(body, data)
        receiver = body.receiver
        if self._state != _BUSY or receiver is None:
            return 0
        if body.has_length:
            content, self._buffer = body.read(data), body.rest
        else:
            content, self._buffer = body.read(data), body.unread or body.rest
            if (fault := body.fault(len(content), self._frontend.limits.body_bytes)) is not None:
                self._fail(fault)
                return 0
        if body.is_over:
            body.receiver = None
        self._wait()
        body.pass_on(receiver, content)
        return TURN if body.unread else 1

    def _discard(self, body: RequestBody, data: bytes) -> int:
        body.read(data)
        self._buffer = body.rest
        if body.is_over:
            self._state = _HEADS
            self.body = None
            self._wait()
        return int(body.is_over)

    @property
    def held_bytes(self) -> int:
        """What it has not taken, and what it has sent ahead."""
        return self.transport.get_write_buffer_size() + len(self._buffer)

    def give_way(self) -> None:
        """Others need the room."""
        self._fail(faults.CROWDED_OUT)
        self.abort()

    # --- what the exchange asks for ---

    @property
    def is_idle(self) -> bool:
        return self._state == _HEADS and not self._buffer

    def rest_no_more(self) -> None:
        """Ends it if it is at rest; never under a request that has begun to arrive."""
        if self.is_idle and not has_input(self.transport):
            self.close()

    def pass_body(self, receiver: UpstreamConnection) -> None:
        """The request's body goes to `receiver`, as it comes."""
        if self.body is not None and not self.body.is_over:
            self.body.receiver = receiver
            self._wait()
            self._advance()

    def pause_body(self) -> None:
        """The server is the slow one now."""
        if self._state == _TUNNEL:
            self.pause_reading()
        elif self.body is not None:
            self.body.receiver = None
            self._wait()

    def resume_body(self, receiver: UpstreamConnection) -> None:
        if self._state == _TUNNEL:
            self.resume_reading()
        else:
            self.pass_body(receiver)

    def hold(self, held: Held) -> None:
        """It has its room until the client has taken what was written."""
        if self.is_write_paused:
            self._unread = held
        else:
            held.drop()

    def finish(self) -> None:
        """The exchange is over and the connection stays: on to the next request."""
        self.exchange = None
        body = self.body
        if body is not None and not body.is_over:
            body.receiver = None
            self._state = _DISCARDING
            self._wait()
        else:
            self._state = _HEADS
            self.body = None
            if not self.is_write_paused:
                self.deadline = self._sweeper.now + self._frontend.limits.idle_timeout
        if (self._buffer or self._is_half_closed) and not self._is_advancing:
            self._advance()

    def linger(self) -> None:
        """The connection is over too: what was written goes out, input is read and dropped for a while."""
        self.exchange = self.body = None
        if self._state in (_LINGERING, _CLOSED):
            return
        self._state = _LINGERING
        self._linger_until = self._sweeper.now + UPLOAD_SECONDS
        self._buffer = b""
        self._end_output(self._frontend.limits.body_timeout)
        if self._is_half_closed:  # nothing more will come that would have to be read
            self.transport.close()

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

    def become_tunnel(self, receiver: UpstreamConnection) -> None:
        self._state = _TUNNEL
        body = self.body = RequestBody(UNTIL_CLOSE)
        body.receiver = receiver
        self._wait()
        self.resume_reading()
        if self._buffer:
            early, self._buffer = self._buffer, b""
            body.pass_on(receiver, early)
