"""Partition keys: whose buckets a request is charged to.

A key is a keyed BLAKE2b of the kind of entry, its name and the value the request has for it, so that no
credential is ever stored, and it stays the same when limits or entries are added or reordered. Every entry of
the list that is present is charged, so that nothing is gained by sending a second credential; an address or
`const` only where nothing else is. If nothing at all is present, all such requests share one bucket, or none
is charged. Knows nothing of rates.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from proxy.clients.networks import IPV6_PREFIX
from proxy.config.key_names import CREDENTIALS, KeyPart, KeySpec
from proxy.policy.readings import (
    HOST,
    credential_field,
    field_of,
    is_of_section,
    judge_of,
    named_value,
    reader,
    texts_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.http1.head import RequestHead
    from proxy.policy.readings import Reader

KEY_BYTES = 16  # 2^64 keys until two are expected to meet


class Hasher(Protocol):
    def copy(self) -> Hasher: ...
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class KeyEntry:
    """One entry of a limit's key: a value that requests may carry, or several together."""

    __slots__ = ("_ipv6_prefix", "_parts", "_readers", "base", "credential", "field", "judge", "read", "spec")

    def __init__(self, spec: KeySpec, secret: bytes, ipv6_prefix: int) -> None:
        self.spec = spec
        self._ipv6_prefix = ipv6_prefix
        self._parts = sorted(spec.parts, key=lambda part: part.folded)  # in whatever order they are named
        self._readers = [reader(part, ipv6_prefix) for part in self._parts]
        # Which credential it reads: a claim is of the same one as the field. Empty if it reads none.
        self.credential = frozenset(
            "header:authorization" if part.kind == "jwt" else part.folded
            for part in spec.parts
            if part.kind in CREDENTIALS
        )
        self.base = _hasher_of(spec, secret)  # behind which its value is hashed
        self.read: Reader = self._readers[0] if len(spec.parts) == 1 else self._read_all
        # Nearly all are read from one field: known to be absent, or judged, without a further call.
        self.field = field_of(self._parts[0]) if len(spec.parts) == 1 else None
        self.judge = judge_of(self._parts[0]) if self.field not in (None, HOST) else None

    def _read_all(self, head: RequestHead, client: str) -> bytes | None:
        values = [read(head, client) for read in self._readers]
        if None in values:
            return None
        return _joined(values) if all(values) else b""

    def hashed(self, value: bytes) -> bytes:
        hashed = self.base.copy()
        hashed.update(value)
        return hashed.digest()

    def texts(self, head: RequestHead, client: str) -> list[bytes]:
        """The text of each of its parts."""
        values = [read(head, client) or b"" for read in self._readers]
        return [
            text
            for part, value in zip(self._parts, values, strict=True)
            for text in texts_of(part, value, client, self._ipv6_prefix)
        ]

    def key_of(self, named: Mapping[str, str]) -> bytes | None:
        """The key of whom an operator names by a text for each part; None if nobody has these parts."""
        if set(named) != set(map(str, self._parts)):
            return None
        values = [named_value(part, named[str(part)], self._ipv6_prefix) for part in self._parts]
        if not all(values):
            return None
        return self.hashed(_joined(values) if len(values) > 1 else values[0] or b"")

    def texts_of(self, named: Mapping[str, str]) -> list[bytes]:
        """What plans may name somebody by whom an operator names. `key_of` has found them good."""
        return [
            text
            for part in self._parts
            for text in texts_of(
                part,
                named_value(part, named[str(part)], self._ipv6_prefix) or b"",
                named[str(part)],
                self._ipv6_prefix,
            )
        ]


class Partition:
    """A limit's list of key entries, ready to be asked."""

    __slots__ = (
        "_address",
        "_addresses",
        "_credentials",
        "_has_addresses",
        "_newcomers",
        "_none",
        "credential_names",
        "entries",
        "has_credentials",
        "is_static",
    )

    def __init__(
        self,
        specs: Sequence[KeySpec],
        secret: bytes,
        *,
        shares: bool = True,
        ipv6_prefix: int = IPV6_PREFIX,
    ) -> None:
        """`shares`: requests that carry nothing of it have one bucket together, else none."""
        self.entries = [KeyEntry(spec, secret, ipv6_prefix) for spec in specs]
        self._credentials = [
            (entry.field, entry.judge, entry.read, entry.base)
            for entry in self.entries
            if not entry.spec.is_address
        ]
        self._addresses = [entry for entry in self.entries if entry.spec.is_address]
        self._none: list[bytes] = [hasher(secret, "none").digest()] if shares else []
        parts = [part for spec in specs for part in spec.parts]
        self.credential_names = frozenset(filter(None, map(credential_field, parts)))
        self.has_credentials = any(entry.credential for entry in self.entries)
        self.is_static = all(map(is_of_section, parts))
        # Of an address: that of an entry `client-ip`, and the one that its new credentials share.
        self._address = KeyEntry(KeySpec((KeyPart("client-ip"),)), secret, ipv6_prefix)
        self._newcomers = hasher(secret, "unproven")
        self._has_addresses = any(part.kind == "client-ip" for part in parts)

    def keys(self, head: RequestHead, client: str) -> list[bytes] | None:
        """The keys of all buckets that the request is charged to; None where services could read two
        credentials.
        """
        fields = head.fields
        keys: list[bytes] = []
        for field, judge, read, base in self._credentials:  # written out: every request comes by here
            if judge is None:
                value = read(head, client)
            elif field in fields:
                value = judge(fields[field])
            else:
                continue
            if value:
                hashed = base.copy()
                hashed.update(value)
                keys.append(hashed.digest())
            elif value is None:
                return None
        if keys:
            return keys
        for entry in self._addresses:
            value = entry.read(head, client)
            if value:
                return [entry.hashed(value)]
            if value is None:
                return None
        return self._none

    def fallbacks(self, head: RequestHead, client: str) -> list[bytes]:
        """What a request is charged to that carries no credential."""
        values = [(entry, entry.read(head, client)) for entry in self._addresses]
        return [entry.hashed(value) for entry, value in values if value] + self._none

    def unclear_keys(self, head: RequestHead, client: str) -> list[bytes]:
        """What one is charged to whose credential can be read in two ways, by a limit that refuses nobody."""
        return self.fallbacks(head, client)[:1]

    def address_key(self, head: RequestHead, client: str) -> bytes:
        return self._address.hashed(self._address.read(head, client) or b"")

    def newcomers_key(self, head: RequestHead, client: str) -> bytes:
        """The key of the bucket that all new credentials of one address share."""
        hashed = self._newcomers.copy()
        hashed.update(self._address.read(head, client) or b"")
        return hashed.digest()

    def shown(self, head: RequestHead, client: str) -> set[frozenset[str]]:
        """Which credentials a request carries of it."""
        return {each.credential for each in self.entries if each.credential and each.read(head, client)}

    def sources(self, head: RequestHead, client: str) -> list[tuple[str, bytes]]:
        """Each of `keys`, with the entry that it was read from: for people who ask."""
        entries = {}
        for entry in self.entries:
            if value := entry.read(head, client):
                entries[entry.hashed(value)] = str(entry.spec)
        keys = self.keys(head, client)
        if keys is None:
            keys = self.unclear_keys(head, client)
        return [(entries.get(key, "none"), key) for key in keys]

    def texts(self, head: RequestHead, client: str, key: bytes) -> list[bytes]:
        """What this key of the request was hashed from, in the words of whom plans are given to."""
        for entry in self.entries:
            value = entry.read(head, client)
            if value and entry.hashed(value) == key:
                return entry.texts(head, client)
        return []

    def is_by_network(self, client: str) -> bool:
        """Several addresses share its key."""
        return self._has_addresses and ":" in client

    def key_of(self, named: Mapping[str, str]) -> bytes | None:
        """The key of who has these values, such as `{"client-ip": ...}`; None if nobody has."""
        return next(filter(None, (entry.key_of(named) for entry in self.entries)), None)

    def texts_of(self, named: Mapping[str, str]) -> list[bytes]:
        """What plans may name them by."""
        return next((entry.texts_of(named) for entry in self.entries if entry.key_of(named)), [])


def hasher(secret: bytes, kind: str, name: bytes = b"") -> Hasher:
    """Has taken in everything but the value. Neither kinds nor names hold a zero byte."""
    # A secret may be longer than the 64 bytes that a key may have.
    key = blake2b(secret, digest_size=32, person=b"weir key").digest()
    made = blake2b(key=key, digest_size=KEY_BYTES)
    made.update(b"%b\0%b\0" % (kind.encode(), name))
    return made


def _hasher_of(spec: KeySpec, secret: bytes) -> Hasher:
    if len(spec.parts) > 1:
        return hasher(secret, "+", spec.folded.encode())
    part = spec.parts[0]
    return hasher(secret, part.kind, (part.name.lower() if part.kind == "header" else part.name).encode())


def _joined(values: Sequence[bytes | None]) -> bytes:
    """Writes them with their lengths, so that no two lists become one text."""
    return b"".join(b"%d:%b" % (len(value), value) for value in values if value is not None)
