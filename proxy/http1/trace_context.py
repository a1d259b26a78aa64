"""The field traceparent: which trace a request belongs to, and whether that is recorded (W3C Trace Context).

Knows nothing of who decides that, nor of who records it.
"""

from __future__ import annotations

import re
from typing import NamedTuple

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


def carried(head: bytes, trace_id: str, span_id: str) -> bytes:
    """A request's head as a child of a sampled span: in place of the parent that it has, if it has one."""
    value = f"00-{trace_id}-{span_id}-01".encode()
    replaced, count = _LINE.subn(rb"\g<1>" + value, head, 1)
    return replaced if count else b"%btraceparent: %b\r\n\r\n" % (head[:-2], value)
