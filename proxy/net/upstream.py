"""A connection to a server: sends what its lane gives it and cuts the answer into head, data and end.

Between exchanges it rests in its pool, where any byte or close from the server ends it. An answer is over
only by its own framing; whatever breaks off before is a fault. Knows nothing of limits, clients or what an
answer means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

from proxy import faults
from proxy.faults import Fault
from proxy.http1.chunked import ChunkedDecoder
from proxy.http1.framing import CHUNKED, UNTIL_CLOSE
from proxy.http1.head import response_head
from proxy.net.connection import Connection
from proxy.net.sweep import NEVER

if TYPE_CHECKING:
    import asyncio

    from proxy.http1.head import ResponseHead
    from proxy.net.interfaces import Lane
    from proxy.net.server_address import ServerAddress

HEAD_BYTES: Final = 64 * 1024  # of an answer; nginx: proxy_buffer_size 8k, HAProxy 16k, Envoy 60k
INTERIM_MAX: Final = 16  # 1xx heads before the answer (Go's net/http: 5; early hints may come in parts)

_IDLE: Final = 0
_HEAD: Final = 1
_BODY: Final = 2
_TUNNEL: Final = 3
_LINGERING: Final = 4
_CLOSED: Final = 5

# What the deadline does while the answer comes.
_MOVES: Final = 0  # every byte gives more time
_FINAL: Final = 1  # nothing does
_TOLD: Final = 2  # ... but then it goes on


class UpstreamConnection(Connection):
    """One connection to one server. `lane` is set while an exchange uses it."""

    __slots__ = (
        "_buffer",
        "_decoder",
        "_fixed",
        "_has_answered",
        "_interims",
        "_is_request_sent",
        "_left",
        "_method",
        "_state",
        "_will_close",
        "address",
        "is_reused",
        "lane",
    )

    def __init__(self, address: ServerAddress) -> None:
        super().__init__(address.outbox, address.sweeper)
        # connection
        self.address = address
        self.is_reused = False  # it has carried an exchange before
        self._state = _IDLE
        # exchange
        self.lane: Lane | None = None
        self._is_request_sent = False
        self._fixed = _MOVES
        self._method = b""
        self._buffer = b""
        self._has_answered = False  # a byte has come
        self._interims = 0
        self._left = 0  # bytes of the body still to come, or CHUNKED, or UNTIL_CLOSE
        self._decoder: ChunkedDecoder | None = None
        self._will_close = False

    # --- what the lane asks for ---

    def send_head(self, lane: Lane, method: bytes, data: bytes, *, is_whole: bool) -> None:
        """Starts an exchange: the request's head goes out. `is_whole`: there is no body to follow."""
        self.lane = lane
        self._is_request_sent = is_whole
        self._fixed = _MOVES
        self._method = method
        self._buffer = b""
        self._has_answered = False
        self._interims = 0
        self._will_close = False
        self._state = _HEAD
        self.deadline = self._sweeper.now + self.address.response_timeout if is_whole else NEVER
        self.write(data)

    def request_sent(self) -> None:
        """The body is whole: from now on the server is the one that is waited for."""
        self._is_request_sent = True
        self._wait()

    def pause_reading(self) -> None:
        super().pause_reading()
        self._wait()

    def resume_reading(self) -> None:
        if self._is_read_paused:
            super().resume_reading()
            self._wait()

    def expect_within(self, seconds: float, *, is_final: bool) -> None:
        """Bounds the wait for the rest of the answer, however it comes: then it fails, or its lane hears."""
        self.deadline = min(self.deadline, self._sweeper.now + seconds)
        self._fixed = _FINAL if is_final else _TOLD

    def _wait(self) -> None:
        """Sets the deadline for what the server must do next: take the request, or answer."""
        if self._fixed:
            return
        is_answer_due = self._state == _BODY or (self._state == _HEAD and self._is_request_sent)
        if self.is_write_paused or (is_answer_due and not self._is_read_paused):
            self.deadline = self._sweeper.now + self.address.response_timeout
        else:
            self.deadline = NEVER  # the client is the slow one, or it is a tunnel, which may rest

    def hand_back(self) -> None:
        """Gives an unused connection to the pool: the client it was opened for has left."""
        self.address.release(self)

    def become_tunnel(self) -> None:
        self._state = _TUNNEL
        self.address.standing.answered()
        self._wait()

    def linger(self) -> None:
        """Nothing more will be sent, but what was sent must arrive: the end of a tunnel."""
        self.lane = None
        self._state = _LINGERING
        self._end_output(self.address.response_timeout)

    def close(self) -> None:
        """Of no more use, whatever may still come."""
        self.lane = None
        self._state = _CLOSED
        self.transport.abort()

    # --- the connection's own events ---

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.address.opened(self)

    def data_received(self, data: bytes) -> None:
        lane = self.lane
        if lane is None:
            if self._state != _LINGERING:
                self.close()  # bytes nobody asked for: the next answer could not be told from them
            return
        try:
            self._read(lane, data)
        except Exception as error:  # noqa: BLE001 - the one bare except of this side: it ends the exchange
            lane.crashed(error)

    def eof_received(self) -> bool:
        if self._state != _LINGERING:
            self._ended(is_clean=True)
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - without an end before it, it broke
        self.address.closed(self)
        self._ended(is_clean=False)

    def _ended(self, *, is_clean: bool) -> None:
        """Nothing more will come."""
        lane, state = self.lane, self._state
        self.close()
        if lane is None:
            return
        if state == _HEAD and self.is_reused and not self._has_answered:
            lane.upstream_failed(faults.STALE_CONNECTION)
        elif state == _HEAD:
            self.address.failed()
            lane.upstream_failed(faults.CONNECTION_LOST)
        elif state == _BODY and self._left == UNTIL_CLOSE and is_clean:
            self.address.standing.answered()
            lane.response_end([])
        else:
            if state == _BODY:
                self.address.failed()
            lane.upstream_failed(faults.TRUNCATED)

    def pause_writing(self) -> None:
        self.is_write_paused = True
        if self.lane is not None:
            self._wait()
            self.lane.upstream_paused()

    def resume_writing(self) -> None:
        self.is_write_paused = False
        if self.lane is not None:
            self._wait()
            self.lane.upstream_resumed()

    def expire(self) -> None:
        """The deadline has passed."""
        self.deadline = NEVER
        if self.lane is not None and self._fixed == _TOLD:
            self._fixed = _MOVES
            self._wait()
            self.lane.response_late()
        elif self.lane is not None and self._fixed == _FINAL:
            self._break_off(self.lane, faults.RESPONSE_STALLED)  # it may be well: its lane was the hasty one
        elif self.lane is not None:
            self._fail(faults.RESPONSE_TIMEOUT if self._state == _HEAD else faults.RESPONSE_STALLED)
        elif self._state != _LINGERING or not self._may_linger(self.address.response_timeout):
            self.close()

    # --- cutting the answer ---

    def _read(self, lane: Lane, data: bytes) -> None:
        state = self._state
        if state == _HEAD:
            self._has_answered = True
            self._buffer = self._buffer + data if self._buffer else data
            while self._state == _HEAD and self._head(lane):
                pass
        elif state == _BODY:
            self._body(lane, data)
            if self._state == _BODY:
                self._wait()
        elif state == _TUNNEL:
            lane.response_data(data)

    def _head(self, lane: Lane) -> bool:
        """Reads one head, interim or final; false when more bytes are needed."""
        data = self._buffer
        end = data.find(b"\r\n\r\n") + 4
        if end < 4 or end > HEAD_BYTES:
            if len(data) > HEAD_BYTES:
                self._fail(faults.RESPONSE_HEAD_TOO_LARGE)
            elif not (data.startswith(b"HTTP/1.") or b"HTTP/1.".startswith(data)):
                self._fail(faults.MALFORMED_RESPONSE)  # junk: no need to wait for an end that may not come
            return False
        head = response_head(data[:end], self._method)
        if isinstance(head, Fault):
            self._fail(head)
            return False
        self._buffer = data[end:]
        if head.status < 200 and head.status != 101:
            self._interims += 1
            if self._interims > INTERIM_MAX:
                self._fail(faults.MALFORMED_RESPONSE)
                return False
            lane.interim(head)
            return bool(self._buffer)
        self._final_head(lane, head)
        return False

    def _final_head(self, lane: Lane, head: ResponseHead) -> None:
        self._state = _BODY
        length = self._left = head.body_length
        self._will_close = head.wants_close
        self._decoder = ChunkedDecoder() if length == CHUNKED else None
        lane.response_head(head)
        if self.lane is not lane or self._state == _TUNNEL:  # the lane has ended it, or made it a tunnel
            early, self._buffer = self._buffer, b""
            if early and self.lane is lane:
                lane.response_data(early)
        elif length == 0:
            self._end(lane, self._buffer, [])
        else:
            if self._buffer:
                data, self._buffer = self._buffer, b""
                self._body(lane, data)
            if self._state == _BODY:
                self._wait()

    def _body(self, lane: Lane, data: bytes) -> None:
        left = self._left
        if left > len(data):
            self._left = left - len(data)
            lane.response_data(data)
        elif left >= 0:
            lane.response_data(data[:left] if len(data) > left else data)
            self._end(lane, data[left:], [])
        elif left == UNTIL_CLOSE:
            lane.response_data(data)
        else:
            self._chunked_body(lane, data)

    def _chunked_body(self, lane: Lane, data: bytes) -> None:
        decoder = cast("ChunkedDecoder", self._decoder)
        payload = decoder.decode(data)
        if payload:
            lane.response_data(payload)
        if decoder.is_malformed:
            self._fail(faults.MALFORMED_RESPONSE_BODY)
        elif decoder.is_done:
            self._decoder = None
            self._end(lane, decoder.rest, decoder.trailers)

    def _end(self, lane: Lane, rest: bytes, trailers: list[tuple[bytes, bytes]]) -> None:
        """The answer is whole: the connection goes back to its pool, if nothing speaks against it."""
        if self.lane is not lane:  # the lane let go of it while it was told of the last bytes
            return
        self.lane = None
        self._buffer = b""
        standing = self.address.standing
        if standing.failures:
            standing.answered()
        if rest or self._will_close or self.is_write_paused or not self._is_request_sent:
            self.close()
        else:
            if self._is_read_paused:
                self.resume_reading()
            self._state = _IDLE
            self.address.release(self)
        lane.response_end(trailers)

    def _fail(self, fault: Fault) -> None:
        self.address.failed()
        if self.lane is not None:
            self._break_off(self.lane, fault)
        else:
            self.close()

    def _break_off(self, lane: Lane, fault: Fault) -> None:
        self.close()
        lane.upstream_failed(fault)
