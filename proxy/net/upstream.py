"""A connection to a server: sends what its exchange gives it and cuts the answer into head, data and end.

Between exchanges it rests in its pool, where any byte or close from the server ends it. An answer is over
only by its own framing; whatever breaks off before is a fault. Knows nothing of limits, clients or what an
answer means.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.faults import Fault
from proxy.http1.body import BodyReader
from proxy.http1.chunked import chunk, last_chunk
from proxy.http1.framing import CHUNKED
from proxy.http1.head import response_head
from proxy.http1.sloppy import put_right
from proxy.net.answer_deadline import answer_is_late, await_server
from proxy.net.broken_answer import LastWords, ended, hear_out
from proxy.net.connection import Connection
from proxy.net.kernel import watch_server
from proxy.net.states import BODY_DUE, EACH_BYTE_EXTENDS, FAILS, HEAD_DUE, IS_TOLD, TUNNEL
from proxy.net.sweep import NEVER
from proxy.net.tunnel import can_half_close
from proxy.paced import pace

if TYPE_CHECKING:
    from proxy.http1.head import ResponseHead
    from proxy.net.interfaces import ExchangeEvents, Trailers
    from proxy.net.server_address import ServerAddress

HEAD_BYTES: Final = 64 * 1024  # of an answer; nginx: proxy_buffer_size 8k, HAProxy 16k, Envoy 60k
# That a server may take nothing of a tunnel's last words (nginx: lingering_timeout).
FAREWELL_SECONDS: Final = 5.0
INTERIM_MAX: Final = 16  # 1xx heads before the answer (Go's net/http: 5; early hints may come in parts)


class Attempt:
    """One request on a connection, and the answer to it as far as it has come."""

    __slots__ = (
        "backlog",
        "body",
        "buffer",
        "deadline_kind",
        "exchange",
        "has_answered",
        "interims",
        "is_chunked",
        "is_clean",
        "is_client_slow",
        "is_ended",
        "is_over",
        "is_request_sent",
        "last_words",
        "method",
        "remains",
        "rest",
        "state",
        "trailers",
        "will_close",
    )

    def __init__(self, exchange: ExchangeEvents, method: bytes, length: int) -> None:
        """`length` is that of the request's body, or CHUNKED."""
        self.exchange = exchange
        self.method = method
        self.is_chunked = length == CHUNKED
        self.is_request_sent = length == 0
        # Over TLS, while we write, which may fail before all is read.
        self.last_words: LastWords | None = None
        self.state = HEAD_DUE
        self.deadline_kind = EACH_BYTE_EXTENDS
        self.buffer = b""  # of a head that is not whole
        self.has_answered = False  # a byte has come
        self.interims = 0
        self.body: BodyReader | None = None  # of an answer that did not come in one piece
        self.backlog = b""  # came, and waits for its turn
        self.is_client_slow = False
        self.is_ended = self.is_clean = False  # the connection is no more; it was ended, it did not break
        self.remains: LastWords | None = None  # of what came before
        self.is_over = False  # the answer is whole
        self.rest = b""  # what came behind it
        self.trailers: Trailers = []
        self.will_close = False

    def read(self, body: BodyReader, data: bytes) -> bytes:
        """The content within `data`."""
        content = body.read(data)
        self.backlog = body.unread
        if body.is_over:
            self.is_over = True
            self.rest, self.trailers = body.rest, body.trailers
        return content


class UpstreamConnection(Connection):
    """One connection to one server address."""

    __slots__ = (
        "address",
        "attempt",
        "has_ended",
        "heard",
        "is_lingering",
        "is_reused",
        "rest_seconds",
        "rested_at",
    )

    def __init__(self, address: ServerAddress) -> None:
        super().__init__(address.outbox, address.sweeper)
        self.address = address
        self.is_reused = False  # it has carried an exchange before
        self.rest_seconds = NEVER  # that the server lets it be idle, as far as it has said
        self.rested_at = 0.0  # since when it is idle, or was before it was used again
        self.has_ended = False  # in a tunnel: the server sends no more
        self.heard = 0.0  # the last moment at which a byte came, in a tunnel
        self.attempt: Attempt | None = None  # while an exchange uses it
        self.is_lingering = False  # nothing more is sent, what still comes is dropped

    # --- what the exchange asks for ---

    def send_head(self, exchange: ExchangeEvents, method: bytes, data: bytes, length: int) -> None:
        """Starts an attempt: the request's head goes out, its body of `length` bytes will follow."""
        attempt = self.attempt = Attempt(exchange, method, length)
        if length and self.address.ssl is not None:
            attempt.last_words = LastWords(self.transport)
        if length:
            self.deadline = NEVER
            self.write(data)
        else:
            self.deadline = self._sweeper.now + self.address.response_timeout
            self.write(data, True)  # noqa: FBT003 - hot: keywords cost

    def send_body(self, data: bytes) -> None:
        attempt = self.attempt
        self.write(chunk(data) if attempt is not None and attempt.is_chunked else data)

    def end_body(self, trailers: Trailers) -> None:
        """The request is whole: from now on the server is the one that is waited for."""
        attempt = self.attempt
        assert attempt is not None, "a body has its receiver while that has its attempt"
        if attempt.is_chunked:
            self.write(last_chunk(attempt.exchange.trailers_onward(trailers) if trailers else trailers))
        attempt.is_request_sent = True
        await_server(self, attempt)

    def pause_reading(self) -> None:
        super().pause_reading()
        attempt = self.attempt
        assert attempt is not None, "an exchange lets go of its connection together with its attempt"
        attempt.is_client_slow = True
        await_server(self, attempt)

    def resume_reading(self) -> None:
        attempt = self.attempt
        if self.is_read_paused:
            if attempt is not None and (attempt.backlog or attempt.is_ended):
                asyncio.get_running_loop().call_soon(self.take_turn, attempt)
            else:
                super().resume_reading()
            if attempt is not None:
                attempt.is_client_slow = False
                await_server(self, attempt)

    def expect_within(self, seconds: float, *, is_final: bool) -> None:
        """Bounds the wait for the rest of the answer, however it comes: then it fails, or its exchange
        hears.
        """
        attempt = self.attempt
        assert attempt is not None, "an exchange lets go of its connection together with its attempt"
        self.deadline = min(self.deadline, self._sweeper.now + seconds)
        attempt.deadline_kind = FAILS if is_final else IS_TOLD

    def hand_back(self) -> None:
        """Gives an unused connection to the pool: the client it was opened for has left."""
        self.address.release(self)

    def linger(self) -> None:
        """Nothing more will be sent, but what was sent must arrive: the end of a tunnel."""
        self._forget_attempt()
        self.is_lingering = True
        self._end_output(self.farewell)
        if self.has_ended:  # nothing more will come that would have to be read
            self.transport.close()

    @property
    def farewell(self) -> float:
        return min(FAREWELL_SECONDS, self.address.response_timeout)

    def close(self) -> None:
        """Ends what is of no more use, whatever may still come."""
        self._forget_attempt()
        self.transport.abort()

    def _forget_attempt(self) -> None:
        attempt, self.attempt = self.attempt, None
        if attempt is not None and attempt.last_words is not None:
            attempt.last_words.drop()

    # --- the connection's own events ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        watch_server(self.transport, self.address.response_timeout)
        if self.address.ssl is not None:
            pace(self.transport)
        self.address.opened(self)

    def data_received(self, data: bytes) -> None:
        attempt = self.attempt
        if attempt is None:
            if not self.is_lingering:
                self.close()  # bytes nobody asked for: the next answer could not be told from them
            return
        try:
            state = attempt.state
            if state == HEAD_DUE:
                attempt.has_answered = True
                attempt.buffer = attempt.buffer + data if attempt.buffer else data
                while self._head(attempt):
                    pass
            elif state == BODY_DUE:
                self._body(attempt, data)
            else:  # TUNNEL
                self.heard = self._sweeper.now
                attempt.exchange.response_data(data)
        except Exception as error:  # noqa: BLE001 - the one bare except of this side: it ends the exchange
            attempt.exchange.crashed(error)

    def eof_received(self) -> bool:
        attempt = self.attempt
        if attempt is not None and attempt.state == TUNNEL and can_half_close(self):
            self.has_ended = True
            return attempt.exchange.server_ended()
        if attempt is None:
            if not self.is_lingering:
                ended(self, is_clean=True)
        else:
            attempt.is_ended = attempt.is_clean = True
            hear_out(self, attempt)
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """What comes without an end before it is a break."""
        attempt, is_secured = self.attempt, self.address.ssl is not None
        self.address.closed(self)
        if is_secured:
            pace(self.transport, is_over=True)
        if attempt is None:
            ended(self, is_clean=False)
        elif not attempt.is_ended:
            attempt.is_ended = True
            attempt.remains = attempt.last_words or LastWords(self.transport, is_open=not is_secured)
            attempt.remains.begin(exc)
            hear_out(self, attempt)

    def pause_writing(self) -> None:
        self.is_write_paused = True
        if self.attempt is not None:
            await_server(self, self.attempt)
            self.attempt.exchange.upstream_paused()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self.attempt is not None:
            await_server(self, self.attempt)
            self.attempt.exchange.upstream_resumed(self)

    def expire(self) -> None:
        answer_is_late(self)

    # --- cutting the answer ---

    def _head(self, attempt: Attempt) -> bool:
        """Reads one head, interim or final; false when more bytes are needed, or the answer has begun."""
        data = attempt.buffer
        end = data.find(b"\r\n\r\n") + 4
        head = response_head(data[:end], attempt.method) if 4 <= end <= HEAD_BYTES else None
        if head is None or isinstance(head, Fault):
            right = put_right(data[:HEAD_BYTES])
            if right is None:
                self._lack_head(attempt, data)
                return False
            end = right[1]
            head = response_head(right[0], attempt.method)
        attempt.buffer = data = data[end:]
        if isinstance(head, Fault):
            self.fail(attempt, head)
            return False
        if head.status < 200 and head.status != 101:
            return self._interim(attempt, head)
        length = head.body_length
        attempt.will_close = head.wants_close
        if head.rest_seconds >= 0:
            self.rest_seconds = float(head.rest_seconds)
        attempt.state = BODY_DUE
        if 0 <= length <= len(data):  # nearly every answer of an API: it is whole already
            attempt.buffer = b""
            attempt.is_over = True
            attempt.rest = data[length:]
            attempt.exchange.response_head(self, head, data[:length])
            if self.attempt is attempt and attempt.state == BODY_DUE:
                self._end(attempt)
            else:
                self._go_on(attempt)
        else:
            attempt.buffer = b""
            body = attempt.body = BodyReader(length, is_lenient=True)
            attempt.exchange.response_head(self, head, attempt.read(body, data) if data else b"")
            self._go_on(attempt)
        return False

    def _lack_head(self, attempt: Attempt, data: bytes) -> None:
        """More of it must come, unless it is too large already or none at all."""
        if len(data) > HEAD_BYTES:
            self.fail(attempt, faults.RESPONSE_HEAD_TOO_LARGE)
        elif not (data.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(data)):
            self.fail(attempt, faults.MALFORMED_RESPONSE)  # junk: no need to wait for an end

    def _interim(self, attempt: Attempt, head: ResponseHead) -> bool:
        attempt.interims += 1
        if attempt.interims > INTERIM_MAX:
            self.fail(attempt, faults.MALFORMED_RESPONSE)
            return False
        attempt.exchange.interim(head)
        return bool(attempt.buffer) and self.attempt is attempt

    def _body(self, attempt: Attempt, data: bytes) -> None:
        body = attempt.body
        assert body is not None, "an answer that came in one piece has ended its attempt"
        content = attempt.read(body, attempt.backlog + data if attempt.backlog else data)
        if content:
            attempt.exchange.response_data(content)
        self._go_on(attempt)

    def _go_on(self, attempt: Attempt) -> None:
        """The exchange has been given what came."""
        if self.attempt is not attempt:  # and has let go of the connection
            return
        if attempt.state == TUNNEL:
            early, attempt.rest = attempt.rest, b""
            if early:
                attempt.exchange.response_data(early)
        elif attempt.is_over:
            self._end(attempt)
        elif attempt.body is not None and attempt.body.is_malformed:
            self.fail(attempt, faults.MALFORMED_RESPONSE_BODY)
        elif attempt.backlog:
            super().pause_reading()
            asyncio.get_running_loop().call_soon(self.take_turn, attempt)
        else:
            await_server(self, attempt)

    def take_turn(self, attempt: Attempt) -> None:
        """Others have had theirs; a client that is slow lets it wait."""
        if not self._has_turn(attempt):
            return
        if attempt.backlog:
            self.data_received(b"")
            if not self._has_turn(attempt) or attempt.backlog:
                return
        if attempt.is_ended:
            hear_out(self, attempt)
        else:
            self.resume_reading()

    def _has_turn(self, attempt: Attempt) -> bool:
        """Asked anew each time: compiled, a look at `attempt` is not believed to change by a call."""
        return self.attempt is attempt and not attempt.is_client_slow

    def _end(self, attempt: Attempt) -> None:
        """The answer is whole: the connection goes back to its pool, if nothing speaks against it."""
        self._forget_attempt()
        standing = self.address.standing
        if standing.failures:
            standing.answered()
        is_spent = attempt.rest or attempt.will_close or attempt.is_ended
        if is_spent or self.is_write_paused or not attempt.is_request_sent:
            self.close()
        else:
            if self.is_read_paused:
                self.resume_reading()
            self.address.release(self)
        attempt.exchange.response_end(attempt.trailers)

    def fail(self, attempt: Attempt, fault: Fault) -> None:
        self.address.failed()
        self.break_off(attempt, fault)

    def break_off(self, attempt: Attempt, fault: Fault) -> None:
        self.close()
        attempt.exchange.upstream_failed(self, fault)
