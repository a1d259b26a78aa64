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
_MAPPED = IPv6Network("::ffff:0:0/96")
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
    within = _within(address)
    if within is not None:
        return _V4 + within.packed
    shift = 128 - ipv6_prefix
    return _V6 + (int(address) >> shift << shift).to_bytes(16)[: (ipv6_prefix + 7) // 8]


def _within(address: IPv4Address | IPv6Address) -> IPv4Address | None:
    """The IPv4 address that a NAT64 speaks for."""
    is_it = isinstance(address, IPv6Address) and address in _NAT64
    return IPv4Address(address.packed[-4:]) if is_it else None


def _four_bytes(text: str) -> bytes:
    """The bytes of an IPv4 address as nearly all are written; empty where it takes a closer look."""
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
    address = _within(address) or address  # one bucket has one name
    texts = [str(address)]
    if isinstance(address, IPv6Address):
        texts.append(str(IPv6Network((address, ipv6_prefix), strict=False)))
    return [text.encode() for text in texts]


class Networks:
    """A set of networks that remembers whom it was asked about."""

    __slots__ = ("_has_unix", "_is_strict", "_known", "_networks")

    def __init__(
        self, networks: Sequence[IPv4Network | IPv6Network | str], *, is_strict: bool = False
    ) -> None:
        """Text among them stands for peers on Unix sockets, who have no address.

        Strictly, who comes by NAT64 is in no IPv4 network: an address of trust is one that nobody speaks for.
        """
        self._networks = tuple([_unmapped(each) for each in networks if not isinstance(each, str)])
        self._has_unix = len(self._networks) < len(networks)
        self._is_strict = is_strict
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
            known = address is not None and self._has(address)
            self._known[client] = known
        return known

    def _has(self, address: IPv4Address | IPv6Address) -> bool:
        if any(address in network for network in self._networks):
            return True
        within = None if self._is_strict else _within(address)
        return within is not None and self._has(within)


def _unmapped(network: IPv4Network | IPv6Network) -> IPv4Network | IPv6Network:
    """IPv4 where it is written as IPv4 within IPv6 (`::ffff:10.0.0.0/104`)."""
    if isinstance(network, IPv6Network) and network.prefixlen >= _MAPPED.prefixlen:
        mapped = network.network_address.ipv4_mapped
        if mapped is not None:
            return IPv4Network((mapped, network.prefixlen - _MAPPED.prefixlen))
    return network
