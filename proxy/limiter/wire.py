"""A connection to Redis: calls go out without waiting, replies come back in their order.

redis-py makes the connection (TCP, TLS or Unix socket, HELLO, AUTH, SELECT); then its transport is handed
to a protocol of ours that feeds hiredis: a check costs a third of redis-py's own way
(docs/decisions/0005-redis-connections.md). What comes is bounded (reply_bounds.py). Knows nothing of scripts,
breakers or time.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

import hiredis

from proxy.limiter.reply_bounds import OF_NUMBERS, RETURN, Bounds

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.limiter.dialler import Opened
    from proxy.limiter.link import Link

_INCOMPLETE = object()  # not hiredis's own False, which is also a reply of RESP3
_PUSH: type = getattr(hiredis, "PushNotification", type(None))  # RESP3: nobody's answer

_log = logging.getLogger("weir.store")


class Call(Protocol):
    """Something that was asked of Redis."""

    deadline: float  # monotonic, in seconds

    def replied(self, reply: Any, link: Link) -> None: ...

    def failed(self) -> None: ...


class Wire(asyncio.Protocol):
    """`calls` are those without a reply, oldest first; each is told of which link its reply is.

    `lost` is called once, unless `close` came before; with what the server said at last, if that was an
    error.
    """

    __slots__ = (
        "_bounds",
        "_close",
        "_is_closed",
        "_is_partial",
        "_link",
        "_lost",
        "_reader",
        "_transport",
        "calls",
    )

    def __init__(self, opened: Opened, link: Link, lost: Callable[[Exception | None], None]) -> None:
        self.calls: deque[Call] = deque()
        self._link = link
        self._lost: Callable[[Exception | None], None] | None = lost
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        self._bounds = Bounds()
        self._is_partial = False  # a reply has begun and not ended
        self._is_closed = False
        self._transport, self._close = opened
        self._transport.set_protocol(self)

    def send(self, data: bytes, call: Call) -> None:
        self.calls.append(call)
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        """A plain piece is one list of numbers, as nearly all are: seen here in 0.2 us, judged it takes 2."""
        is_plain = not self._is_partial and data.translate(None, OF_NUMBERS) == b"*" and RETURN in data[:6]
        if not is_plain and self._bounds.are_broken(data):
            self._end()
            return
        reader, calls = self._reader, self.calls
        reader.feed(data)
        is_whole = False
        try:
            while (reply := reader.gets()) is not _INCOMPLETE:
                is_whole = True
                if type(reply) is _PUSH:
                    continue
                if not calls:  # a reply to nothing: the order is lost
                    self._end(reply)
                    return
                call = calls.popleft()
                try:
                    call.replied(reply, self._link)
                except Exception:  # noqa: BLE001 - a mistake of ours must not leave the call without an end
                    _log.exception("crashed")
                    call.failed()
        except hiredis.ProtocolError:  # not RESP
            self._end()
            return
        if not is_plain:
            self._is_partial = reader.has_data()
            if not self._is_partial:
                self._bounds.replied()
        elif not is_whole:
            self._is_partial = True
            self._bounds.began(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self._end()

    def close(self) -> None:
        """Drops the connection; what is still unanswered stays in `calls`."""
        self._lost = None
        if not self._is_closed:
            self._is_closed = True
            self._transport.abort()
            self._close()

    def _end(self, said: Any = None) -> None:
        lost = self._lost
        self.close()
        if lost is not None:
            lost(said if isinstance(said, Exception) else None)
