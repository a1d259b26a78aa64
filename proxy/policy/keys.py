"""Partition keys: who is charged. The first entry of a limit's list that the request has gives the key.

What leaves this file is a keyed hash (BLAKE2b, 16 bytes): no credential is stored, logged or sent to Redis. A bucket's key
depends on the limit's name, the entry and the value only, so it stays when limits are added or reordered. A claim of a
JWT is read, not verified: docs/limits.md says when that is safe. Knows nothing of stores.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode
from hashlib import blake2b
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.config.settings import KeySpec

DIGEST_BYTES = 16  # a collision among 10^9 clients: 1 in 10^21
JWT_BYTES = 8 * 1024  # a longer token is no key
_BUILT_IN_SECRET = b"weir partition keys"
_NOBODY = b"none"


class Keyed(Protocol):
    """What of a request can be a key."""

    fields: dict[bytes, bytes]


class PartitionKey:
    """The compiled key of one limit."""

    __slots__ = ("_entries", "_hash", "header_names")

    def __init__(self, limit: str, specs: Sequence[KeySpec], secret: bytes) -> None:
        self._entries = tuple((spec.kind, spec.name, spec.name.lower().encode()) for spec in specs)
        self.header_names = frozenset(spec.name.lower().encode() for spec in specs if spec.kind == "header")
        if any(spec.kind == "jwt" for spec in specs):
            self.header_names |= {b"authorization"}
        self._hash = blake2b(key=(secret or _BUILT_IN_SECRET)[:64], digest_size=DIGEST_BYTES)
        self._hash.update(limit.encode() + b"\0")

    def of(self, fields: Mapping[bytes, bytes], client: str) -> bytes:
        """The hash of whoever is charged."""
        for kind, name, lower in self._entries:
            value = _value(kind, name, lower, fields, client)
            if value:
                return self._hashed(
                    b"%b:%b\0%b" % (kind.encode(), lower if kind != "jwt" else name.encode(), value)
                )
        return self._hashed(_NOBODY)

    def _hashed(self, value: bytes) -> bytes:
        state = self._hash.copy()
        state.update(value)
        return state.digest()


def _value(kind: str, name: str, lower: bytes, fields: Mapping[bytes, bytes], client: str) -> bytes:
    """The entry's value in this request; empty if it has none."""
    if kind == "header":
        value = fields.get(lower, b"").strip(b" \t")
        return _credential(value) if lower == b"authorization" else value
    if kind == "client-ip":
        return network_of(client).encode()
    if kind == "cookie":
        return _cookie(fields.get(b"cookie", b""), name.encode())
    if kind == "jwt":
        return _claim(fields.get(b"authorization", b""), name)
    return b"const"


def _credential(value: bytes) -> bytes:
    """`Bearer X` and `bearer  X` are one user (RFC 9110 section 11.1: the scheme is case-insensitive)."""
    scheme, _, rest = value.partition(b" ")
    return b"%b %b" % (scheme.lower(), rest.strip(b" \t")) if rest else value


def network_of(client: str) -> str:
    """The address, or for IPv6 its /64: one customer has at least that many addresses (RFC 6177)."""
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return client  # a Unix socket
    if not isinstance(address, IPv6Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(IPv6Address(int(address) >> 64 << 64))


def _cookie(field: bytes, name: bytes) -> bytes:
    """The first cookie of that name (RFC 6265 section 5.4: servers see them in order)."""
    for pair in field.split(b";"):
        key, equals, value = pair.strip(b" \t").partition(b"=")
        if equals and key.rstrip(b" \t") == name:
            return value.strip(b' \t"')
    return b""


def _claim(authorization: bytes, claim: str) -> bytes:
    """A claim of a bearer token's payload (RFC 7519); anything malformed is no claim."""
    scheme, _, token = authorization.strip(b" \t").partition(b" ")
    parts = token.strip(b" \t").split(b".")
    if scheme.lower() != b"bearer" or len(parts) != 3 or len(token) > JWT_BYTES:
        return b""
    try:
        payload = json.loads(urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except (ValueError, RecursionError):
        return b""
    value = payload.get(claim) if isinstance(payload, dict) else None
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value).encode("utf-8", "surrogatepass")
    return b""
