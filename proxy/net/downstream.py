"""A client's connection: cuts what comes into heads and bodies, and begins an exchange for each head.

One exchange is under way at a time. What a pipelining client sends ahead waits unread in `buffer`; past
READ_AHEAD_BYTES the socket is not read any more, so memory for each connection is bounded by that and one
read. A body is passed on only while its receiver wants it. Knows nothing of limits, servers or what an answer
means.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.faults import Fault
from proxy.http1.head import RequestHead, request_head
from proxy.http1.refused_heads import asked_line, unread_head
from proxy.net.connection import Connection, reset_at_close
from proxy.net.half_close import has_sent_too_little, inquire, may_be_answered
from proxy.net.kernel import has_input, peer_address
from proxy.net.patience import hear_out, set_deadline, time_is_up
from proxy.net.request_body import RequestBody
from proxy.net.states import BUSY, CLOSED, DISCARDING, HEADS, LINGERING, TUNNEL
from proxy.net.sweep import NEVER
from proxy.net.tunnel import client_ended, send_on
from proxy.net.unusual_heads import LAST_BYTES, unusual_head
from proxy.net.upload import TURN, next_piece
from proxy.paced import pace

if TYPE_CHECKING:
    from proxy.net.frontend import Frontend, NewExchange
    from proxy.net.interfaces import ExchangeEvents, Held
    from proxy.net.upstream import UpstreamConnection

READ_AHEAD_BYTES: Final = 64 * 1024  # unread input until the socket is paused (asyncio's streams: 64 KiB)
LAST_HEADERS: Final = 32  # nor is a head of more fields kept: 300 bytes each, and the connection may rest
# Once it has ended, what still comes is read and dropped (nginx: lingering_time).
UPLOAD_SECONDS: Final = 30.0


class DownstreamConnection(Connection):
    """One client's connection. `exchange` is told of everything that happens on it."""

    __slots__ = (
        "_fault",
        "_fd",
        "_is_advancing",
        "_last",
        "_new_exchange",
        "_unread",
        "body",
        "buffer",
        "exchange",
        "frontend",
        "is_end_sent",
        "is_half_closed",
        "is_head_begun",
        "linger_until",
        "peer",
        "scheme",
        "state",
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
        self.frontend = frontend
        self._new_exchange = new_exchange or frontend.new_exchange
        # connection
        self.scheme = b"http"
        self.peer = peer or ""
        self._fault = fault
        self.state = HEADS
        self.buffer = b""
        self._is_advancing = False  # or will go on in the next tick
        self._last: RequestHead | None = None  # what the next head may repeat
        self._unread: Held | None = None  # of the answer before, if the client has not taken it all
        self.linger_until = 0.0
        self.is_half_closed = False  # the client sends no more, but takes its answer
        self.is_end_sent = False  # in a tunnel: the server sends no more
        self._fd = -1  # while it is not read, and looked after
        # request
        self.exchange: ExchangeEvents | None = None
        self.body: RequestBody | None = None  # of the request; None if it has none
        self.is_head_begun = False  # its deadline runs from its first byte, however slowly the rest comes

    # --- the connection's own events ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        frontend = self.frontend
        if not self.peer:
            peer = peer_address(transport)
            if peer is None:  # reset already: nobody waits, and nobody is left who could be charged
                self.abort()
                return
            self.peer = peer
        if transport.get_extra_info("sslcontext") is not None:
            self.scheme = b"https"
            pace(self.transport)
        self._sweeper.add(self)
        set_deadline(self)
        fault = None if frontend.entered(self) else faults.TOO_MANY_CONNECTIONS
        fault = self._fault or fault  # what spoke no PROXY protocol understands no answer either
        if fault is not None:
            self.refuse(fault, b"")
            if frontend.is_crowded:
                self.transport.close()  # its descriptor counts for more than that it reads why

    def data_received(self, data: bytes) -> None:
        state = self.state
        if state == TUNNEL:
            if not self.is_write_paused:
                set_deadline(self)
            send_on(self, data)
        elif state == LINGERING:
            hear_out(self)
        elif state != CLOSED:
            self.buffer = self.buffer + data if self.buffer else data
            self._advance()

    def eof_received(self) -> bool:
        """The client sends no more. It may still wait for its answer."""
        if self.is_half_closed:
            return True
        if may_be_answered(self, 0):
            self.is_half_closed = True
            self._watch()
            if self.state == TUNNEL:
                client_ended(self)
            else:
                self._advance()
                inquire(self)
            return not self.transport.is_closing()
        self.leave()
        self.linger()
        return False

    # --- while it is not read ---

    def pause_reading(self) -> None:
        super().pause_reading()
        self._watch()

    def resume_reading(self) -> None:
        if self._fd >= 0 and not self.is_half_closed:
            self.frontend.vigil.discard(self, self._fd)
            self._fd = -1
        super().resume_reading()

    def _watch(self) -> None:
        if self._fd < 0:
            self._fd = self.frontend.vigil.add(self, is_ended=self.is_half_closed)

    def lost(self) -> None:
        self.leave()
        self.abort()

    def ended(self, unread: int) -> None:
        if may_be_answered(self, unread):
            inquire(self)
        else:
            self.lost()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - why does not matter
        self.state = CLOSED
        self.buffer = b""
        self.frontend.left(self)
        self._sweeper.discard(self)
        if self._fd >= 0:
            self.frontend.vigil.discard(self, self._fd)
        if self.scheme == b"https":
            pace(self.transport, is_over=True)
        self.leave()

    def leave(self) -> None:
        """Nobody is there any more who waits."""
        self._drop_unread()
        if self.exchange is not None:
            self.exchange.client_left()

    def pause_writing(self) -> None:
        self.is_write_paused = True
        self.takes_output()
        self.frontend.slowed(self)
        self.deadline = self._sweeper.now + self.frontend.rules.body_timeout
        if self.exchange is not None:
            self.exchange.client_paused()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        self.frontend.caught_up(self)
        if self.state == LINGERING:
            return
        set_deadline(self)
        self._drop_unread()
        if self.exchange is not None:
            self.exchange.client_resumed()
        if self.state != TUNNEL:
            self._advance()

    def _drop_unread(self) -> None:
        if self._unread is not None:
            self._unread.drop()
            self._unread = None

    def expire(self) -> None:
        time_is_up(self)

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
                step = self._head() if self.state == HEADS else next_piece(self)
                if not step:
                    self._is_advancing = False
                    if self.is_half_closed and has_sent_too_little(self):
                        self.leave()
                        self.linger()
                    break
                taken += step
            else:
                asyncio.get_running_loop().call_soon(self._take_turn)
        except Exception as error:  # noqa: BLE001 - the one bare except of this side: it ends the exchange
            self._is_advancing = False
            self._exchange().crashed(error)
        if self.is_read_paused or len(self.buffer) > READ_AHEAD_BYTES:
            self._bound_read_ahead()

    def _take_turn(self) -> None:
        self._is_advancing = False
        self._advance()

    def _bound_read_ahead(self) -> None:
        if len(self.buffer) > READ_AHEAD_BYTES:
            self.pause_reading()
        else:
            self.resume_reading()

    def _head(self) -> int:
        """Reads one head: how much of a turn it took.

        Nothing is done, 0, when more bytes are needed, or the client must first take what it was sent.
        """
        data = self.buffer
        if not data or self.is_write_paused:
            return 0
        rules = self.frontend.rules
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > rules.head_bytes or data.startswith(b"\r\n"):
            return unusual_head(self, data, end)
        self.buffer = data[end:]
        if self.is_head_begun:
            self.is_head_begun = False
            self.frontend.caught_up(self)
        head = request_head(data[:end], rules.line_bytes, rules.headers_max, self._last, rules.methods)
        if isinstance(head, Fault):
            self.refuse(head, data)
            return 0
        self.deadline = NEVER
        self.state = BUSY
        section = head.section
        if section.body_length:
            self.body = RequestBody(section.body_length)
        self._last = head if end <= LAST_BYTES and len(section.lines) <= LAST_HEADERS else None
        exchange = self.exchange = self._new_exchange(self, head)
        exchange.begin()
        return self.state != BUSY or (self.body is not None and self.body.receiver is not None)

    def refuse(self, fault: Fault, data: bytes) -> None:
        """Refuses at the door. What looks like a HEAD gets no body, whatever is wrong with it."""
        exchange = self._exchange(data)
        line = asked_line(data, self.frontend.rules.line_bytes)
        exchange.refuse_head(fault, line, has_body=not data.startswith(b"HEAD "))

    def _exchange(self, data: bytes = b"") -> ExchangeEvents:
        """The one that is under way; else one of no request, to be refused or logged."""
        if self.exchange is None:
            self.exchange = self._new_exchange(self, unread_head(data))
        return self.exchange

    def fail(self, fault: Fault) -> None:
        if self.exchange is not None:
            self.exchange.fail(fault)

    @property
    def held_bytes(self) -> int:
        """Bytes of memory for what it has not taken and what it has sent ahead."""
        return self.output_bytes + len(self.buffer)

    @property
    def untaken_bytes(self) -> int:
        """They shrink as it reads."""
        return self.transport.get_write_buffer_size() + len(self.buffer)

    def give_way(self) -> None:
        """Others need the room."""
        self.fail(faults.CROWDED_OUT)
        self.abort()

    # --- what the exchange asks for ---

    @property
    def is_idle(self) -> bool:
        return self.state == HEADS and not self.buffer

    def rest_no_more(self) -> None:
        """Ends it if it is at rest; never under a request that has begun to arrive."""
        if self.is_idle and not has_input(self.transport):
            self.close()

    def pass_body(self, receiver: UpstreamConnection) -> None:
        """The request's body goes to `receiver`, as it comes."""
        if self.body is not None and not self.body.is_over:
            self.body.receiver = receiver
            set_deadline(self)
            self._advance()

    def pause_body(self) -> None:
        """The server is the slow one now."""
        if self.state == TUNNEL:
            self.pause_reading()
        elif self.body is not None:
            self.body.receiver = None
            set_deadline(self)

    def resume_body(self, receiver: UpstreamConnection) -> None:
        if self.state == TUNNEL:
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
            self.state = DISCARDING
            set_deadline(self)
        else:
            self.state = HEADS
            self.body = None
            if not self.is_write_paused:
                self.deadline = self._sweeper.now + self.frontend.rules.idle_timeout
        if (self.buffer or self.is_half_closed) and not self._is_advancing:
            self._advance()

    def linger(self) -> None:
        """The connection is over too: what was written goes out, input is read and dropped for a while."""
        self.exchange = self.body = None
        if self.state in (LINGERING, CLOSED):
            return
        self.state = LINGERING
        self.linger_until = self._sweeper.now + UPLOAD_SECONDS
        self.buffer = b""
        self._end_output(self.frontend.rules.body_timeout)
        if self.is_half_closed:  # nothing more will come that would have to be read
            self.transport.close()

    def close(self) -> None:
        """Nothing is under way, so nothing can be lost but what was written just now."""
        self.linger()
        self.transport.close()

    def abort(self) -> None:
        self.state = CLOSED
        self.buffer = b""
        self.transport.abort()

    def reset(self) -> None:
        """Ends an answer that would look whole if its connection just closed."""
        reset_at_close(self.transport)
        self.abort()
