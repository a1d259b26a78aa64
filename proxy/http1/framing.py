"""Where a message body ends, by its header fields, and whether its connection goes on (RFC 9112, 6 and 9).

A message whose length can be read in two ways is refused. Knows nothing of what is in a body: chunked.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy import faults

if TYPE_CHECKING:
    from proxy.faults import Fault
    from proxy.http1.head import HeaderSection, ResponseHead

CHUNKED: Final = -1  # body_length of a chunked message
UNTIL_CLOSE: Final = -2  # body_length of a response that ends with its connection

_LENGTH: Final = re.compile(rb"[0-9]{1,18}")  # as many digits as surely fit into anybody's 64 bits


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
    """Where the request's body ends (RFC 9112 section 6.3). A repeated field holds a comma."""
    coding = section.fields.get(b"transfer-encoding")
    length = section.fields.get(b"content-length", b"")
    if coding is None:
        if not _LENGTH.fullmatch(length):
            return faults.AMBIGUOUS_LENGTH
        section.body_length = int(length)
        return None
    if b"content-length" in section.fields or (section.repeated and b"transfer-encoding" in section.repeated):
        return faults.AMBIGUOUS_LENGTH
    if minor == 0:
        return faults.CHUNKED_IN_HTTP10
    if coding.lower() != b"chunked":
        return faults.UNKNOWN_CODING
    section.body_length = CHUNKED
    return None


def why_unframed(section: bytes, *, is_http10: bool) -> Fault:
    """Whether the framing fields are why llhttp refused this lower-case header section."""
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
    """Where the response's body ends (RFC 9112 section 6.3). A repeated field holds a comma."""
    lowered = head.lowered
    length = lowered.get(b"content-length")
    coding = lowered.get(b"transfer-encoding")
    if length is not None:
        length = length.rstrip()
        if coding is not None or not _LENGTH.fullmatch(length):
            return faults.MALFORMED_RESPONSE
        head.body_length = int(length)
    elif coding is not None:
        if head.minor == 0 or coding.rstrip() != b"chunked":
            return faults.MALFORMED_RESPONSE
        head.body_length = CHUNKED
    status = head.status
    if head.minor == 0 or b"connection" in lowered:
        head.wants_close = ends_connection(lowered.get(b"connection"), head.minor)
    if request_method == b"HEAD" or status == 204 or status == 304 or status < 200:  # noqa: PLR1714 - hot: no tuple
        # Against RFC 9112 section 6.1, a 204 may announce a body: if one followed, it would be read as the
        # answer to somebody else.
        if status == 204 and (coding is not None or (length or b"").strip(b" \t0")):
            head.wants_close = True
        head.body_length = 0
    return head
