"""A connection to Redis: calls go out without waiting, replies come back in their order.

redis-py makes the connection (TCP, TLS or Unix socket, HELLO, AUTH, SELECT); then its transport is handed
to a protocol of ours that feeds hiredis: a check costs a third of redis-py's own way
(docs/decisions/0005-redis-connections.md). Knows nothing of scripts, breakers or time.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol, cast

import hiredis

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio.connection import AbstractConnection

_INCOMPLETE = object()  # not hiredis's own False, which is also a reply of RESP3
_PUSH: type = getattr(hiredis, "PushNotification", type(None))  # RESP3: nobody's answer


class Call(Protocol):
    """Something that was asked of Redis."""

    deadline: float  # monotonic, in seconds

    def replied(self, reply: Any) -> None: ...


class Wire(asyncio.Protocol):
    """`calls` are those without a reply, oldest first. `lost` is called once, unless `close` came before."""

    __slots__ = ("_connection", "_lost", "_reader", "_transport", "calls")

    def __init__(self, connection: AbstractConnection, lost: Callable[[], None]) -> None:
        """Takes over a connection that is connected."""
        self.calls: deque[Call] = deque()
        self._connection = connection  # kept: its stream writer closes the transport when it goes
        self._lost: Callable[[], None] | None = lost
        self._reader = hiredis.Reader(notEnoughData=_INCOMPLETE)
        writer = connection._writer  # noqa: SLF001 - there is no public way to it
        assert writer is not None
        self._transport = cast("asyncio.Transport", writer.transport)
        self._transport.set_protocol(self)

    def send(self, data: bytes, call: Call) -> None:
        self.calls.append(call)
        self._transport.write(data)

    def data_received(self, data: bytes) -> None:
        reader, calls = self._reader, self.calls
        try:
            reader.feed(data)
            while (reply := reader.gets()) is not _INCOMPLETE:
                if type(reply) is _PUSH:
                    continue
                if not calls:  # a reply to nothing: the order is lost
                    self._end()
                    return
                calls.popleft().replied(reply)
        except hiredis.ProtocolError:  # not RESP
            self._end()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self._end()

    def close(self) -> None:
        """Drops the connection; what is still unanswered stays in `calls`."""
        self._lost = None
        self._transport.abort()
        self._connection._close()  # type: ignore[no-untyped-call]  # noqa: SLF001 - the only one that needs no task

    def _end(self) -> None:
        lost = self._lost
        self.close()
        if lost is not None:
            lost()
