"""The PROXY protocol, versions 1 and 2: what a balancer says of a client before the client's first byte.

Source: "The PROXY protocol, Versions 1 & 2" (HAProxy, 2020). A receiver must not guess: what is no such
header is an error. `missing` says how many bytes are certainly still part of the header, so that whoever
reads it never takes one of what follows, be it HTTP or TLS. Knows nothing of sockets.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Final

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"  # of version 2: what no HTTP request begins with
LINE_MAX: Final = 107  # bytes of version 1, CRLF included (section 2.1)
BLOCK_MAX: Final = 4096  # of addresses and TLVs after the 16 bytes of version 2; 65535 are possible

_V1: Final = b"PROXY "
_SHORTEST: Final = len(b"PROXY UNKNOWN\r\n")
_V2_HEAD: Final = 16
_LOCAL, _PROXY = 0x20, 0x21
_TCP4, _TCP6 = 0x11, 0x21
# Of TCP, UDP, Unix streams and datagrams (section 2.2); the last four have no address that could be charged.
_ADDRESS_BYTES: Final = {_TCP4: 12, _TCP6: 36, 0x12: 12, 0x22: 36, 0x31: 216, 0x32: 216}


class NotAnnouncedError(ValueError):
    """What came is no PROXY header."""


def missing(data: bytes) -> int:
    """How many more bytes belong to the header in any case; 0: it is whole. Raises NotAnnouncedError."""
    if not (SIGNATURE.startswith(data[:12]) or _V1.startswith(data[:6])):
        raise NotAnnouncedError
    if len(data) < _SHORTEST:
        return _SHORTEST - len(data)
    if data.startswith(SIGNATURE):
        return _missing_v2(data)
    if data.endswith(b"\r\n"):
        return 0
    if len(data) >= LINE_MAX or b"\n" in data:
        raise NotAnnouncedError
    return 1 if data.endswith(b"\r") or len(data) == LINE_MAX - 1 else 2


def _missing_v2(data: bytes) -> int:
    if len(data) < _V2_HEAD:
        return _V2_HEAD - len(data)
    block = int.from_bytes(data[14:16], "big")
    if data[12] not in (_LOCAL, _PROXY) or block > BLOCK_MAX:
        raise NotAnnouncedError
    return _V2_HEAD + block - len(data)


def announced(header: bytes) -> str | None:
    """The client's address; None: the connection's own peer is meant. Raises NotAnnouncedError."""
    return _announced_v2(header) if header.startswith(SIGNATURE) else _announced_v1(header)


def _announced_v1(line: bytes) -> str | None:
    words = line[: -len(b"\r\n")].split(b" ")
    if line.count(b"\r") != 1:
        raise NotAnnouncedError
    if words[:2] == [b"PROXY", b"UNKNOWN"]:
        return None
    if len(words) != 6 or words[0] != b"PROXY" or words[1] not in (b"TCP4", b"TCP6"):
        raise NotAnnouncedError
    kind = IPv4Address if words[1] == b"TCP4" else IPv6Address
    try:
        source, _ = (kind(word.decode("ascii")) for word in words[2:4])
    except ValueError:
        raise NotAnnouncedError from None
    if b"%" in line or not all(map(_is_port, words[4:])):
        raise NotAnnouncedError
    return _text(source)


def _is_port(word: bytes) -> bool:
    is_number = word.isdigit() and (word == b"0" or not word.startswith(b"0"))
    return is_number and len(word) <= 5 and int(word) <= 0xFFFF


def _announced_v2(header: bytes) -> str | None:
    """LOCAL is the balancer itself, such as a health check; what else it says is ignored."""
    command, kind, block = header[12], header[13], header[_V2_HEAD:]
    if command == _LOCAL:
        return None
    if kind >> 4 > 3 or kind & 15 > 2:  # no family, no protocol: must be refused
        raise NotAnnouncedError
    if len(block) < _ADDRESS_BYTES.get(kind, 0):
        raise NotAnnouncedError
    if kind == _TCP4:
        return _text(IPv4Address(block[:4]))
    return _text(IPv6Address(block[:16])) if kind == _TCP6 else None


def _text(address: IPv4Address | IPv6Address) -> str:
    """The one spelling of an address, IPv4 where it is IPv4 within IPv6."""
    return str((isinstance(address, IPv6Address) and address.ipv4_mapped) or address)
