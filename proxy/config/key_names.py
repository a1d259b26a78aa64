"""Partition keys as the config names them: `header:NAME`, `path:2`, `client-ip`, or several joined by `+`.

Every parser takes what YAML gave and returns the parsed value, or raises a ValueError that says what to write
instead. Knows nothing of requests.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from proxy.config.names import parse_token
from proxy.config.wording import either, nearest, shown

CREDENTIALS: Final = ("header", "cookie", "jwt", "query")  # a request can carry any value of these
NAMED_KINDS: Final = (*CREDENTIALS, "path")
PLAIN_KINDS: Final = ("host", "method", "client-ip", "const")
ADDRESSES: Final = ("client-ip", "const")  # are charged only where nothing else that is named is present

SEGMENT_MAX = 64  # of a path
PARTS_MAX = 8  # of one entry
# Between two hops (RFC 9110 section 7.6.1), or written anew: what is charged must be what the service sees.
NOT_FORWARDED = frozenset(
    (
        *(
            "connection",
            "expect",
            "http2-settings",
            "keep-alive",
            "proxy-authenticate",
            "proxy-authorization",
        ),
        *("proxy-connection", "te", "transfer-encoding", "upgrade", "via", "x-request-id"),
    )
)
_KIND_ALIASES = {
    "ip": "client-ip",
    "address": "client-ip",
    "remote-addr": "client-ip",
    "constant": "const",
    "claim": "jwt",
    "param": "query",
    "parameter": "query",
    "segment": "path",
}
_JOINT = re.compile(rf"\+(?=(?:{'|'.join(NAMED_KINDS)}):|(?:{'|'.join(PLAIN_KINDS)})(?:\+|\Z))")
_CLAIM = re.compile(r"[\x21-\x7e]{1,128}")
_PARAMETER = re.compile(r"[A-Za-z0-9_.~$@!*()'-]{1,128}")
_SEGMENT = re.compile(r"[1-9][0-9]?")


class KeyPart(NamedTuple):
    kind: str
    name: str = ""  # of the header, cookie, claim or query parameter, or the number of the path's segment

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    @property
    def folded(self) -> str:
        """Equal for parts that are one: names of header fields are compared without regard to case."""
        return str(self).lower() if self.kind == "header" else str(self)


class KeySpec(NamedTuple):
    """One entry of a limit's partition key: usually one part, else all of them together."""

    parts: tuple[KeyPart, ...]

    def __str__(self) -> str:
        return "+".join(map(str, self.parts))

    @property
    def folded(self) -> str:
        """Equal for entries that are one: the order of their parts says nothing."""
        return "+".join(sorted(part.folded for part in self.parts))

    @property
    def is_address(self) -> bool:
        """It stands for who has sent nothing else that is named: an address, or nobody in particular."""
        kinds = {part.kind for part in self.parts}
        return not kinds.isdisjoint(ADDRESSES) and kinds.isdisjoint(CREDENTIALS)

    @property
    def is_always_present(self) -> bool:
        return all(part.kind in PLAIN_KINDS for part in self.parts)


def parse_key(value: object) -> KeySpec:
    """`header:NAME`, `cookie:NAME`, `jwt:CLAIM`, `query:NAME`, `path:N`, a word, or some joined by `+`."""
    if isinstance(value, KeySpec):
        return value
    if isinstance(value, dict) and len(value) == 1:
        ((kind, name),) = value.items()
        if kind in NAMED_KINDS and isinstance(name, str | int):
            raise ValueError(f"write {kind}:{name} without the space after the colon")
    if not isinstance(value, str):
        raise ValueError(f"must be {_known_keys()}, not {shown(value)}")  # noqa: TRY004 - ValueError is pydantic's
    parts = tuple(map(_part, _JOINT.split(value)))
    if len(set(parts)) < len(parts):
        raise ValueError(f"names a part twice: {shown(value)}")
    if len(parts) > PARTS_MAX:
        raise ValueError(f"at most {PARTS_MAX} parts make one key, not {len(parts)}")
    if len(parts) > 1 and KeyPart("const") in parts:
        raise ValueError("const adds nothing to another part: leave it out")
    return KeySpec(parts)


def _part(text: str) -> KeyPart:
    kind, colon, name = text.partition(":")
    kind = kind.strip()
    if kind in PLAIN_KINDS:
        if colon:
            raise ValueError(f"{kind} takes no name: write {kind}")
        return KeyPart(kind)
    if kind not in NAMED_KINDS:
        alike = [known for known in (*NAMED_KINDS, *PLAIN_KINDS) if known[0] == kind[:1].lower()]
        meant = _KIND_ALIASES.get(kind.lower()) or nearest(kind, alike)
        hint = f"; did you mean {meant}?" if meant else ""
        raise ValueError(f"must be {_known_keys()}, not {shown(text)}{hint}")
    return _named(kind, name.strip())


_EXAMPLES = {"jwt": "sub", "path": "1"}


def _named(kind: str, name: str) -> KeyPart:
    if not name:
        raise ValueError(f"{kind} needs a name: write {kind}:{_EXAMPLES.get(kind, 'NAME')}")
    if kind == "header":
        return KeyPart(kind, _header(parse_token(name)))
    if kind == "cookie":
        return KeyPart(kind, parse_token(name, "the name of a cookie"))
    if kind == "jwt" and not _CLAIM.fullmatch(name):
        raise ValueError(f"the name of a claim has no spaces and at most 128 characters, not {shown(name)}")
    if kind == "query" and not _PARAMETER.fullmatch(name):
        raise ValueError(
            f"the name of a query parameter holds letters, digits and -_.~$@!*()' only, not {shown(name)}"
        )
    if kind == "path" and not (_SEGMENT.fullmatch(name) and int(name) <= SEGMENT_MAX):
        raise ValueError(f"path takes the number of a segment, 1 to {SEGMENT_MAX}: path:1, not {shown(name)}")
    return KeyPart(kind, name)


def _header(name: str) -> str:
    if name.lower() == "cookie":
        raise ValueError("any further cookie would make another key: name the cookie, as in cookie:sid")
    if name.lower() in NOT_FORWARDED:
        raise ValueError(f"{name} never reaches the service, so no key can be read from it")
    return name


def _known_keys() -> str:
    named = ("header:NAME", "cookie:NAME", "jwt:CLAIM", "query:NAME", "path:N")
    return f"{either((*named, *PLAIN_KINDS))}, or some of them joined by +"
