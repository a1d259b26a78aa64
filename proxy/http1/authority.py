"""Whom a request is for: what Host and absolute-form targets may hold (RFC 9110, 7.2; RFC 3986, 3.2).

Stricter than the grammar where readers disagree: no comma (a list of hosts to whoever joins fields), no empty
port, no user. Knows nothing of heads.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address

_AUTHORITY = re.compile(
    rb"(?:([A-Za-z0-9\-._~!$&'()*+;=]*(?:%[0-9A-Fa-f]{2}[A-Za-z0-9\-._~!$&'()*+;=]*)*)|\[([0-9A-Fa-f:.]+)\])"
    rb"(?::([0-9]{1,5}))?"
)
_DEFAULT_PORT = {b"http": b":80", b"https": b":443"}


@lru_cache(maxsize=1024)  # the hosts of one service are few; a hit costs a third of a match
def is_authority(value: bytes) -> bool:
    match = _AUTHORITY.fullmatch(value)
    if match is None:
        return False
    name, address, port = match.groups()
    if port is not None and int(port) > 0xFFFF:
        return False
    return bool(name) if address is None else _is_ipv6(address)


def _is_ipv6(address: bytes) -> bool:
    try:
        IPv6Address(address.decode("ascii"))
    except AddressValueError:
        return False
    return True


def is_same_authority(one: bytes, other: bytes, scheme: bytes) -> bool:
    """Whether both name the same host and port; the scheme's own may be left out (RFC 9110 section 4.2.3)."""
    default = _DEFAULT_PORT[scheme.lower()]
    return one.lower().removesuffix(default) == other.lower().removesuffix(default)
