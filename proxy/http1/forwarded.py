"""Who the client is, through trusted hops, and what the upstream is told of the way (X-Forwarded-*, Via).

A hop is believed only while the address it came from is trusted; the walk goes right to left. What an
untrusted peer claims in X-Forwarded-*, X-Real-IP and Forwarded never reaches the upstream; Via is appended
to, never dropped (RFC 9110 section 7.6.3). Knows nothing of sockets or time.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.http1.addresses import parsed
from proxy.http1.headers import CLAIM_PREFIX

if TYPE_CHECKING:
    from proxy.http1.addresses import Networks
    from proxy.http1.head import RequestHead

HOPS_MAX = 32  # hops walked at most: a longer list is a flood

_OWN = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"))
_UNKNOWN = b"unknown"  # RFC 7239 section 6.2: a peer on a Unix socket has no address


def client_address(head: RequestHead, peer: str, trust: Networks) -> str:
    """The address that is charged: the first, from the right, that no trusted hop vouches for."""
    if not trust.covers(peer):
        return peer
    field = head.fields.get(b"x-forwarded-for")
    if field is None:
        return peer
    client = peer
    for hop in reversed(field.decode("latin-1").split(",")[-HOPS_MAX:]):
        address = bare_address(hop.strip())
        if not address:
            break
        client = address
        if not trust.covers(address):
            break
    return client


def bare_address(hop: str) -> str:
    """The address within `1.2.3.4:567` or `[2001:db8::1]:567`, in its one spelling; empty if it is none."""
    if hop.startswith("["):
        hop, bracket, port = hop[1:].partition("]")
        if not bracket or (port and not port.startswith(":")):
            return ""
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    address = parsed(hop)
    return str(address) if address is not None else ""


def forwarded_lines(head: RequestHead, peer: str, scheme: bytes, *, is_trusted: bool) -> bytes:
    """Via and X-Forwarded-* of the request to the server."""
    fields = head.fields
    via = fields.get(b"via")
    hop = b"1.%d weir" % head.minor
    address = peer.encode() or _UNKNOWN
    host = fields.get(b"host", b"")
    proto = scheme
    others = b""
    if is_trusted:
        before = fields.get(b"x-forwarded-for")
        address = b"%b, %b" % (before, address) if before else address
        proto = fields.get(b"x-forwarded-proto", scheme)
        host = fields.get(b"x-forwarded-host", host)
        others = b"".join(
            [b"%b: %b\r\n" % header for header in head.headers if _passes_on(header[0].lower())]
        )
    return b"Via: %b\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n%b" % (
        b"%b, %b" % (via, hop) if via else hop,
        address,
        proto,
        host,
        others,
    )


def _passes_on(name: bytes) -> bool:
    """Whether it is a trusted peer's claim that is not written anew; underscores are never trusted."""
    if name in _OWN or b"_" in name:
        return False
    return name.startswith(CLAIM_PREFIX) or name == b"x-real-ip"
