"""Which fields pass through and which do not: hop-by-hop (RFC 9110 section 7.6.1), forwarded, ambiguous names.

Gives the header lines of the message to send; fields that pass keep case, order, value and duplicates. Knows nothing of
sockets, limits or redaction: what else to drop and to add comes in as arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.http1.head import listed

if TYPE_CHECKING:
    from collections.abc import Container

    from proxy.http1.head import RequestHead, ResponseHead

# For one connection only, whether Connection names them or not.
HOP_BY_HOP = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te transfer-encoding upgrade".split()
)

# What Connection may not remove: end-to-end fields whose loss would change the meaning (or lift a limit).
_NOT_NAMEABLE = frozenset(b"host content-length content-type authorization x-auth-token cookie".split())

# Written anew for every request.
_OWN = frozenset(b"via x-forwarded-for x-forwarded-proto x-forwarded-host x-request-id host expect".split())

REQUEST_DROPS = HOP_BY_HOP | _OWN | {b"forwarded"}
RESPONSE_DROPS = HOP_BY_HOP | {b"x-request-id"}
_LIMIT_FIELDS = frozenset(b"ratelimit ratelimit-policy x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset".split())
RESPONSE_DROPS_LIMITED = RESPONSE_DROPS | _LIMIT_FIELDS


def request_lines(head: RequestHead, drops: frozenset[bytes] = REQUEST_DROPS, *, keep_underscores: bool = False) -> bytes:
    """The request's own header lines that go to the server."""
    connection = head.fields.get(b"connection")
    if connection is not None and connection != b"keep-alive":
        drops = drops | named_by(connection)
    lines = [
        b"%b: %b\r\n" % header
        for header in head.headers
        if (name := header[0].lower()) not in drops and (b"_" not in name or keep_underscores)
    ]
    if b"te" in head.fields and b"trailers" in listed(head.fields[b"te"]):
        lines.append(b"TE: trailers\r\nConnection: TE\r\n")
    return b"".join(lines)


def response_lines(head: ResponseHead, drops: Container[bytes]) -> bytes:
    """The response's own header lines that go to the client."""
    connection = head.fields.get(b"connection")
    if connection is not None and connection != b"keep-alive":
        named = named_by(connection)
        return b"".join(
            [b"%b: %b\r\n" % h for h in head.headers if (n := h[0].lower()) not in drops and n not in named]
        )
    return b"".join([b"%b: %b\r\n" % header for header in head.headers if header[0].lower() not in drops])


def named_by(connection: bytes) -> frozenset[bytes]:
    """The fields a Connection field makes hop-by-hop."""
    return frozenset(listed(connection)) - _NOT_NAMEABLE


def asks_upgrade(head: RequestHead) -> bytes:
    """The protocol the client wants to switch to (RFC 9110 section 7.8), or nothing. h2c is never offered."""
    upgrade = head.fields.get(b"upgrade")
    if upgrade is None or head.minor == 0 or head.body_length or b"upgrade" not in listed(head.fields.get(b"connection", b"")):
        return b""
    return b"" if b"h2c" in listed(upgrade) or b"upgrade" in (head.repeated or ()) else upgrade
