"""The Forwarded field (RFC 7239): the addresses that hops have put into it, and an element of our own.

A field that does not keep to the grammar as a whole has no hops: it must not be read in two ways. Knows
nothing of who may be believed.
"""

from __future__ import annotations

import re
from typing import Final

from proxy.clients.networks import parsed

BYTES_MAX: Final = 8192  # a longer field is a flood: 32 hops with all they can say take half of it

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"  # noqa: S105 - RFC 9110 section 5.6.2
_QUOTED = r'"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"'
_PAIR = rf"(?:{_TOKEN}=(?:{_TOKEN}|{_QUOTED}))?"
_ELEMENT = re.compile(rf"{_PAIR}(?:;{_PAIR})*")
_BETWEEN = re.compile(r"[ \t]*(,)?[ \t]*")
_PAIRS = re.compile(rf"({_TOKEN})=(?:({_TOKEN})|({_QUOTED}))")
_IS_TOKEN = re.compile(_TOKEN.encode())


def hops(value: bytes) -> list[str]:
    """What each hop said of its peer (`for`), empty where it said nothing."""
    text = value.decode("latin-1").strip(" \t")
    if len(text) > BYTES_MAX:
        return []
    found, at = [], 0
    while True:
        element = _ELEMENT.match(text, at)
        assert element is not None  # an empty one matches everywhere
        if element[0]:
            found.append(_peer(element[0]))
        if element.end() == len(text):
            return found
        between = _BETWEEN.match(text, element.end())
        assert between is not None
        if between[1] is None:
            return []
        at = between.end()


def _peer(element: str) -> str:
    told = [(token, quoted) for name, token, quoted in _PAIRS.findall(element) if name.lower() == "for"]
    if len(told) != 1:  # each parameter is there at most once (section 4)
        return ""
    token, quoted = told[0]
    return token or re.sub(r"\\(.)", r"\1", quoted[1:-1])


def element(address: str, host: bytes, proto: bytes) -> bytes:
    """One hop; a peer without an address is `unknown` (section 6.2)."""
    ip = parsed(address)
    node = b"unknown" if ip is None else str(ip).encode() if ip.version == 4 else b'"[%b]"' % str(ip).encode()
    told = b"for=%b;proto=%b" % (node, proto)
    if not host:
        return told
    return b"%b;host=%b" % (told, host if _IS_TOKEN.fullmatch(host) else b'"%b"' % host)
