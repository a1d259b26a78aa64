"""Partition keys: whose bucket a request is charged to.

A key is a keyed BLAKE2b of the kind of entry, its name and the value the request has for it, so that no
credential is ever stored, and it stays the same when limits or entries are added or reordered. The first
entry of the list that is present is taken; an empty value is absent. If none is present, all such
requests share one bucket: an address is charged only where the list says so. Claims are read, not
verified. Knows nothing of rates.
"""

from __future__ import annotations

import json
import re
from binascii import Error as NotBase64
from binascii import a2b_base64
from hashlib import blake2b
from typing import TYPE_CHECKING, Protocol

from proxy.clients.networks import partition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from proxy.config.names import KeySpec

    Fields = Mapping[bytes, bytes]
    Reader = Callable[
        [Fields, str], bytes
    ]  # the fields and the client's address in, the value out; empty: absent

KEY_BYTES = 16  # 2^64 keys until two are expected to meet
TOKEN_BYTES = 8 * 1024  # of a JWT that is read; issuers stay below, since servers take 8 KiB of head

_AUTHORIZATION = b"authorization"
_TO_BASE64 = bytes.maketrans(b"-_", b"+/")


class Hasher(Protocol):
    def copy(self) -> Hasher: ...
    def update(self, data: bytes, /) -> None: ...
    def digest(self) -> bytes: ...


class Partition:
    """A limit's list of key entries, ready to be asked."""

    __slots__ = ("_entries", "_none", "_specs", "credential_names")

    def __init__(self, specs: Sequence[KeySpec], secret: bytes) -> None:
        self._specs = tuple(specs)
        self._entries = [(_value_of(spec), _hasher_of(spec, secret)) for spec in specs]
        self._none = hasher(secret, "none").digest()
        self.credential_names = frozenset(filter(None, map(_credential_name, specs)))

    def key(self, fields: Fields, client: str) -> bytes:
        for value_of, base in self._entries:
            value = value_of(fields, client)
            if value:
                hashed = base.copy()
                hashed.update(value)
                return hashed.digest()
        return self._none

    def key_of(self, entry: str, value: str) -> bytes | None:
        """The key of whoever has this value for an entry such as `client-ip`; None if nobody has."""
        for spec, (value_of, base) in zip(self._specs, self._entries, strict=True):
            if str(spec) == entry:
                data = value.encode("utf-8", "surrogatepass")
                if spec.kind in ("header", "client-ip", "const"):  # else the value stands inside a field
                    data = value_of({spec.name.lower().encode(): data}, value)
                if data:
                    hashed = base.copy()
                    hashed.update(data)
                    return hashed.digest()
        return None

    @property
    def entries(self) -> tuple[str, ...]:
        return tuple(map(str, self._specs))


def hasher(secret: bytes, kind: str, name: bytes = b"") -> Hasher:
    """Has taken in everything but the value. Neither kinds nor names hold a zero byte."""
    # A secret may be longer than the 64 bytes that a key may have.
    key = blake2b(secret, digest_size=32, person=b"weir key").digest()
    made = blake2b(key=key, digest_size=KEY_BYTES)
    made.update(b"%b\0%b\0" % (kind.encode(), name))
    return made


def _credential_name(spec: KeySpec) -> bytes | None:
    """The field that the entry is read from: repeated, one value could be charged and another be served."""
    fields = {"header": spec.name.lower().encode(), "cookie": b"cookie", "jwt": _AUTHORIZATION}
    return fields.get(spec.kind)


def _hasher_of(spec: KeySpec, secret: bytes) -> Hasher:
    name = spec.name.lower() if spec.kind == "header" else spec.name
    return hasher(secret, spec.kind, name.encode())


def _value_of(spec: KeySpec) -> Reader:
    if spec.kind == "header":
        name = spec.name.lower().encode()
        return _authorization if name == _AUTHORIZATION else _header(name)
    if spec.kind == "cookie":
        return _cookie(spec.name.encode())
    if spec.kind == "jwt":
        return _jwt(spec.name)
    if spec.kind == "client-ip":
        return _client_ip
    assert spec.kind == "const", spec.kind
    return _const


def _header(name: bytes) -> Reader:
    def read(fields: Fields, _client: str) -> bytes:
        return fields.get(name, b"").strip(b" \t")

    return read


def _authorization(fields: Fields, _client: str) -> bytes:
    """The scheme is case-insensitive (RFC 9110 section 11.1): `bearer X` is `Bearer X`."""
    scheme, _, credentials = fields.get(_AUTHORIZATION, b"").strip(b" \t").partition(b" ")
    return b"%b %b" % (scheme.lower(), credentials.lstrip(b" ")) if scheme else b""


def _cookie(name: bytes) -> Reader:
    """The first cookie of that exact name (RFC 6265 section 5.4), without quotes around its value."""
    search = re.compile(rb"(?:^|;)[ \t]*%b[ \t]*=([^;]*)" % re.escape(name)).search

    def read(fields: Fields, _client: str) -> bytes:
        found = search(fields.get(b"cookie", b""))
        value = found[1].strip(b" \t") if found is not None else b""
        if len(value) >= 2 and value.startswith(b'"') and value.endswith(b'"'):
            return value[1:-1]
        return value

    return read


def _jwt(claim: str) -> Reader:
    def read(fields: Fields, _client: str) -> bytes:
        return claim_of(fields.get(_AUTHORIZATION, b""), claim)

    return read


def _client_ip(_fields: Fields, client: str) -> bytes:
    return partition_of(client)


def _const(_fields: Fields, _client: str) -> bytes:
    return b"*"  # any one value


def claim_of(authorization: bytes, claim: str) -> bytes:
    """A claim of a bearer token (RFC 7519) as text; empty if missing, of another type, or malformed."""
    scheme, _, token = authorization.strip(b" \t").partition(b" ")
    if scheme.lower() != b"bearer" or len(token) > TOKEN_BYTES:
        return b""
    parts = token.strip(b" ").split(b".")
    if len(parts) != 3:
        return b""
    try:
        claims = json.loads(_base64url(parts[1]))
    except (ValueError, RecursionError):  # UnicodeDecodeError and JSONDecodeError are ValueErrors
        return b""
    value = claims.get(claim) if isinstance(claims, dict) else None
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return b""
    return str(value).encode("utf-8", "surrogatepass")


def _base64url(text: bytes) -> bytes:
    """RFC 7515 section 2: the URL's alphabet, without padding."""
    if b"+" in text or b"/" in text or b"=" in text:
        raise NotBase64
    return a2b_base64(text.translate(_TO_BASE64) + b"=" * (-len(text) % 4), strict_mode=True)
