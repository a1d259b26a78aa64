"""Addresses of clients: which of them share a bucket, and which networks they are in.

An IPv6 client is its /64, or what `forwarded.ipv6_prefix` says, since one subscriber gets at least that much
(RFC 6177); an IPv4 address within IPv6, mapped or by NAT64 (RFC 6052), is the IPv4 address; zone ids are
dropped. What is no address (the peer of a Unix socket) stands for itself. Parsing costs 2 to 4 us, so both
answers are remembered for a bounded number of clients.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

CLIENTS_KNOWN = 4096  # 1 MiB at most: clients active at the same moment, not all there are

IPV6_PREFIX = 64
_NAT64 = IPv6Network("64:ff9b::/96")
# One byte of family, so that no text can pass for an address.
_V4, _V6, _TEXT = b"4", b"6", b"="


def parsed(client: str) -> IPv4Address | IPv6Address | None:
    """The address, IPv4 where it is IPv4 within IPv6; None if it is no address."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return None
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


@lru_cache(CLIENTS_KNOWN)
def partition_of(client: str, ipv6_prefix: int = IPV6_PREFIX) -> bytes:
    """What clients that share a bucket have in common."""
    packed = _four_bytes(client)
    if packed:
        return _V4 + packed
    address = parsed(client)
    if address is None:
        return _TEXT + client.encode("utf-8", "surrogatepass")
    if isinstance(address, IPv4Address):
        return _V4 + address.packed
    if address in _NAT64:
        return _V4 + address.packed[-4:]
    shift = 128 - ipv6_prefix
    return _V6 + (int(address) >> shift << shift).to_bytes(16)[: (ipv6_prefix + 7) // 8]


def _four_bytes(text: str) -> bytes:
    """Of an IPv4 address as nearly all are written; empty where it takes a closer look."""
    parts = text.split(".")
    if len(parts) != 4 or not text.isascii():
        return b""
    numbers = []
    for part in parts:
        if not part.isdigit() or len(part) > 3 or (part[0] == "0" and len(part) > 1):
            return b""
        number = int(part)
        if number > 255:
            return b""
        numbers.append(number)
    return bytes(numbers)


def address_texts(client: str, ipv6_prefix: int = IPV6_PREFIX) -> list[bytes]:
    """How an operator writes a client: the address, and for IPv6 also the network that shares its bucket."""
    address = parsed(client)
    if address is None:
        return [client.encode("utf-8", "surrogatepass")]
    texts = [str(address)]
    if isinstance(address, IPv6Address):
        texts.append(str(IPv6Network((address, ipv6_prefix), strict=False)))
    return [text.encode() for text in texts]


class Networks:
    """A set of networks that remembers whom it was asked about."""

    __slots__ = ("_has_unix", "_known", "_networks")

    def __init__(self, networks: Sequence[IPv4Network | IPv6Network | str]) -> None:
        """Text among them stands for peers on Unix sockets, who have no address."""
        self._networks = tuple([each for each in networks if not isinstance(each, str)])
        self._has_unix = len(self._networks) < len(networks)
        self._known: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return self._has_unix or bool(self._networks)

    def covers(self, client: str) -> bool:
        if not client:
            return self._has_unix
        if not self._networks:
            return False
        known = self._known.get(client)
        if known is None:
            if len(self._known) >= CLIENTS_KNOWN:
                self._known.clear()
            address = parsed(client)
            known = address is not None and any(address in network for network in self._networks)
            self._known[client] = known
        return known
