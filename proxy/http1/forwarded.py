"""Who the client is, through trusted hops, and what the upstream is told of the way (Via, X-Forwarded-*).

A hop is believed only while the address it came from is trusted; the walk goes right to left. What an
untrusted peer claims in X-Forwarded-*, X-Real-IP and Forwarded never reaches the upstream; Via is appended
to, never dropped (RFC 9110 section 7.6.3). Knows nothing of sockets or time.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Final

from proxy.clients.networks import CLIENTS_KNOWN, parsed
from proxy.config.names import CLAIM_PREFIX
from proxy.http1 import forwarded_field

if TYPE_CHECKING:
    from proxy.clients.networks import Networks
    from proxy.http1.head import RequestHead

# The fields in which hops can say who their peer is; one of them is believed and written.
X_FORWARDED_FOR: Final = b"x-forwarded-for"
FORWARDED: Final = b"forwarded"

HOPS_MAX = 32  # hops walked at most: a longer list is a flood

_CLAIM_PREFIX: Final = CLAIM_PREFIX.encode()
_OWN = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"))
_UNKNOWN = b"unknown"  # RFC 7239 section 6.2: a peer on a Unix socket has no address


def client_address(head: RequestHead, peer: str, trust: Networks, told_by: bytes = X_FORWARDED_FOR) -> str:
    """The address that is charged: the first, from the right, that no trusted hop vouches for."""
    if not trust.covers(peer):
        return peer
    client = peer
    for hop in reversed(hops(head, told_by)[-HOPS_MAX:]):
        address = bare_address(hop)
        if not address:
            break
        client = address
        if not trust.covers(address):
            break
    return client


def hops(head: RequestHead, told_by: bytes) -> list[str]:
    """What the hops wrote into the field that is believed."""
    value = head.fields.get(told_by)
    if value is None:
        return []
    if told_by == FORWARDED:
        return forwarded_field.hops(value)
    return [hop.strip() for hop in value.decode("latin-1").split(",")]


@lru_cache(CLIENTS_KNOWN)
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


def way_lines(
    head: RequestHead, peer: str, scheme: bytes, told_by: bytes = X_FORWARDED_FOR, *, is_trusted: bool
) -> bytes:
    """What the server is told of the way: Via, and X-Forwarded-* or Forwarded."""
    via = head.fields.get(b"via")
    hop = b"1.%d weir" % head.minor
    write = _forwarded_lines if told_by == FORWARDED else _x_forwarded_lines
    return b"Via: %b\r\n%b" % (
        b"%b, %b" % (via, hop) if via else hop,
        write(head, peer, scheme, is_trusted=is_trusted),
    )


@lru_cache(CLIENTS_KNOWN)
def strangers_way(peer: str, scheme: bytes) -> bytes:
    """The same for every request of a peer that is not trusted: all but X-Forwarded-Host."""
    address = peer.encode() or _UNKNOWN
    return b"Via: 1.1 weir\r\nX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n" % (address, scheme)


def _forwarded_lines(head: RequestHead, peer: str, scheme: bytes, *, is_trusted: bool) -> bytes:
    """What trusted hops said stays, with our own element behind it."""
    before = head.fields.get(FORWARDED, b"") if is_trusted else b""
    own = forwarded_field.element(peer, head.fields.get(b"host", b""), scheme)
    return b"Forwarded: %b\r\n" % (b"%b, %b" % (before, own) if forwarded_field.hops(before) else own)


def _x_forwarded_lines(head: RequestHead, peer: str, scheme: bytes, *, is_trusted: bool) -> bytes:
    fields = head.fields
    address = peer.encode() or _UNKNOWN
    host = fields.get(b"host", b"")
    proto = scheme
    others = b""
    if is_trusted:
        before = fields.get(b"x-forwarded-for")
        address = b"%b, %b" % (before, address) if before else address
        proto = fields.get(b"x-forwarded-proto", scheme)
        host = fields.get(b"x-forwarded-host", host)
        others = b"".join([line.data for line in head.section.lines if _passes_on(line.name)])
    return b"X-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n%b" % (
        address,
        proto,
        host,
        others,
    )


def _passes_on(name: bytes) -> bool:
    """Whether it is a trusted peer's claim that is not written anew; underscores are never trusted."""
    if name in _OWN or b"_" in name:
        return False
    return name.startswith(_CLAIM_PREFIX) or name == b"x-real-ip"
