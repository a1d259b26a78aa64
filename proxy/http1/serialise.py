"""Heads as bytes: what Weir writes that did not come from the other side. Knows nothing of sockets."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from proxy.http1.headers import HOP_BY_HOP, response_lines

if TYPE_CHECKING:
    from proxy.http1.head import ResponseHead

REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
STATUS_LINES = {status: b"HTTP/1.1 %d %b\r\n" % (status, reason) for status, reason in REASONS.items()}

_SWITCHING_DROPS = HOP_BY_HOP | {b"content-length"}  # RFC 9110 section 8.6: a 1xx has no body


def status_line(status: int) -> bytes:
    """The status line with the standard reason phrase (none for an unknown status)."""
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status


def connection_line(minor: int, *, keep: bool) -> bytes:
    """The Connection field of a response to a request of HTTP/1.`minor`, and the empty line behind it."""
    if not keep:
        return b"Connection: close\r\n\r\n"
    return b"\r\n" if minor == 1 else b"Connection: keep-alive\r\n\r\n"


def interim_head(status: int, lines: bytes) -> bytes:
    """A 1xx response as it goes on to the client, with these header lines."""
    return b"%b%b\r\n" % (status_line(status), lines)


def switching_head(head: ResponseHead, request_id: str) -> bytes:
    """101 Switching Protocols: the one response whose Connection and Upgrade are kept."""
    upgrade = head.fields.get(b"upgrade", b"")
    return b"HTTP/1.1 101 %b\r\n%bConnection: Upgrade\r\nUpgrade: %b\r\nX-Request-Id: %b\r\n\r\n" % (
        head.reason,
        response_lines(head, _SWITCHING_DROPS | {b"x-request-id"}),
        upgrade,
        request_id.encode(),
    )
