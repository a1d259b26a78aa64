"""What a certificate says of itself: its names and its end. A walk over its DER (RFC 5280 section 4.1).

For files that OpenSSL has accepted: nothing is verified here. Knows nothing of sockets.
"""

from __future__ import annotations

import re
from base64 import b64decode
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

_PEM = re.compile(
    rb"-----BEGIN (?:X509 |TRUSTED )?CERTIFICATE-----(.+?)-----END (?:X509 |TRUSTED )?CERTIFICATE-----",
    re.DOTALL,
)
_UTC_TIME = 0x17
_EXPLICIT_VERSION = 0xA0
_EXPLICIT_EXTENSIONS = 0xA3
_OCTETS = 0x04
_DNS_NAME = 0x82  # of GeneralName
_ALT_NAMES = b"\x55\x1d\x11"  # 2.5.29.17, subjectAltName


class Certificate(NamedTuple):
    names: tuple[str, ...]  # DNS names, lower case
    expires: datetime


def first_in(pem: bytes) -> Certificate:
    """The first of a chain. Raises ValueError."""
    found = _PEM.search(pem)
    if found is None:
        raise ValueError("holds no certificate")
    try:
        return _certificate(b64decode(found[1]))
    except (ValueError, IndexError, StopIteration):
        raise ValueError("holds a certificate that cannot be read") from None


def _certificate(der: bytes) -> Certificate:
    parts = list(_elements(_only(_only(der))))
    if parts[0][0] == _EXPLICIT_VERSION:
        del parts[0]
    # serialNumber, signature, issuer, validity, subject, subjectPublicKeyInfo, ...
    _, (tag, until) = _elements(parts[3][1])
    extensions = [value for tag, value in parts if tag == _EXPLICIT_EXTENSIONS]
    names = _names(_only(extensions[0])) if extensions else ()
    return Certificate(tuple(names), _time(tag, until))


def _names(extensions: bytes) -> Iterator[str]:
    for _, extension in _elements(extensions):
        (_, oid), *_, (tag, value) = _elements(extension)
        if oid == _ALT_NAMES and tag == _OCTETS:
            for kind, name in _elements(_only(value)):
                if kind == _DNS_NAME:
                    yield name.decode("ascii").lower()


def _time(tag: int, value: bytes) -> datetime:
    """UTCTime has two digits for the years 1950 to 2049 (RFC 5280 section 4.1.2.5.1)."""
    text = value.decode("ascii")
    if tag == _UTC_TIME:
        text = ("19" if text >= "50" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC)


def _only(data: bytes) -> bytes:
    """What is in the first element."""
    return next(_elements(data))[1]


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        tag, length = data[at], data[at + 1]
        at += 2
        if length > 127:
            count = length & 127
            length = int.from_bytes(data[at : at + count])
            at += count
        if at + length > len(data):
            raise ValueError("breaks off")
        yield tag, data[at : at + length]
        at += length
