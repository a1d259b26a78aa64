"""Ids of requests, and the trace that each is a part of (W3C Trace Context).

What a client sends is kept where it is decent. An id is made where there is none, a trace is not: it would
have a parent that nobody has recorded. Knows nothing of heads.
"""

from __future__ import annotations

import re
from os import register_at_fork, urandom
from typing import Final

from proxy.http1 import trace_context

# What a client may choose as the id of its request: safe in a log, a header and a URL.
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")

# Drawn from the system in one call for many: a tenth of what it costs to write a random number down.
DRAWN_AT_ONCE: Final = 128
_ZEROS: Final = "0" * 16
drawn: Final[list[str]] = []  # in reserve
register_at_fork(after_in_child=drawn.clear)  # else two workers would give the same


def given_id(fields: dict[bytes, bytes]) -> str | None:
    """The client's own id of its request, where it is a decent one."""
    given = fields.get(b"x-request-id")
    return given.decode("ascii") if given is not None and _REQUEST_ID.fullmatch(given) else None


def has_trace(fields: dict[bytes, bytes]) -> bool:
    """The request is part of a trace that the client has begun."""
    parent = fields.get(b"traceparent")
    return parent is not None and trace_context.is_valid(parent)


def new_request_id() -> str:
    """Random, 32 hexadecimal digits: also a W3C trace id, neither half of which is all zeros."""
    if not drawn:
        _draw()
    return drawn.pop()


def _draw() -> None:
    digits = urandom(16 * DRAWN_AT_ONCE).hex()
    ids = [digits[at : at + 32] for at in range(0, len(digits), 32)]
    drawn.extend([each for each in ids if _ZEROS not in (each[:16], each[16:])])
