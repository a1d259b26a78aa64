"""An answer whose connection is no more: what had come is heard out, then the exchange learns of the end.

Knows nothing of what an answer means.
"""

from __future__ import annotations

import asyncio
import os
import ssl
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.net.states import BODY_DUE, HEAD_DUE
from proxy.paced import RECORDS, Paced

if TYPE_CHECKING:
    from proxy.net.upstream import Attempt, UpstreamConnection

LAST_BYTES: Final = 1024 * 1024  # read of a connection that broke; an early answer is a head and some text
READ_BYTES: Final = 64 * 1024


def hear_out(upstream: UpstreamConnection, attempt: Attempt) -> None:
    """What has come is read, in turns, before the connection has ended."""
    remains = attempt.remains
    if attempt.is_client_slow and (attempt.backlog or remains is not None):
        return
    if attempt.backlog:
        upstream.take_turn(attempt)
    elif remains is not None and (said := remains.read()):
        upstream.data_received(said)
        if upstream.attempt is attempt and not attempt.backlog:
            asyncio.get_running_loop().call_soon(upstream.take_turn, attempt)
    else:
        ended(upstream, is_clean=attempt.is_clean or (remains is not None and remains.is_clean))


def ended(upstream: UpstreamConnection, *, is_clean: bool) -> None:
    """Nothing more will come."""
    attempt = upstream.attempt
    upstream.close()
    if attempt is None:
        return
    exchange, address = attempt.exchange, upstream.address
    if attempt.state == HEAD_DUE and upstream.is_reused and not attempt.has_answered:
        address.met_stale(upstream)
        exchange.upstream_failed(upstream, faults.STALE_CONNECTION)
    elif attempt.state == HEAD_DUE:
        address.failed()
        fault = faults.HEAD_CUT if attempt.has_answered else faults.CONNECTION_LOST
        exchange.upstream_failed(upstream, fault)
    elif is_clean and attempt.body is not None and attempt.body.ends_with_connection:
        address.standing.answered()
        exchange.response_end([])
    else:
        if attempt.state == BODY_DUE and attempt.is_request_sent:  # else it has answered early: no failure
            address.failed()
        exchange.upstream_failed(upstream, faults.TRUNCATED)


class Secured(Paced):
    """TLS of a connection to a server, which can still be read when the loop has let go of it."""

    incoming: ssl.MemoryBIO


class LastWords:
    """What a server said before its connection was no more, as far as the loop has not read it.

    An early answer, a tunnel's farewell: the loop closes at the first write that fails, with all that lies
    unread, and the socket still gives it. Over TLS it closes at the end of the other side too, with all that
    is not deciphered.
    """

    __slots__ = ("_fd", "_raw", "_secured", "is_clean")

    def __init__(self, transport: asyncio.Transport, *, is_open: bool = True) -> None:
        """Costs a descriptor over TLS, where the loop closes its own before it tells of the end.

        `is_open`: it has not closed it yet.
        """
        sock = transport.get_extra_info("socket")
        secured = transport.get_extra_info("ssl_object")
        self.is_clean = False  # they have ended cleanly, once all are read
        self._secured = secured if isinstance(secured, Secured) else None
        self._raw = b""
        fd = sock.fileno() if sock is not None and is_open else -1
        self._fd = fd if self._secured is None else _duplicate(fd)

    def begin(self, error: Exception | None) -> None:
        """The connection is no more, by an error of ours, or by its end."""
        raw = _unread(self._fd) if error is not None and self._fd >= 0 else b""
        if self._secured is not None:
            if raw:
                self._secured.incoming.write(raw)
        else:
            # tcp(7): a write fails with EPIPE if an end came before the reset, with ECONNRESET if none did.
            self._raw, self.is_clean = raw, isinstance(error, BrokenPipeError)

    def read(self) -> bytes:
        """Reads as much of them as one turn takes; nothing when all are read."""
        if self._secured is None:
            raw, self._raw = self._raw, b""
            return raw
        pieces: list[bytes] = []
        try:
            for _ in range(RECORDS):
                data = self._secured.read(READ_BYTES)
                if not data:  # close_notify
                    self.is_clean = True
                    break
                pieces.append(data)
        except ssl.SSLError:  # more would have to come
            pass
        return b"".join(pieces)

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
