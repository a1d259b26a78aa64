"""The field traceparent: which trace a request belongs to, and whether that is recorded (W3C Trace Context).

Knows nothing of who decides that, nor of who records it.
"""

from __future__ import annotations

import re
from random import getrandbits
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

# Version 00 and unknown later ones.
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-((?!0{32})[0-9a-f]{32})-((?!0{16})[0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?"
)
_LINE = re.compile(rb"(\r\n(?i:traceparent):[ \t]*)[^\r\n]*")  # of a head
SAMPLED = 0x01


class Parent(NamedTuple):
    trace_id: str
    span_id: str
    flags: int

    @property
    def is_sampled(self) -> bool:
        return bool(self.flags & SAMPLED)


def is_valid(value: bytes) -> bool:
    return _TRACEPARENT.fullmatch(value) is not None


def parent(value: bytes) -> Parent | None:
    """None for a value that means nothing."""
    match = _TRACEPARENT.fullmatch(value)
    if match is None:
        return None
    return Parent(match[1].decode("ascii"), match[2].decode("ascii"), int(match[3], 16))


class Trace:
    """Of one sampled exchange. Moments are those of the record's clock."""

    __slots__ = ("agent", "decided", "host", "parent_id", "scheme", "server_id", "trace_id", "upstream_id")

    def __init__(self, trace_id: str, parent_id: str, fields: Mapping[bytes, bytes], scheme: bytes) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id  # "" at the root
        self.server_id = new_span_id()
        self.upstream_id = new_span_id()
        self.decided = 0.0  # when the limits had spoken; 0 if none was asked
        self.host = fields.get(b"host", b"")
        self.agent = fields.get(b"user-agent", b"")
        self.scheme = scheme

    def carried(self, head: bytes) -> bytes:
        """The request's head to the server, as a child of the span that tells of this call."""
        value = f"00-{self.trace_id}-{self.upstream_id}-01".encode()
        if self.parent_id:
            return _LINE.sub(rb"\g<1>" + value, head, 1)
        return b"%btraceparent: %b\r\n\r\n" % (head[:-2], value)


def new_span_id() -> str:
    return f"{getrandbits(64) | 1:016x}"
