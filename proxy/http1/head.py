"""Heads of messages: bytes up to the empty line in, a judged head or the fault out (RFC 9112, 2 to 6).

A head is fed to llhttp (httptools, strict mode) once, whole, by a parser that lives for this head only, so no
state can leak from one message into the next. llhttp judges the grammar; the rules it lacks (Host, targets,
versions, counts) are here. Bodies are not its business: framing.py. Knows nothing of sockets or time.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import httptools

from proxy import faults
from proxy.http1.authority import is_authority, is_same_authority
from proxy.http1.framing import (
    UNTIL_CLOSE,
    ends_connection,
    frame_request,
    framed_response,
    why_unframed,
)
from proxy.http1.path import normalised

if TYPE_CHECKING:
    from proxy.faults import Fault

_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE)
# Outside the five classes it counts as a failure of the server, whatever it says (RFC 9110 section 15).
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?\r\n")
# Of a section that llhttp has judged. Without the spaces around a value: backtracking over them is quadratic.
_FIELD = re.compile(rb"([^:\r\n]+):([^\r\n]*)\r\n")
# A request line with nothing to judge: its method was good before, its target is plain origin-form.
_PLAIN_LINE: Final = re.compile(rb"([A-Z\-]+) (/[A-Za-z0-9\-._~!$&'()*+,;=:@%/?]*) HTTP/1\.1")
_REFUSED_METHODS = frozenset((b"CONNECT", b"TRACE"))

_SINK: Final = object()  # what llhttp would tell is in the bytes that it has judged

# Bytes are looked for by their number: `0x23 in target` costs a tenth of `b"#" in target`.
_SLASH: Final = 0x2F
_HASH: Final = 0x23


class HeaderSection:
    """The header fields of a request, and what they say whatever its target.

    One object for all requests of a connection that repeat the section to the byte.
    """

    __slots__ = ("body_length", "data", "facts", "fields", "headers", "repeated", "wants_close")

    def __init__(self, data: bytes) -> None:
        """`data` are the lines that llhttp has judged, the empty one included."""
        headers: list[tuple[bytes, bytes]] = []
        fields: dict[bytes, bytes] = {}
        self.data = data
        self.headers = headers  # as they came: order, case, duplicates
        self.fields = fields  # by lower-case name; repeated ones joined by a comma
        self.repeated: set[bytes] | None = None  # lower-case names that came more than once
        self.body_length = 0  # bytes, or CHUNKED
        self.wants_close = False  # the client will not use the connection after this exchange
        self.facts: object = None  # what the rules made of it
        for line in data[:-2].split(b"\r\n")[:-1]:
            name, _, value = line.partition(b":")
            value = value.strip()  # the white space around it is not part of it (RFC 9112 section 5.1)
            headers.append((name, value))
            name = name.lower()
            if name in fields:
                fields[name] += b", " + value
                self.repeated = self.repeated or set()
                self.repeated.add(name)
            else:
                fields[name] = value


class RequestHead:
    """A request's head: its line, and its header section."""

    __slots__ = ("_path", "fields", "method", "minor", "section", "target")

    def __init__(self, method: bytes, target: bytes, minor: int, section: HeaderSection) -> None:
        self.method = method
        self.target = target
        self.minor = minor  # of the version: 0 or 1
        self.section = section
        self.fields = section.fields
        self._path: bytes | None = None

    @property
    def path(self) -> bytes:
        """The normalised path, for matching only: what is forwarded is the target."""
        if self._path is None:
            self._path = normalised(self.target)
        return self._path


UNREAD: Final = RequestHead(b"", b"", 1, HeaderSection(b"\r\n"))  # stands for one that could not be read
UNREAD.section.wants_close = True


class ResponseHead:
    """A response's head as it came; the sink of its parser.

    It passes on as bytes, mostly untouched, so its fields are told apart only for who asks. `lowered`, by
    lower-case name and with lower-case values, is what framing needs.
    """

    __slots__ = (
        "_fields",
        "_headers",
        "body_length",
        "lowered",
        "minor",
        "on_header",
        "reason",
        "section",
        "status",
        "wants_close",
    )

    def __init__(self, section: bytes) -> None:
        self.status = 0
        self.reason = b""
        self.minor = 1
        self.section = section  # the header lines, each with its CRLF
        self.body_length = UNTIL_CLOSE  # bytes, or CHUNKED, or UNTIL_CLOSE
        self.wants_close = False  # the connection carries no other exchange
        self.lowered: dict[bytes, bytes] = {}
        self.on_header = self.lowered.__setitem__  # without a frame of Python: 1.2 us a head less
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._fields: dict[bytes, bytes] | None = None

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values as they came: order, case, duplicates."""
        if self._headers is None:
            self._headers = [(name, value.strip()) for name, value in _FIELD.findall(self.section)]
        return self._headers

    @property
    def fields(self) -> dict[bytes, bytes]:
        """By lower-case name; the values of a repeated field are joined by a comma."""
        if self._fields is None:
            fields: dict[bytes, bytes] = {}
            for name, value in self.headers:
                lower = name.lower()
                fields[lower] = fields[lower] + b", " + value if lower in fields else value
            self._fields = fields
        return self._fields

    def add(self, name: bytes, value: bytes) -> None:
        """A further field, behind those that came."""
        self.section += b"%b: %b\r\n" % (name, value)
        self.lowered[name.lower()] = value.lower()
        self._headers = self._fields = None


# --- requests ---


def request_head(
    data: bytes, line_bytes: int, headers_max: int, last: RequestHead | None = None
) -> RequestHead | Fault:
    """The head in `data`, which ends with the first empty line, or why it is refused.

    `last` is the head before it on the same connection. Clients mostly repeat their header section to the
    byte, and what was judged once need not be judged again: 0.8 us instead of 2.6.
    """
    line_end = data.find(b"\r\n")
    if line_end > line_bytes:
        return faults.LINE_TOO_LONG
    lines = data[line_end + 2 :]
    # Not after HTTP/1.0, for which other rules hold: it needs no Host.
    if last is not None and lines == last.section.data and last.minor == 1:
        match = _PLAIN_LINE.fullmatch(data, 0, line_end)
        if match is not None and match[1] == last.method:
            return RequestHead(last.method, match[2], 1, last.section)
    if lines.count(b"\n") > headers_max + 1:  # with the empty line
        return faults.TOO_MANY_HEADERS
    parser = httptools.HttpRequestParser(_SINK)
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass  # CONNECT, or an Upgrade field: the head itself is well formed
    except httptools.HttpParserError:
        return _why_malformed(data)
    # The line exactly as everybody will read it: nothing before the method, two spaces, and a version that we
    # speak. llhttp takes more.
    line = data[:line_end].split(b" ")
    if len(line) != 3 or line[0] != parser.get_method() or line[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
        return _why_malformed(data)
    minor = 1 if line[2] == b"HTTP/1.1" else 0
    return _judged(RequestHead(line[0], line[1], minor, HeaderSection(lines)))


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


def _judged(head: RequestHead) -> RequestHead | Fault:
    section = head.section
    fields = section.fields
    host = fields.get(b"host")
    if (host is None and head.minor == 1) or (host is not None and not is_authority(host)):
        return faults.BAD_HOST  # also for two of them: they are joined by a comma, which no host holds
    if head.method in _REFUSED_METHODS:
        return faults.METHOD_REFUSED
    if head.target[0] != _SLASH or _HASH in head.target:
        fault = _reduce_target(head, host)
        if fault is not None:
            return fault
    if b"expect" in fields and fields[b"expect"].lower() != b"100-continue":
        return faults.UNKNOWN_EXPECTATION
    if head.minor == 0 or b"connection" in fields:
        section.wants_close = ends_connection(fields.get(b"connection"), head.minor)
    if b"transfer-encoding" in fields or b"content-length" in fields:
        return frame_request(section, head.minor) or head
    return head


def _reduce_target(head: RequestHead, host: bytes | None) -> Fault | None:
    """Brings absolute-form to origin-form (RFC 9112 section 3.2.2) and refuses what is neither."""
    target = head.target
    if _HASH in target:
        return faults.BAD_TARGET
    if target == b"*":
        return None if head.method == b"OPTIONS" else faults.BAD_TARGET
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        return faults.BAD_TARGET
    scheme, authority, rest = absolute.groups()
    if not is_authority(authority):
        return faults.BAD_TARGET
    if host is None or not is_same_authority(authority, host, scheme):
        return faults.MISDIRECTED
    if not rest and head.method == b"OPTIONS":
        head.target = b"*"  # the server as a whole (RFC 9112 section 3.2.4)
    else:
        head.target = rest if rest.startswith(b"/") else b"/" + rest
    return None


def _why_malformed(data: bytes) -> Fault:
    """The most telling fault for a head whose grammar is refused."""
    line, _, section = data.partition(b"\r\n")
    version = re.fullmatch(rb"[!-~]+ [!-~]+ HTTP/([0-9]+(?:\.[0-9]+)?)", line)
    if version is None:
        return faults.MALFORMED_HEAD
    if version[1] not in (b"1.1", b"1.0"):
        return faults.UNSUPPORTED_VERSION
    return why_unframed(b"\r\n" + section.lower(), is_http10=version[1] == b"1.0")


# --- responses ---


def response_head(data: bytes, request_method: bytes) -> ResponseHead | Fault:
    """The response head in `data`, which ends with the first empty line, framed for the method it answers."""
    line_end = data.find(b"\r\n") + 2
    line = _STATUS_LINE.fullmatch(data, 0, line_end)
    head = ResponseHead(data[line_end:-2])
    parser = httptools.HttpResponseParser(head)
    try:
        parser.feed_data(data[:line_end] + data[line_end:].lower())
    except httptools.HttpParserUpgrade:
        pass  # 101, or an Upgrade field: the head itself is well formed
    except httptools.HttpParserError:
        return faults.MALFORMED_RESPONSE
    if line is None:  # llhttp takes more
        return faults.MALFORMED_RESPONSE
    head.minor = 1 if line[1] == b"1" else 0
    head.status = int(line[2])
    head.reason = line[3] or b""
    if len(head.lowered) != head.section.count(b"\n"):  # a field is repeated: all its values count
        head.lowered = {name: value.lower() for name, value in head.fields.items()}
    return framed_response(head, request_method)
