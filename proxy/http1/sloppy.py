"""Heads of services that are less strict than the RFC, in the form that it has: what has one reading is read.

Lines that all end with LF alone (RFC 9112 section 2.2), white space before a colon, which a proxy must remove
(section 5.1), and lines that are folded (section 5.2). What remains is judged like any other head, and what
goes on to the client is strict. Only for answers: two readers of a request might read it in two ways.

A head with both line ends stays as it came, which is malformed: the lone LF may be a line's end, or part of a
value (RFC 9110 section 5.5) that somebody smuggled into a service which strips CRLF alone.
"""

from __future__ import annotations

import re
from typing import Final

_EMPTY_LINE: Final = re.compile(rb"\r?\n\r?\n")
_FOLD: Final = re.compile(rb"[ \t]*\r\n[ \t]+")
_SPACED: Final = re.compile(rb"(\r\n[!#$%&'*+.^_`|~0-9A-Za-z-]+)[ \t]+:")


def put_right(data: bytes) -> tuple[bytes, int] | None:
    """The head that `data` begins with, and how many bytes of it that was; None while it is not whole."""
    may_end = b"\n\n" in data or b"\n\r\n" in data  # fast: a server may send its head byte by byte
    end = _EMPTY_LINE.search(data) if may_end else None
    if end is None:
        return None
    ends = data[: end.end()]
    if b"\r\n" not in ends:
        head = data[: end.start()].replace(b"\n", b"\r\n")
    elif ends.count(b"\n") == ends.count(b"\r\n"):
        head = data[: end.start()]
    else:
        return ends, end.end()
    status_line, _, section = head.partition(b"\r\n")
    if not section.startswith((b" ", b"\t")):  # else it would be folded into the status line
        head = status_line + _FOLD.sub(b" ", _SPACED.sub(rb"\1:", b"\r\n" + section))
    return head + b"\r\n\r\n", end.end()
