"""Entity tags made here: which answers get one, what it is, and whether the client has the answer already.

The tag is strong: the SHA-256 of the body's bytes as the client gets them, its coding included. Made of one
answer to one client; nothing is remembered. Knows nothing of connections or of how a 304 looks.
"""

from __future__ import annotations

import re
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.http1.head import RequestHead, ResponseHead

# Of one answer: 0.6 ms of SHA-256, which others on the loop wait for. A larger answer is a download, which
# clients fetch anew by Range, not by If-None-Match.
TAGGED_BYTES = 1024 * 1024
# Of all answers that a worker holds at once: 64 of the largest kind. Most are held for the milliseconds in
# which their body arrives. With a worker's 50 MiB and the copy that leaves it is within deploy/'s 512 MiB.
HELD_BYTES = 64 * 1024 * 1024

# Answers that are made as they are read: to hold them would keep the client waiting for what is there.
_STREAM = re.compile(
    rb"text/event-stream|multipart/|application/(?:(?:[\w.+-]+\+)?json-seq|grpc"
    rb"|(?:x-)?(?:ndjson|jsonlines|json-stream|jsonl)|stream\+json)"
)
# RFC 9110 section 8.8.3; empty elements of a list are allowed (section 5.6.1.2).
_TAG = rb'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_LIST = re.compile(rb"[ \t,]*(?:" + _TAG + rb"[ \t]*(?:,[ \t,]*|\Z))+")
_OPAQUE = re.compile(rb'"[^"]*"')


def is_taggable(request: RequestHead, head: ResponseHead) -> bool:
    """Whether the answer gets a tag, if it proves small enough."""
    found = head.lowered
    return (
        head.status == 200
        and request.method == b"GET"
        and head.body_length <= TAGGED_BYTES
        and b"range" not in request.fields
        and _UNTAGGABLE.isdisjoint(found)
        and b"no-store" not in found.get(b"cache-control", b"")
        and found.get(b"x-accel-buffering") != b"no"  # the service asks that nothing be held (nginx)
        and _STREAM.match(found.get(b"content-type", b"")) is None
    )


# What has a tag, or may get one at its end; what is for one client alone; what is no whole representation.
_UNTAGGABLE = frozenset((b"etag", b"trailer", b"set-cookie", b"content-range"))


def is_listed(tag: bytes, condition: bytes) -> bool:
    """Whether If-None-Match names the tag, by weak comparison (RFC 9110 section 13.1.2).

    A malformed field names nothing: the client gets the whole answer.
    """
    if condition.strip() == b"*":
        return True
    return _LIST.fullmatch(condition) is not None and tag in _OPAQUE.findall(condition)


class Budget:
    """Bytes of answers that may be held at once."""

    __slots__ = ("left",)

    def __init__(self, size: int = HELD_BYTES) -> None:
        self.left = size

    def take(self, size: int) -> bool:
        if size > self.left:
            return False
        self.left -= size
        return True


class Tag:
    """The tag of one answer in the making; the body counts against the budget until `drop`."""

    __slots__ = ("_budget", "_condition", "_hash", "_size")

    def __init__(self, condition: bytes | None, budget: Budget) -> None:
        """`condition` is the request's If-None-Match."""
        self._condition = condition
        self._budget = budget
        self._hash = sha256()
        self._size = 0

    def feed(self, data: bytes) -> bool:
        """False if the body has become too large, or there is no room for it."""
        size = len(data)
        if self._size + size > TAGGED_BYTES or not self._budget.take(size):
            return False
        self._size += size
        self._hash.update(data)
        return True

    @property
    def value(self) -> bytes:
        return b'"%b"' % b64encode(self._hash.digest())

    @property
    def is_known(self) -> bool:
        """The client has this very answer."""
        return self._condition is not None and is_listed(self.value, self._condition)

    def drop(self) -> None:
        self._budget.left += self._size
        self._size = 0
