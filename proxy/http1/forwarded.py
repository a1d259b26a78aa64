"""Who the client is, through trusted hops, and what the upstream is told of the way (X-Forwarded-*, Via, RFC 9110 7.6.3).

A hop is believed only while the address it came from is trusted; the walk goes right to left. What an untrusted peer
sent of X-Forwarded-* and Forwarded never reaches the upstream. Knows nothing of sockets or time.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.http1.head import RequestHead

HOPS_MAX = 32  # hops walked at most: a longer list is a flood


class Trust:
    """The networks whose word on forwarded fields is taken."""

    __slots__ = ("_known", "_networks")

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network]) -> None:
        self._networks = tuple(networks)
        self._known: dict[str, bool] = {}  # peers judged before: proxies in front are few

    def covers(self, address: str) -> bool:
        if not self._networks:
            return False
        known = self._known.get(address)
        if known is None:
            known = self._judge(address)
            if len(self._known) < 4096:
                self._known[address] = known
        return known

    def _judge(self, address: str) -> bool:
        try:
            parsed = ip_address(address.partition("%")[0])
        except ValueError:
            return False
        mapped = getattr(parsed, "ipv4_mapped", None)
        return any((mapped or parsed) in network for network in self._networks)


def client_address(head: RequestHead, peer: str, trust: Trust) -> str:
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
    """The address within `1.2.3.4:567` or `[2001:db8::1]:567`; empty if it is none."""
    if hop.startswith("["):
        hop = hop[1:].partition("]")[0]
    elif hop.count(":") == 1:
        hop = hop.partition(":")[0]
    try:
        return str(ip_address(hop.partition("%")[0]))
    except ValueError:
        return ""


def forwarded_lines(head: RequestHead, peer: str, scheme: bytes, *, is_trusted: bool) -> bytes:
    """Via, X-Forwarded-For, -Proto and -Host of the request to the server."""
    fields = head.fields
    via = fields.get(b"via")
    hop = b"1.%d weir" % head.minor
    via_line = b"Via: %b, %b\r\n" % (via, hop) if via else b"Via: %b\r\n" % hop
    address = peer.encode()
    host = fields.get(b"host", b"")
    if not is_trusted:
        return b"%bX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (via_line, address, scheme, host)
    before = fields.get(b"x-forwarded-for")
    return b"%bX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\nX-Forwarded-Host: %b\r\n" % (
        via_line,
        b"%b, %b" % (before, address) if before else address,
        fields.get(b"x-forwarded-proto", scheme),
        fields.get(b"x-forwarded-host", host),
    )
