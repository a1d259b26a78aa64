"""What is told of a head that is refused before it could be read, and why no more of it is waited for.

Nothing is decided by it but that. Knows nothing of sockets or time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.http1.head import HeaderSection, RequestHead

if TYPE_CHECKING:
    from proxy.faults import Fault

_ASKED_LINE: Final = re.compile(rb"([!-~]{1,64}) ([!-~]+) HTTP/[0-9.]{1,8}\r\n")
UNREAD: Final = RequestHead(b"", b"", 1, HeaderSection(b"\r\n"))  # stands for one that could not be read
UNREAD.section.wants_close = True
_ORIGIN = re.compile(rb"\r\norigin:[ \t]*([!-~]{1,256})[ \t]*\r\n", re.IGNORECASE)


def unread_head(data: bytes) -> RequestHead:
    """Stands for one that is refused unread: of what came of it, only the app that asks is told."""
    end = data.find(b"\r\n\r\n")
    found = _ORIGIN.search(data, 0, end + 2 if end >= 0 else len(data))
    if found is None:
        return UNREAD
    section = HeaderSection(b"\r\n")
    section.wants_close = True
    section.fields = {b"origin": found[1]}
    return RequestHead(b"", b"", 1, section)


def asked_line(data: bytes, line_bytes: int) -> tuple[bytes, bytes]:
    """Method and target of a head that is refused, where its first line has the form of a request's.

    Only to be told: nothing is decided by it.
    """
    line = _ASKED_LINE.match(data, 0, line_bytes + 2)
    return (line[1], line[2]) if line is not None else (b"", b"")


def unfinished_fault(data: bytes, end: int, line_bytes: int, head_bytes: int) -> Fault | None:
    """Why there is no need to wait for more of a head that is not whole within its bounds.

    `end` is where it ends, below 4 while it does not.
    """
    if b"\r\n" not in data[: line_bytes + 2] and len(data) > line_bytes:
        return faults.LINE_TOO_LONG
    if end > head_bytes or len(data) > head_bytes:
        return faults.HEAD_TOO_LARGE
    return faults.MALFORMED_HEAD if _cannot_become_head(data) else None


def _cannot_become_head(data: bytes) -> bool:
    """TLS, junk, or lines that end in a bare LF."""
    if not 0x21 <= data[0] <= 0x7E:
        return data != b"\r"
    return data.count(b"\n") != data.count(b"\r\n")
