"""Where a message body ends, by its header fields, and whether its connection goes on (RFC 9112, 6 and 9).

A message whose length is told by two lines, or can be read in two ways, is refused. Knows nothing of what is
in a body: chunked.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.http1.lines import CONNECTS, FRAMES, TABBED

if TYPE_CHECKING:
    from proxy.faults import Fault
    from proxy.http1.head import HeaderSection, ResponseHead
    from proxy.http1.lines import HeaderLine

CHUNKED: Final = -1  # body_length of a chunked message
UNTIL_CLOSE: Final = -2  # body_length of a response that ends with its connection

_LENGTH = re.compile(rb"[0-9]{1,18}")
_DIGITS = re.compile(rb"[0-9]+")


def ends_connection(options: bytes | None, minor: int) -> bool:
    """What a Connection field, or its absence, says of the connection (RFC 9112 section 9.3)."""
    if options is None:
        return minor == 0
    if options == b"keep-alive":
        return False
    tokens = listed(options)
    return b"close" in tokens or (minor == 0 and b"keep-alive" not in tokens)


def listed(value: bytes) -> list[bytes]:
    """The lower-case members of a comma-separated field value (RFC 9110 section 5.6.1)."""
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]


def frame_request(section: HeaderSection, minor: int) -> Fault | None:
    """Where the request's body ends."""
    line = section.framed_by
    assert line is not None
    if section.is_ambiguous:
        return faults.AMBIGUOUS_LENGTH
    if line.name == b"content-length":
        section.body_length = line.length
        return faults.AMBIGUOUS_LENGTH if line.length < 0 else None
    section.body_length = CHUNKED
    return _why_not_chunked(line, minor)


def _why_not_chunked(coding: HeaderLine, minor: int) -> Fault | None:
    if minor == 0:
        return faults.CHUNKED_IN_HTTP10
    if coding.value.lower() != b"chunked":
        return faults.UNKNOWN_CODING
    return faults.MALFORMED_HEAD if coding.marks & TABBED else None


def why_unframed(section: bytes, *, is_http10: bool) -> Fault:
    """What is wrong with a malformed header section, in lower case: its framing fields, if need be."""
    lengths = re.findall(rb"\r\ncontent-length:([^\r\n]*)", section)
    codings = re.findall(rb"\r\ntransfer-encoding:([^\r\n]*)", section)
    if len(lengths) + len(codings) > 1 or (lengths and not _LENGTH.fullmatch(lengths[0].strip(b" \t"))):
        return faults.AMBIGUOUS_LENGTH
    if codings and is_http10:
        return faults.CHUNKED_IN_HTTP10
    if codings and codings[0].strip(b" \t") != b"chunked":
        return faults.UNKNOWN_CODING
    return faults.MALFORMED_HEAD


def framed_response(head: ResponseHead, request_method: bytes) -> ResponseHead | Fault:
    """Where the response's body ends."""
    line, minor, status = head.framed_by, head.minor, head.status
    if line is not None:
        if line.name == b"content-length":
            length = line.length if not head.is_ambiguous else -1
            if length < 0 and (length := _agreed_length(head)) < 0:
                return faults.MALFORMED_RESPONSE
            head.body_length = length
        elif head.is_ambiguous or minor == 0 or _codings(line.value) != [b"chunked"]:
            return faults.MALFORMED_RESPONSE
        else:
            head.body_length = CHUNKED
    if status == 101 and not _switches(head.lowered):
        return faults.MALFORMED_RESPONSE
    if minor == 0 or head.marks & CONNECTS:
        head.wants_close = ends_connection(head.lowered.get(b"connection"), minor)
    if request_method == b"HEAD" or status == 204 or status == 304 or status < 200:  # noqa: PLR1714 - hot: no tuple
        # Against RFC 9112 section 6.1, a 204 may announce a body: if one followed, it would be read as the
        # answer to somebody else.
        if status == 204 and line is not None and head.body_length:
            head.wants_close = True
        head.body_length = 0
    return head


def _codings(value: bytes) -> list[bytes]:
    """Empty members of a list say nothing (RFC 9110 section 5.6.1.2)."""
    return [coding for member in value.split(b",") if (coding := member.strip(b" \t").lower())]


def _agreed_length(head: ResponseHead) -> int:
    """The length that all Content-Length lines or members say (RFC 9110 section 8.6), which then become one.

    -1 if they do not agree, or if anything else frames the answer too.
    """
    lines = [line for line in head.lines if line.marks & FRAMES]
    members = {member.strip(b" \t") for line in lines for member in line.value.split(b",")}
    if any(line.name != b"content-length" for line in lines) or not all(map(_DIGITS.fullmatch, members)):
        return -1
    lengths = {member.lstrip(b"0") or b"0" for member in members}
    only = lengths.pop()
    if lengths or _LENGTH.fullmatch(only) is None:
        return -1
    head.replace(b"Content-Length", only)
    return int(only)


def _switches(fields: dict[bytes, bytes]) -> bool:
    """What a 101 must say (RFC 9110 section 7.8)."""
    return b"upgrade" in listed(fields.get(b"connection", b"")) and fields.get(b"upgrade", b"") != b""
