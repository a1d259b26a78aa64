"""Where a message body ends, by its header fields (RFC 9112 section 6.3).

A message whose length can be read in two ways is refused. Knows nothing of what is in a body: chunked.py.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy import faults

if TYPE_CHECKING:
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead, ResponseHead

CHUNKED: Final = -1  # body_length of a chunked message
UNTIL_CLOSE: Final = -2  # body_length of a response that ends with its connection

_LENGTH: Final = re.compile(rb"[0-9]{1,18}")  # as many digits as surely fit into anybody's 64 bits


def frame_request(head: RequestHead) -> Fault | None:
    """Where the request's body ends (RFC 9112 section 6.3). A repeated field holds a comma."""
    coding = head.fields.get(b"transfer-encoding")
    length = head.fields.get(b"content-length")
    if coding is None:
        assert length is not None
        if not _LENGTH.fullmatch(length):
            return faults.AMBIGUOUS_LENGTH
        head.body_length = int(length)
        return None
    if length is not None or (head.repeated and b"transfer-encoding" in head.repeated):
        return faults.AMBIGUOUS_LENGTH
    if head.minor == 0:
        return faults.CHUNKED_IN_HTTP10
    if coding.lower() != b"chunked":
        return faults.UNKNOWN_CODING
    head.body_length = CHUNKED
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
    found = head.found
    length = found.get(b"content-length")
    coding = found.get(b"transfer-encoding")
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
    if request_method == b"HEAD" or status == 204 or status == 304 or status < 200:  # noqa: PLR1714 - hot: no tuple
        head.body_length = 0
    return head
