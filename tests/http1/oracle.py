"""What h11 and llhttp make of the same bytes, in one shape, and the heads that are put before them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

import h11
import httptools
from hypothesis import strategies as st

from proxy.http1.framing import CHUNKED

if TYPE_CHECKING:
    from proxy.http1.head import ResponseHead

# --- messages as h11 reads them ---


class Message(NamedTuple):
    start: tuple[bytes | int, ...]  # method, target, minor; or status, reason, minor
    headers: list[tuple[bytes, bytes]]  # names in lower case
    data: bytes
    trailers: list[tuple[bytes, bytes]]
    rest: bytes  # what h11 did not take


def read_request(data: bytes) -> Message | None:
    """The request in `data`, as h11's server reads it; None if h11 refuses it or wants more."""
    return _read(h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20), data)


def read_response(data: bytes, method: bytes = b"GET") -> Message | None:
    """The response in `data` and the close of its connection, as h11's client reads it."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    return _read(connection, data)


def _read(connection: h11.Connection, data: bytes) -> Message | None:
    start: tuple[bytes | int, ...] = ()
    headers: list[tuple[bytes, bytes]] = []
    pieces = []
    is_told_of_close = False
    try:
        connection.receive_data(data)
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                pieces.append(bytes(event.data))
            elif isinstance(event, h11.EndOfMessage):
                return Message(
                    start, headers, b"".join(pieces), _pairs(event), bytes(connection.trailing_data[0])
                )
            elif isinstance(event, (h11.Request, h11.Response, h11.InformationalResponse)):
                start, headers = _start(event), _pairs(event)
                if isinstance(event, h11.InformationalResponse):
                    return Message(start, headers, b"", [], bytes(connection.trailing_data[0]))
            elif is_told_of_close or connection.our_role is h11.SERVER:
                return None
            else:
                is_told_of_close = True
                connection.receive_data(b"")
    except h11.RemoteProtocolError:
        return None


def _start(event) -> tuple[bytes | int, ...]:
    minor = int(event.http_version[2:])
    if isinstance(event, h11.Request):
        return bytes(event.method), bytes(event.target), minor
    return event.status_code, bytes(event.reason), minor


def _pairs(event) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in event.headers]


def lowered(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Our headers as h11 gives them: names in lower case, and the coding too."""
    return [
        (n, v.lower() if n == b"transfer-encoding" else v) for n, v in ((n.lower(), v) for n, v in headers)
    ]


def body_for(length: int) -> bytes:
    """A body that ends where we say, to see whether h11 ends it there too; chunked, it holds `abc`."""
    return b"3\r\nabc\r\n0\r\n\r\n" if length == CHUNKED else b"x" * length


# --- heads as llhttp reads them, strictly ---


class Head(NamedTuple):
    start: tuple[bytes | int, ...]  # method, target, minor; or status, reason, minor
    headers: list[tuple[bytes, bytes]]  # values without the white space around them


class _HeadSink:
    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.target = self.reason = b""

    def on_url(self, url: bytes) -> None:
        self.target += url

    def on_status(self, reason: bytes) -> None:
        self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name, value.strip(b" \t")))


def llhttp_request(raw: bytes) -> Head | None:
    sink = _HeadSink()
    parser = httptools.HttpRequestParser(sink)
    if not _takes(parser, raw) or parser.get_http_version() not in ("1.0", "1.1"):
        return None
    minor = int(parser.get_http_version()[2:])
    return Head((parser.get_method(), sink.target, minor), sink.headers)


def llhttp_response(raw: bytes) -> Head | None:
    sink = _HeadSink()
    parser = httptools.HttpResponseParser(sink)
    if not _takes(parser, raw) or parser.get_http_version() not in ("1.0", "1.1"):
        return None
    minor = int(parser.get_http_version()[2:])
    return Head((parser.get_status_code(), sink.reason, minor), sink.headers)


def _takes(parser, raw: bytes) -> bool:
    try:
        parser.feed_data(raw)
    except httptools.HttpParserUpgrade:
        return True
    except httptools.HttpParserError:
        return False
    return True


# --- chunked bodies as llhttp reads them ---


class Body(NamedTuple):
    data: bytes
    is_done: bool
    is_malformed: bool


class _Sink:
    def __init__(self) -> None:
        self.data = b""
        self.is_done = False

    def on_body(self, data: bytes) -> None:
        if not self.is_done:
            self.data += data

    def on_message_complete(self) -> None:
        self.is_done = True


def read_chunked(data: bytes) -> Body:
    sink = _Sink()
    parser = httptools.HttpRequestParser(sink)
    parser.feed_data(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
    try:
        parser.feed_data(data)
    except httptools.HttpParserError:
        return Body(sink.data, sink.is_done, not sink.is_done)  # behind the end it reads the next request
    return Body(sink.data, sink.is_done, False)


# --- heads to put before them ---

TOKENS = b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
VISIBLE = bytes(range(0x21, 0x7F))
TEXT = VISIBLE + bytes(range(0x80, 0x100))


def _bytes_of(alphabet: bytes, min_size: int = 0, max_size: int = 12) -> st.SearchStrategy[bytes]:
    return st.lists(st.sampled_from(alphabet), min_size=min_size, max_size=max_size).map(bytes)


names = st.one_of(
    st.sampled_from(
        b"Accept ETag X-Auth-Token Cookie Connection TE Trailer Upgrade Keep-Alive Via X-Forwarded-For X_Y Expires".split()
    ),
    _bytes_of(TOKENS, min_size=1).map(lambda name: b"X-" + name),
)
# The last but one: what h11's pattern for values would refuse is not sent to it (two spaces are fine, an edge is OWS).
values = st.builds(
    b"".join,
    st.lists(
        st.one_of(_bytes_of(TEXT, 1), st.sampled_from([b" ", b"\t", b", ", b"close", b"keep-alive"])),
        max_size=4,
    ),
).map(lambda value: value.strip(b" \t"))
spaces = st.sampled_from([b"", b" ", b"\t", b"  ", b" \t "])
targets = st.one_of(
    _bytes_of(VISIBLE.replace(b"#", b"")).map(lambda path: b"/" + path),
    st.sampled_from([b"http://a.example", b"http://A.example:80/x?y", b"HTTP://a.EXAMPLE?q", b"//b/../c"]),
)
hosts = st.sampled_from([b"a.example", b"A.EXAMPLE", b"a.example:80"])


@st.composite
def lines(draw: st.DrawFn) -> bytes:
    name, before, value, behind = draw(names), draw(spaces), draw(values), draw(spaces)
    return b"%b:%b%b%b\r\n" % (name, before, value, behind)


framings = st.sampled_from(
    [
        b"",
        b"Content-Length: 5\r\n",
        b"content-length:005 \r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"transfer-ENCODING:  Chunked \r\n",
    ]
)


@st.composite
def request_heads(draw: st.DrawFn) -> bytes:
    """Request heads that are valid, as odd as the grammar allows."""
    method = draw(st.sampled_from([b"GET", b"POST", b"PUT", b"HEAD", b"DELETE", b"PATCH", b"OPTIONS"]))
    fields = draw(st.lists(lines(), max_size=5))
    fields.append(b"Host:%b%b%b\r\n" % (draw(spaces), draw(hosts), draw(spaces)))
    fields.append(draw(framings))
    return b"%b %b HTTP/1.1\r\n%b\r\n" % (method, draw(targets), b"".join(draw(st.permutations(fields))))


@st.composite
def response_heads(draw: st.DrawFn) -> bytes:
    """Response heads that are valid, as odd as the grammar allows."""
    status = draw(st.integers(200, 599))
    minor = draw(st.sampled_from([b"1", b"1", b"0"]))
    framing = draw(framings)
    if minor == b"0" and b"hunked" in framing:
        framing = b""
    fields = [*draw(st.lists(lines(), max_size=5)), framing]
    return b"HTTP/1.%b %d %b\r\n%b\r\n" % (
        minor,
        status,
        draw(values),
        b"".join(draw(st.permutations(fields))),
    )


_PIECES = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b"\0", b":", b",", b";", b"#", b"@", b"\x0b", b"\xff", b"0", b"5", b"chunked",
    b"Host: b.example\r\n", b"Content-Length: 5\r\n", b"Content-Length: 6\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: gzip\r\n", b"HTTP/1.0", b"HTTP/1.1", b"\r\n ", b"\r\n\r\n", b"-", b"+", b"_", b"x",
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, whole: st.SearchStrategy[bytes]) -> bytes:
    """Something valid with a few bytes put in, taken out or changed."""
    data = draw(whole)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(data)))
        to = at + draw(st.sampled_from([0, 0, 1, 2]))
        data = data[:at] + draw(st.sampled_from(_PIECES)) + data[to:]
    return data


def said_once(raw: bytes, head: ResponseHead) -> bytes:
    """The head as others take it too, where the service said a length twice or an empty member of a list.

    Both are allowed (RFC 9110 sections 8.6 and 5.6.1.2), and what is passed on has one value.
    """
    said = re.findall(rb"\n(content-length|transfer-encoding)[ \t]*:([^\r\n]*)", raw, re.IGNORECASE)
    if len(said) < 2 and not any(b"," in value for _, value in said):
        return raw
    if head.framed_by is not None and head.framed_by.name == b"transfer-encoding":
        head.replace(b"Transfer-Encoding", b"chunked")
    lines = [b"%b: %b\r\n" % header for header in head.headers]
    return raw[: raw.find(b"\n") + 1] + b"".join(lines) + b"\r\n"


def cut_head(data: bytes) -> bytes:
    """What the connection would take for the head of `data`: up to the first empty line."""
    while data.startswith(b"\r\n"):
        data = data[2:]
    return data[: data.find(b"\r\n\r\n") + 4]
