"""Which fields pass through and which do not: hop-by-hop (RFC 9110, 7.6.1), forwarded, ambiguous names.

Gives the header lines of the message to send; fields that pass keep case, order, value and duplicates. Knows
nothing of sockets, limits or redaction: what else to drop and to add comes in as arguments.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.config.names import CLAIM_PREFIX, CLAIMS
from proxy.http1.framing import listed
from proxy.http1.lines import CONNECTS, DATED, FRAMES, RESTS, STAYS, TRACES, LineMemory

if TYPE_CHECKING:
    from proxy.http1.head import RequestHead, ResponseHead

# For one connection only, named by Connection or not. HTTP2-Settings goes with an upgrade never offered.
HOP_BY_HOP = frozenset(
    b"connection http2-settings keep-alive proxy-connection proxy-authenticate proxy-authorization te "
    b"transfer-encoding upgrade".split()
)

# What Connection may not remove: end-to-end fields whose loss would change the meaning (or lift a limit).
_NOT_NAMEABLE = frozenset(
    b"accept access-control-request-headers access-control-request-method authorization content-encoding "
    b"content-length content-range content-type cookie host if-match if-modified-since if-none-match "
    b"if-range if-unmodified-since origin range x-auth-token".split()
)

# Written anew for every request.
_OWN = frozenset(b"via x-request-id host expect".split())

# Who the client is and how it came here, as proxies write it: a stranger must not claim it (forwarded.py).
_CLAIMS = frozenset(name.encode() for name in CLAIMS)

# Trace Context: without a valid parent the state means nothing.
_TRACE = frozenset(b"traceparent tracestate".split())

REQUEST_DROPS = HOP_BY_HOP | _OWN | _CLAIMS
RESPONSE_DROPS = HOP_BY_HOP | {b"x-request-id"}
_LIMIT_FIELDS = frozenset(
    b"ratelimit ratelimit-policy x-ratelimit-limit x-ratelimit-remaining x-ratelimit-reset".split()
)
RESPONSE_DROPS_LIMITED = RESPONSE_DROPS | _LIMIT_FIELDS


def _marks(drops: frozenset[bytes]) -> dict[bytes, int]:
    """What lines of a name are to be looked at for (`lines`); most for nothing."""
    said_of_all = {b"content-length": FRAMES, b"transfer-encoding": FRAMES}
    said_of_all |= {b"connection": CONNECTS, b"te": CONNECTS, b"date": DATED, b"keep-alive": RESTS}
    return {
        name: (STAYS if name in drops else 0) | said_of_all.get(name, TRACES if name in _TRACE else 0)
        for name in drops.union(said_of_all, _TRACE)
    }


REQUEST_LINES: Final = LineMemory(_marks(REQUEST_DROPS), CLAIM_PREFIX.encode())
RESPONSE_LINES: Final = LineMemory(_marks(RESPONSE_DROPS))


def request_lines(
    head: RequestHead, *, is_traced: bool = True, kept: frozenset[bytes] = frozenset()
) -> bytes:
    """The request's own header lines that go to the server; `is_traced`: its trace context among them.

    `kept` are names that Connection does not remove. Where no line has a mark of CONNECTS or TRACES that is
    `section.passing`.
    """
    section = head.section
    stays = STAYS if is_traced else STAYS | TRACES
    named = named_by(section.fields.get(b"connection", b"")) - kept
    lines = [line.data for line in section.lines if not line.marks & stays and line.name not in named]
    if b"trailers" in listed(section.fields.get(b"te", b"")):
        lines.append(b"TE: trailers\r\nConnection: TE\r\n")
    return b"".join(lines)


def response_lines(head: ResponseHead, drops: frozenset[bytes] = RESPONSE_DROPS) -> bytes:
    """The response's own header lines that go to the client.

    Where no line has a mark of CONNECTS, and with the usual `drops`, that is `head.passing`.
    """
    drops |= named_by(head.lowered.get(b"connection", b""))
    return b"".join([line.data for line in head.lines if line.name not in drops])


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


def upgrade_lines(head: ResponseHead) -> bytes:
    """What stays of a 426, the one final answer that must say which protocol is asked for (RFC 9110 section
    15.5.22).
    """
    upgrade = head.fields.get(b"upgrade")
    return b"" if upgrade is None else b"Upgrade: %b\r\nConnection: Upgrade\r\n" % upgrade
