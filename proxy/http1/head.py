"""Heads of messages: bytes up to the empty line in, a judged head or the fault out (RFC 9112, 2 to 6).

The start line and the whole are judged here, header lines one by one in lines.py. Strictly: what llhttp's
strict mode refuses is refused, and what is let in means the same to h11 (tests/http1). Bodies are not its
business: framing.py. Knows nothing of sockets or time.
"""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.http1.authority import is_authority, is_same_authority
from proxy.http1.framing import UNTIL_CLOSE, ends_connection, frame_request, framed_response, why_unframed
from proxy.http1.headers import REQUEST_LINES, RESPONSE_LINES
from proxy.http1.lines import CONNECTS, FRAMES, RESTS, STAYS, HeaderLine
from proxy.http1.path import folded, readings

if TYPE_CHECKING:
    from proxy.faults import Fault

# The methods of HTTP, WebDAV and its kin (IANA's registry, in part), which services may have.
METHODS: Final = frozenset(
    b"GET HEAD POST PUT DELETE OPTIONS PATCH CONNECT TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH "
    b"UNLOCK BIND REBIND UNBIND ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE "
    b"PURGE MKCALENDAR LINK UNLINK SOURCE QUERY".split()
)
_TOKEN: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_REFUSED_METHODS = frozenset((b"CONNECT", b"TRACE"))
_OTHER_TARGET: Final = re.compile(rb"\*|[A-Za-z]+://")
_ABSOLUTE = re.compile(rb"(https?)://([^/?#]*)(.*)", re.IGNORECASE)
# Outside the five classes it counts as a failure of the server, whatever it says (RFC 9110 section 15).
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.([01]) ([1-5][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_USUAL_STATUS_LINES: Final = {
    b"HTTP/1.1 %d %b" % (status, status.phrase.encode()): (int(status), status.phrase.encode(), 1)
    for status in HTTPStatus
}

RESPONSE_LINES_MAX: Final = 1000  # 64 KiB of the shortest lines would take 20 ms to read
_HTTP11: Final = b"HTTP/1.1"
_HTTP10: Final = b"HTTP/1.0"
# Of a target, for `translate`: what it may not hold becomes NUL.
_VISIBLE: Final = bytes([byte if 0x20 < byte < 0x7F else 0 for byte in range(256)])
# Bytes are looked for by their number: `0x23 in target` costs a tenth of `b"#" in target`.
_SLASH: Final = 0x2F
_HASH: Final = 0x23
_NUL: Final = 0


class HeaderSection:
    """The header fields of a request, and what they say whatever its target.

    One object for all requests of a connection that repeat the section to the byte.
    """

    __slots__ = (
        "body_length",
        "data",
        "facts",
        "fields",
        "framed_by",
        "is_ambiguous",
        "lines",
        "marks",
        "passing",
        "repeated",
        "wants_close",
    )

    def __init__(self, data: bytes) -> None:
        self.data = data  # the bytes, the empty line included
        self.lines: list[HeaderLine] = []  # as they came
        self.fields: dict[bytes, bytes] = {}  # by lower-case name; repeated ones joined by a comma
        self.repeated: set[bytes] | None = None  # lower-case names that came more than once
        self.marks = 0
        self.framed_by: HeaderLine | None = None
        self.is_ambiguous = False  # framed by more than one line
        self.body_length = 0  # bytes, or CHUNKED
        self.wants_close = False  # the client will not use the connection after this exchange
        self.passing = b""  # what goes on to the other side, if no line speaks against it
        self.facts: object = None  # what the rules made of it

    def read(self, minor: int, most: int) -> Fault | None:
        """What is wrong with the lines, of which there may be `most`; else all is known of them then."""
        lines = REQUEST_LINES.read(self.data, most)
        if lines is None:
            is_too_long = self.data.count(b"\n") > most + 1  # with the empty line
            if is_too_long:
                return faults.TOO_MANY_HEADERS
            return why_unframed(b"\r\n" + self.data.lower(), is_http10=minor == 0)
        self.lines = lines
        fields = self.fields
        marks = 0
        passing = []
        for line in lines:
            fields[line.name] = line.value
            if line.marks:
                marks |= line.marks
                if line.marks & FRAMES:
                    self.is_ambiguous = self.framed_by is not None
                    self.framed_by = line
                if line.marks & STAYS:
                    continue
            passing.append(line.data)
        self.marks = marks
        self.passing = b"".join(passing)
        if len(fields) != len(lines):
            self._join()
        host = fields.get(b"host")
        is_usual = minor == 1 and host is not None and is_authority(host) and b"expect" not in fields
        return None if is_usual and not marks & (FRAMES | CONNECTS) else self._why_refused(minor)

    def _why_refused(self, minor: int) -> Fault | None:
        """What is wrong with the fields; else what they say of body and connection is known then."""
        fields = self.fields
        if self.framed_by is not None and (fault := frame_request(self, minor)):
            return fault
        host = fields.get(b"host")
        if (host is None and minor == 1) or (host is not None and not is_authority(host)):
            return faults.BAD_HOST  # also for two of them: they are joined by a comma, which no host holds
        if b"expect" in fields and fields[b"expect"].lower() != b"100-continue":
            return faults.UNKNOWN_EXPECTATION
        if minor == 0 or self.marks & CONNECTS:
            self.wants_close = ends_connection(fields.get(b"connection"), minor)
        return None

    def _join(self) -> None:
        """The values of fields that came more than once."""
        fields = self.fields
        fields.clear()
        repeated = self.repeated = set()
        for line in self.lines:
            name = line.name
            if name in fields:
                fields[name] = b"%b, %b" % (fields[name], line.value)
                repeated.add(name)
            else:
                fields[name] = line.value

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values as they came: order, case, duplicates."""
        return [line.header for line in self.lines]


class RequestHead:
    """A request's head: its line, and its header section."""

    __slots__ = ("_folded_paths", "_paths", "fields", "method", "minor", "section", "target")

    def __init__(self, method: bytes, target: bytes, minor: int, section: HeaderSection) -> None:
        self.method = method
        self.target = target
        self.minor = minor  # of the version: 0 or 1
        self.section = section
        self.fields = section.fields
        self._paths: tuple[bytes, ...] = ()
        self._folded_paths: tuple[bytes, ...] = ()

    @property
    def paths(self) -> tuple[bytes, ...]:
        """The path in all of its readings, for matching only: what is forwarded is the target."""
        if not self._paths:
            self._paths = readings(self.target)
        return self._paths

    @property
    def folded_paths(self) -> tuple[bytes, ...]:
        """The same without regard to case."""
        if not self._folded_paths:
            paths = self.paths
            self._folded_paths = (
                (folded(paths[0]),) if len(paths) == 1 else tuple(dict.fromkeys(map(folded, paths)))
            )
        return self._folded_paths


class ResponseHead:
    """A response's head as it came.

    Its lines mostly pass on untouched, so its fields are told apart only for who asks.
    """

    __slots__ = (
        "_fields",
        "_lowered",
        "body_length",
        "framed_by",
        "is_ambiguous",
        "is_malformed",
        "lines",
        "marks",
        "minor",
        "passing",
        "reason",
        "rest_seconds",
        "status",
        "wants_close",
    )

    def __init__(self, status: int, reason: bytes, minor: int, section: bytes) -> None:
        """`section` are the lines behind the first one."""
        lines = RESPONSE_LINES.read(section, RESPONSE_LINES_MAX)
        self.status = status
        self.reason = reason
        self.minor = minor
        self.is_malformed = lines is None
        self.lines = lines or []  # as they came
        self.framed_by: HeaderLine | None = None
        self.is_ambiguous = False  # framed by more than one line
        self.body_length = UNTIL_CLOSE  # bytes, or CHUNKED, or UNTIL_CLOSE
        self.wants_close = False  # the connection carries no other exchange
        self.rest_seconds = -1  # that the connection may be idle, as the server says; -1: it does not
        self._fields: dict[bytes, bytes] | None = None
        self._lowered: dict[bytes, bytes] | None = None
        marks = 0
        passing = []
        for line in self.lines:
            if line.marks:
                marks |= line.marks
                if line.marks & FRAMES:
                    self.is_ambiguous = self.framed_by is not None
                    self.framed_by = line
                if line.marks & RESTS:
                    self.rest_seconds = line.length
                if line.marks & STAYS:
                    continue
            passing.append(line.data)
        self.marks = marks
        self.passing = b"".join(passing)  # what goes on to the other side, if no line speaks against it

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values as they came: order, case, duplicates."""
        return [line.header for line in self.lines]

    @property
    def fields(self) -> dict[bytes, bytes]:
        """What it has by lower-case name; the values of a repeated field are joined by a comma."""
        if self._fields is None:
            fields: dict[bytes, bytes] = {}
            for line in self.lines:
                name, value = line.name, line.value
                fields[name] = fields[name] + b", " + value if name in fields else value
            self._fields = fields
        return self._fields

    @property
    def lowered(self) -> dict[bytes, bytes]:
        """The fields with their values in lower case too."""
        if self._lowered is None:
            self._lowered = {name: value.lower() for name, value in self.fields.items()}
        return self._lowered

    def replace(self, name: bytes, value: bytes) -> None:
        """One field in the place of all that have the name, in lower case, already."""
        lowered = name.lower()
        self.lines = [line for line in self.lines if line.name != lowered]
        self.passing = b"".join([line.data for line in self.lines if not line.marks & STAYS])
        self.add(name, value)

    def add(self, name: bytes, value: bytes) -> None:
        """A further field, behind those that came."""
        line = HeaderLine(name.lower(), value, b"%b: %b\r\n" % (name, value), 0)
        self.lines.append(line)
        self.passing += line.data
        self._fields = self._lowered = None


# --- requests ---


def request_head(
    data: bytes,
    line_bytes: int,
    headers_max: int,
    last: RequestHead | None = None,
    methods: frozenset[bytes] = METHODS,
) -> RequestHead | Fault:
    """The head in `data`, which ends with the first empty line, or why it is refused.

    `last` is the head before it on the same connection. Clients mostly repeat their header section to the
    byte, and what was judged once need not be judged again.
    """
    line_end = data.find(b"\r\n")
    if line_end > line_bytes:
        return faults.LINE_TOO_LONG
    line = data[:line_end].split(b" ")
    if not _is_request_line(line, methods):
        return _why_malformed(data, line)
    method, target, version = line
    minor = 1 if version == _HTTP11 else 0
    rest = data[line_end + 2 :]
    # Not after HTTP/1.0, for which other rules hold: it needs no Host.
    is_repeated = last is not None and last.minor == minor == 1 and last.method == method
    if last is not None and is_repeated and rest == last.section.data:
        head = RequestHead(method, target, minor, last.section)
    else:
        section = HeaderSection(rest)
        head = RequestHead(method, target, minor, section)
        fault = section.read(minor, headers_max)
        if fault is not None:
            return fault
    if method in _REFUSED_METHODS:
        return faults.METHOD_REFUSED
    if target[0] != _SLASH or _HASH in target:
        return _reduce_target(head, head.fields.get(b"host")) or head
    return head


def _is_request_line(parts: list[bytes], methods: frozenset[bytes]) -> bool:
    """Whether everybody reads it alike: two spaces, a method that is known, no byte that a URI has not."""
    if len(parts) != 3 or parts[0] not in methods or parts[2] not in (_HTTP11, _HTTP10):
        return False
    target = parts[1]
    if not target or _NUL in target.translate(_VISIBLE):
        return False
    return target[0] == _SLASH or parts[0] == b"CONNECT" or _OTHER_TARGET.match(target) is not None


def is_plain_line(method: bytes, target: bytes, line_bytes: int, methods: frozenset[bytes]) -> bool:
    """Whether `request_head` would take a line of these as it stands, whatever the section says."""
    return (
        len(method) + len(target) + len(b"  HTTP/1.1") <= line_bytes
        and method in methods
        and method not in _REFUSED_METHODS
        and target[0] == _SLASH
        and _HASH not in target
        and _NUL not in target.translate(_VISIBLE)
    )


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


def _why_malformed(data: bytes, parts: list[bytes]) -> Fault:
    """The most telling fault for a head whose grammar is refused; `parts` are those of its first line."""
    line, _, section = data.partition(b"\r\n")
    version = re.fullmatch(rb"[!-~]+ [!-~]+ HTTP/([0-9]+(?:\.[0-9]+)?)", line)
    if version is None:
        return faults.MALFORMED_HEAD
    if version[1] not in (b"1.1", b"1.0"):
        return faults.UNSUPPORTED_VERSION
    fault = why_unframed(b"\r\n" + section.lower(), is_http10=version[1] == b"1.0")
    method = parts[0]
    is_strange = _TOKEN.fullmatch(method) is not None and _is_request_line(parts, frozenset((method,)))
    return faults.UNKNOWN_METHOD if is_strange and fault is faults.MALFORMED_HEAD else fault


# --- responses ---


def response_head(data: bytes, request_method: bytes) -> ResponseHead | Fault:
    """The response head in `data`, which ends with the first empty line, framed for the method it answers."""
    line_end = data.find(b"\r\n")
    line = data[:line_end]
    start = _USUAL_STATUS_LINES.get(line) or _status_line(line)
    if start is None:
        return faults.MALFORMED_RESPONSE
    status, reason, minor = start
    head = ResponseHead(status, reason, minor, data[line_end + 2 :])
    if head.is_malformed:
        return faults.MALFORMED_RESPONSE
    length = head.framed_by
    is_plain = length is not None and not head.is_ambiguous and not head.marks & CONNECTS and minor == 1
    has_body = status >= 200 and status != 204 and status != 304 and request_method != b"HEAD"  # noqa: PLR1714 - hot: no tuple
    if length is not None and is_plain and has_body and length.length >= 0:
        head.body_length = length.length  # nearly every answer: nothing else bears on its end
        return head
    return framed_response(head, request_method)


def _status_line(line: bytes) -> tuple[int, bytes, int] | None:
    match = _STATUS_LINE.fullmatch(line)
    return (int(match[2]), match[3] or b"", int(match[1])) if match is not None else None
