"""Which fields pass through and which do not: hop-by-hop (RFC 9110, 7.6.1), forwarded, ambiguous names.

Gives the header lines of the message to send; fields that pass keep case, order, value and duplicates. Knows
nothing of sockets, limits or redaction: what else to drop and to add comes in as arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.http1.framing import listed

if TYPE_CHECKING:
    from proxy.http1.head import RequestHead, ResponseHead

# For one connection only, named by Connection or not. HTTP2-Settings goes with an upgrade never offered.
HOP_BY_HOP = frozenset(
    b"connection http2-settings keep-alive proxy-connection proxy-authenticate proxy-authorization te "
    b"transfer-encoding upgrade".split()
)

# What Connection may not remove: end-to-end fields whose loss would change the meaning (or lift a limit).
_NOT_NAMEABLE = frozenset(
    b"authorization content-encoding content-length content-range content-type cookie host "
    b"x-auth-token".split()
)

# Written anew for every request.
_OWN = frozenset(b"via x-request-id host expect".split())

# Who the client is and how it came here, as proxies write it: a stranger must not claim it (forwarded.py).
_CLAIMS = frozenset(b"forwarded x-real-ip".split())
CLAIM_PREFIX = b"x-forwarded-"

REQUEST_DROPS = HOP_BY_HOP | _OWN | _CLAIMS
RESPONSE_DROPS = HOP_BY_HOP | {b"x-request-id"}
_BUT_CONNECTION = RESPONSE_DROPS - {b"connection"}
_KEEP_ALIVE = b"connection: keep-alive\r\n"
_LIMIT_FIELDS = frozenset(
    b"ratelimit ratelimit-policy x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset".split()
)
RESPONSE_DROPS_LIMITED = RESPONSE_DROPS | _LIMIT_FIELDS

_UNDERSCORE = 0x5F  # looked for by its number: that costs a tenth of `b"_" in name`


def request_lines(head: RequestHead, drops: frozenset[bytes] = REQUEST_DROPS) -> bytes:
    """The request's own header lines that go to the server."""
    connection = head.fields.get(b"connection")
    if connection is not None and connection != b"keep-alive":
        drops |= named_by(connection)
    lines = [
        b": ".join(header)
        for header in head.section.headers
        if (name := header[0].lower()) not in drops
        and not name.startswith(CLAIM_PREFIX)
        and _UNDERSCORE not in name
    ]
    te = head.fields.get(b"te")
    if te is not None and b"trailers" in listed(te):
        lines.append(b"TE: trailers\r\nConnection: TE")
    lines.append(b"")
    return b"\r\n".join(lines)


def response_lines(head: ResponseHead, drops: frozenset[bytes] = RESPONSE_DROPS) -> bytes:
    """The response's own header lines that go to the client: as they came, if nothing has to go."""
    lowered = head.lowered
    section = head.section
    if drops is RESPONSE_DROPS and _BUT_CONNECTION.isdisjoint(lowered):
        connection = lowered.get(b"connection")
        if connection is None:
            return section
        if connection == b"keep-alive":  # what nearly every server says, and means nothing in HTTP/1.1
            start = section.lower().find(_KEEP_ALIVE)
            if start == 0 or section[start - 2 : start] == b"\r\n":
                return section[:start] + section[start + len(_KEEP_ALIVE) :]
    connection = lowered.get(b"connection")
    if connection is not None and connection != b"keep-alive":
        drops |= named_by(connection)
    lines = [b": ".join(header) for header in head.headers if header[0].lower() not in drops]
    lines.append(b"")
    return b"\r\n".join(lines)


def named_by(connection: bytes) -> frozenset[bytes]:
    """The fields a Connection field makes hop-by-hop."""
    return frozenset(listed(connection)) - _NOT_NAMEABLE


def asks_upgrade(head: RequestHead) -> bytes:
    """The protocol the client wants to switch to (RFC 9110 section 7.8), or nothing.

    Another HTTP or TLS within a tunnel is never offered: nobody would judge the requests in there.
    """
    upgrade = head.fields.get(b"upgrade")
    if upgrade is None or head.minor == 0 or head.section.body_length:
        return b""
    if b"upgrade" not in listed(head.fields.get(b"connection", b"")):
        return b""
    return b"" if any(name.startswith((b"h2", b"http", b"tls")) for name in listed(upgrade)) else upgrade
