"""Heads of messages: bytes up to the empty line in, a judged head or the fault out (RFC 9112 sections 2 to 6).

A head is fed to llhttp (httptools, strict mode) once, whole, by a parser that lives for this head only, so no state can
leak from one message into the next. llhttp judges the grammar; the rules it lacks (Host, targets, versions, counts) are
here. Bodies are not its business: framing.py. Knows nothing of sockets or time.
"""

from __future__ import annotations

import re

import httptools

from proxy import faults
from proxy.faults import Fault
from proxy.http1.path import normalised

CHUNKED = -1  # body_length of a chunked message
UNTIL_CLOSE = -2  # body_length of a response that ends with its connection

# RFC 3986 section 3.2.2 host, with an optional port.
_AUTHORITY = re.compile(rb"(?:[A-Za-z0-9\-._~!$&'()*+,;=%]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?#]*)([^#]*)")
_REASON = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_LENGTH = re.compile(rb"[0-9]{1,18}")
# A request line about which there is nothing to judge: its method was good before, its target is plain origin-form.
_PLAIN_LINE = re.compile(rb"([A-Z\-]+) (/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*) HTTP/1\.1\r\n")
_REFUSED_METHODS = frozenset((b"CONNECT", b"TRACE"))


class RequestHead:
    """A request's head as it came; the sink of its parser."""

    __slots__ = (
        "_path",
        "body_length",
        "fields",
        "headers",
        "memo",
        "method",
        "minor",
        "repeated",
        "section",
        "target",
    )

    def __init__(self, section: bytes = b"") -> None:
        self.target = b""
        self.section = section  # the bytes behind the request line
        self.memo: object = (
            None  # what others worked out from the section; goes on to the next head that repeats it
        )
        self.headers: list[tuple[bytes, bytes]] = []  # as they came: order, case, duplicates
        self.fields: dict[bytes, bytes] = {}  # by lower-case name; repeated ones joined by a comma
        self.repeated: set[bytes] | None = None  # lower-case names that came more than once
        self.body_length = 0  # bytes, or CHUNKED
        self._path: bytes | None = None

    def on_url(self, target: bytes) -> None:
        self.target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))
        name = name.lower()
        if name in self.fields:
            _join(self, name, value)
        else:
            self.fields[name] = value

    @property
    def path(self) -> bytes:
        """The normalised path, for matching only: what is forwarded is the target."""
        if self._path is None:
            self._path = normalised(self.target)
        return self._path

    @property
    def wants_close(self) -> bool:
        """The client will not send another request on this connection (RFC 9112 section 9.3)."""
        options = self.fields.get(b"connection")
        if options is None:
            return self.minor == 0
        tokens = listed(options)
        return b"close" in tokens or (self.minor == 0 and b"keep-alive" not in tokens)


class ResponseHead:
    """A response's head as it came; the sink of its parser."""

    __slots__ = ("body_length", "fields", "headers", "minor", "reason", "repeated", "status")

    def __init__(self) -> None:
        self.reason = b""
        self.headers: list[tuple[bytes, bytes]] = []
        self.fields: dict[bytes, bytes] = {}
        self.repeated: set[bytes] | None = None
        self.body_length = UNTIL_CLOSE  # bytes, CHUNKED or UNTIL_CLOSE

    def on_status(self, reason: bytes) -> None:
        self.reason = reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value))
        name = name.lower()
        if name in self.fields:
            _join(self, name, value)
        else:
            self.fields[name] = value

    @property
    def wants_close(self) -> bool:
        """The server will close the connection after this response."""
        options = self.fields.get(b"connection")
        if options is None:
            return self.minor == 0
        tokens = listed(options)
        return b"close" in tokens or (self.minor == 0 and b"keep-alive" not in tokens)


def _join(head: RequestHead | ResponseHead, name: bytes, value: bytes) -> None:
    """A field that was there before (RFC 9110 section 5.3)."""
    head.fields[name] += b", " + value
    if head.repeated is None:
        head.repeated = set()
    head.repeated.add(name)


def listed(value: bytes) -> list[bytes]:
    """The lower-case members of a comma-separated field value (RFC 9110 section 5.6.1)."""
    return [member for part in value.lower().split(b",") if (member := part.strip(b" \t"))]


def request_head(
    data: bytes, line_bytes: int, headers_max: int, last: RequestHead | None = None
) -> RequestHead | Fault:
    """The head in `data`, which ends with the first empty line, or why it is refused.

    `last` is the head before it on the same connection. Clients mostly repeat their header section to the byte, and what
    was judged once need not be judged again: 0.8 us instead of 2.6.
    """
    line_end = data.find(b"\r\n") + 2
    section = data[line_end:]
    if last is not None and section == last.section and last.minor == 1 and line_end <= line_bytes:
        match = _PLAIN_LINE.fullmatch(data, 0, line_end)
        if match is not None and match[1] == last.method:
            return _again(last, match[2])
    head = RequestHead(section)
    parser = httptools.HttpRequestParser(head)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # CONNECT, or an Upgrade field: the head itself is well formed
    except httptools.HttpParserError:
        return _why_malformed(data, line_bytes)
    method = head.method = parser.get_method()
    target = head.target
    # The line exactly as it will be read by everybody: one space, one target, version 1.1 or 1.0.
    if data.startswith(b"%b %b HTTP/1.1\r\n" % (method, target)):
        head.minor = 1
    elif data.startswith(b"%b %b HTTP/1.0\r\n" % (method, target)):
        head.minor = 0
    else:
        return _why_malformed(data, line_bytes)
    if line_end > line_bytes:
        return faults.LINE_TOO_LONG
    if len(head.headers) > headers_max:
        return faults.TOO_MANY_HEADERS
    return _judged(head)


def _again(last: RequestHead, target: bytes) -> RequestHead:
    """The same request for another target."""
    head = RequestHead.__new__(RequestHead)
    head.method = last.method
    head.target = target
    head.minor = 1
    head.section = last.section
    head.headers = last.headers
    head.fields = last.fields
    head.repeated = last.repeated
    head.body_length = last.body_length
    head.memo = last.memo
    head._path = None  # noqa: SLF001 - its own module
    return head


def _judged(head: RequestHead) -> RequestHead | Fault:
    fields = head.fields
    host = fields.get(b"host")
    if host is None:
        if head.minor == 1:
            return faults.BAD_HOST
    elif not _AUTHORITY.fullmatch(host.rstrip(b" \t")):  # a comma of a repeated Host is caught below
        return faults.BAD_HOST
    repeated = head.repeated
    if repeated and (
        b"host" in repeated or b"transfer-encoding" in repeated or b"content-length" in repeated
    ):
        return faults.BAD_HOST if b"host" in repeated else faults.AMBIGUOUS_LENGTH
    if head.method in _REFUSED_METHODS:
        return faults.METHOD_REFUSED
    if not head.target.startswith(b"/") or b"#" in head.target:
        fault = _reduce_target(head, host)
        if fault is not None:
            return fault
    if b"expect" in fields and fields[b"expect"].strip(b" \t").lower() != b"100-continue":
        return faults.UNKNOWN_EXPECTATION
    if b"transfer-encoding" in fields or b"content-length" in fields:
        fault = _frame_request(head)
        if fault is not None:
            return fault
    return head


def _reduce_target(head: RequestHead, host: bytes | None) -> Fault | None:
    """Brings absolute-form to origin-form (RFC 9112 section 3.2.2) and refuses what is neither."""
    target = head.target
    if b"#" in target:
        return faults.BAD_TARGET
    if target == b"*":
        return None if head.method == b"OPTIONS" else faults.BAD_TARGET
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return faults.BAD_TARGET
    authority, rest = absolute.groups()
    if not _AUTHORITY.fullmatch(authority):
        return faults.BAD_TARGET
    if host is None or authority.lower() != host.rstrip(b" \t").lower():
        return faults.MISDIRECTED
    head.target = rest if rest.startswith(b"/") else b"/" + rest
    return None


def _frame_request(head: RequestHead) -> Fault | None:
    """Where the request's body ends (RFC 9112 section 6.3)."""
    coding = head.fields.get(b"transfer-encoding")
    length = head.fields.get(b"content-length")
    if coding is None:
        assert length is not None
        length = length.rstrip(b" \t")
        if not _LENGTH.fullmatch(length):
            return faults.AMBIGUOUS_LENGTH
        head.body_length = int(length)
        return None
    if length is not None:
        return faults.AMBIGUOUS_LENGTH
    if head.minor == 0:
        return faults.CHUNKED_IN_HTTP10
    if coding.rstrip(b" \t").lower() != b"chunked":
        return faults.UNKNOWN_CODING
    head.body_length = CHUNKED
    return None


def _why_malformed(data: bytes, line_bytes: int) -> Fault:
    """The most telling fault for a head that llhttp refused: the order of the design's list."""
    line_end = data.find(b"\r\n")
    if line_end > line_bytes:
        return faults.LINE_TOO_LONG
    line = data[:line_end]
    lower = data.lower()
    if b"\r\ntransfer-encoding:" in lower and re.fullmatch(rb"[A-Z\-]+ [!-~]+ HTTP/1\.1", line):
        return _why_coding(lower)
    if line.count(b" ") == 2 and re.search(rb" HTTP/(?!1\.[01]$)[0-9]+(\.[0-9]+)?$", line):
        return faults.UNSUPPORTED_VERSION
    if lower.count(b"\r\ncontent-length") > 1:
        return faults.AMBIGUOUS_LENGTH
    return faults.MALFORMED_HEAD


def _why_coding(lower: bytes) -> Fault:
    codings = re.findall(rb"\r\ntransfer-encoding:[ \t]*([^\r\n]*)", lower)
    if len(codings) > 1 or b"\r\ncontent-length" in lower:
        return faults.AMBIGUOUS_LENGTH
    return faults.UNKNOWN_CODING if codings[0].rstrip(b" \t") != b"chunked" else faults.MALFORMED_HEAD


def response_head(data: bytes, request_method: bytes) -> ResponseHead | Fault:
    """The response head in `data`, which ends with the first empty line, framed for the method it answers."""
    head = ResponseHead()
    parser = httptools.HttpResponseParser(head)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError:
        return faults.MALFORMED_RESPONSE
    status = head.status = parser.get_status_code()
    if data.startswith(b"HTTP/1.1 "):
        head.minor = 1
    elif data.startswith(b"HTTP/1.0 "):
        head.minor = 0
    else:
        return faults.MALFORMED_RESPONSE
    if status < 100 or not _REASON.fullmatch(head.reason):
        return faults.MALFORMED_RESPONSE
    return _framed_response(head, request_method)


def _framed_response(head: ResponseHead, request_method: bytes) -> ResponseHead | Fault:
    """Where the response's body ends (RFC 9112 section 6.3)."""
    fields = head.fields
    length = fields.get(b"content-length")
    coding = fields.get(b"transfer-encoding")
    if length is not None:
        length = length.rstrip(b" \t")
        if coding is not None or not _LENGTH.fullmatch(length):  # a repeated one holds a comma
            return faults.MALFORMED_RESPONSE
        head.body_length = int(length)
    elif coding is not None:
        if head.minor == 0 or coding.rstrip(b" \t").lower() != b"chunked":
            return faults.MALFORMED_RESPONSE
        head.body_length = CHUNKED
    status = head.status
    if request_method == b"HEAD" or status == 204 or status == 304 or status < 200:  # noqa: PLR1714 - hot: no tuple
        head.body_length = 0
    return head
