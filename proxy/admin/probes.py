"""`admin.probes`: /healthz and /readyz alone, on a listener of their own, for a kubelet, which has no token.

Rules: one request a connection, five seconds for all of it, a head of 4 KiB; beyond the bound of connections
the oldest gives way, so that silent ones keep nobody out. It shares nothing with the admin plane but the
loop, and says nothing of Weir but the two answers.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from collections.abc import Callable

SECONDS = 5.0  # a kubelet waits 1 s if not told otherwise
HEAD_BYTES_MAX = 4096  # a kubelet's has 150
CONNECTIONS_MAX = 64

_PHRASES = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    431: "Request Header Fields Too Large",
    503: "Service Unavailable",
}
_HEAD_END = b"\r\n\r\n"


class Probes:
    """Makes the protocol of each connection; `is_ready` says each time whether new requests may come."""

    def __init__(self, is_ready: Callable[[], bool]) -> None:
        self.is_ready = is_ready
        self._open: dict[_Probe, None] = {}  # the oldest first

    def __call__(self) -> asyncio.Protocol:
        return _Probe(self)

    def enter(self, probe: _Probe) -> None:
        self._open[probe] = None
        while len(self._open) > CONNECTIONS_MAX:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.abort()

    def leave(self, probe: _Probe) -> None:
        self._open.pop(probe, None)

    def close(self) -> None:
        for probe in list(self._open):
            probe.abort()


class _Probe(asyncio.Protocol):
    __slots__ = ("_deadline", "_head", "_is_answered", "_probes", "_transport")

    def __init__(self, probes: Probes) -> None:
        self._probes = probes
        self._head = b""
        self._is_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's do not derive from it
        self._deadline = asyncio.get_running_loop().call_later(SECONDS, self.abort)
        self._probes.enter(self)

    def data_received(self, data: bytes) -> None:
        """What comes after the answer is dropped: left unread it would reset the connection under it."""
        if self._is_answered:
            return
        self._head += data
        if _HEAD_END in self._head:
            self._say(answer(self._head, is_ready=self._probes.is_ready))
        elif len(self._head) > HEAD_BYTES_MAX:
            self._say(_rendered(431))

    def _say(self, answer: bytes) -> None:
        self._is_answered = True
        self._head = b""
        self._transport.write(answer)
        self._transport.write_eof()  # the peer's own end, or the deadline, closes

    def connection_lost(self, _: Exception | None) -> None:
        self._deadline.cancel()
        self._probes.leave(self)

    def abort(self) -> None:
        self._transport.abort()


def answer(head: bytes, *, is_ready: Callable[[], bool]) -> bytes:
    """What is said to a request whose head is whole."""
    method, _, rest = head.partition(_HEAD_END[:2])[0].partition(b" ")
    target, _, version = rest.partition(b" ")
    if not method.isalpha() or version not in (b"HTTP/1.1", b"HTTP/1.0"):
        return _rendered(400)
    path = target.partition(b"?")[0]
    if path not in (b"/healthz", b"/readyz"):
        return _rendered(404)
    if method not in (b"GET", b"HEAD"):
        return _rendered(405, "Allow: GET, HEAD\r\n")
    status = 200 if path == b"/healthz" or is_ready() else 503
    return _rendered(status, is_body_sent=method == b"GET")


def _rendered(status: int, more: str = "", *, is_body_sent: bool = True) -> bytes:
    text = "ok" if status == 200 else _PHRASES[status].lower()
    head = (
        f"HTTP/1.1 {status} {_PHRASES[status]}\r\n"
        f"Content-Type: text/plain; charset=utf-8\r\nContent-Length: {len(text)}\r\n"
        f"Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n{more}Connection: close\r\n\r\n"
    )
    return (head + (text if is_body_sent else "")).encode()
