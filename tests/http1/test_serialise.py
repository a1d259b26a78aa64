"""What we write is read by h11 as what came in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1.forwarded import way_lines
from proxy.http1.framing import CHUNKED, UNTIL_CLOSE
from proxy.http1.head import ResponseHead, request_head, response_head
from proxy.http1.headers import RESPONSE_DROPS, request_lines, response_lines
from proxy.http1.serialise import connection_line, interim_head, status_line, switching_head
from tests.http1 import oracle

CHUNKED_LINE = b"Transfer-Encoding: chunked\r\n"


def plain(minor=1):
    return request_head(b"GET / HTTP/1.%d\r\nHost: a\r\n\r\n" % minor, 8192, 100)


# --- parts ---


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (200, b"HTTP/1.1 200 OK\r\n"),
        (429, b"HTTP/1.1 429 Too Many Requests\r\n"),
        (599, b"HTTP/1.1 599 \r\n"),
    ],
)
def test_status_line_has_the_standard_phrase(status, line):
    """And none for a status without one."""
    assert status_line(status) == line


@pytest.mark.parametrize(
    ("minor", "keep", "line"),
    [
        (1, True, b"\r\n"),
        (0, True, b"Connection: keep-alive\r\n\r\n"),
        (1, False, b"Connection: close\r\n\r\n"),
        (0, False, b"Connection: close\r\n\r\n"),
    ],
)
def test_connection_line_says_only_what_the_version_does_not(minor, keep, line):
    assert connection_line(minor, keep=keep) == line


def test_interim_head_has_the_standard_phrase():
    """The service's own may say anything."""
    assert interim_head(103, b"Link: </a>\r\n") == b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
    assert oracle.read_response(interim_head(103, b"")).start == (103, b"Early Hints", 1)


def test_switching_head_keeps_the_upgrade():
    raw = (
        b"HTTP/1.1 101 Switching\r\nConnection: Upgrade, X\r\nUpgrade: websocket\r\nX: y\r\nSec-WebSocket-Accept: abc\r\n"
        b"X-Request-Id: theirs\r\nContent-Length: 5\r\n\r\n"
    )

    assert switching_head(response_head(raw, b"GET"), "ours") == (
        b"HTTP/1.1 101 Switching\r\nSec-WebSocket-Accept: abc\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"X-Request-Id: ours\r\n\r\n"
    )


# --- whole heads, as the gateway puts them together ---


def body_for(length):
    return b"3\r\nabc\r\n0\r\n\r\n" if length == CHUNKED else b"x" * max(length, 0)


@given(oracle.request_heads(), st.booleans())
def test_forwarded_request_is_read_by_h11_as_the_one_that_came(raw, is_trusted):
    """Method, target, body and every field that passes, and nothing a client could have smuggled in beside them."""
    head = request_head(raw, 8192, 100)
    written = b"%b %b HTTP/1.1\r\nHost: %b\r\n%b%b%b\r\n" % (
        head.method,
        head.target,
        head.fields[b"host"],
        request_lines(head),
        way_lines(head, "192.0.2.1", b"http", is_trusted=is_trusted),
        CHUNKED_LINE if head.section.body_length == CHUNKED else b"",
    )
    theirs = oracle.read_request(written + body_for(head.section.body_length) + b"rest")

    assert theirs.start == (head.method, head.target, 1)
    assert theirs.data == (
        b"abc" if head.section.body_length == CHUNKED else body_for(head.section.body_length)
    )
    assert theirs.rest == b"rest"
    assert [value for name, value in theirs.headers if name == b"host"] == [head.fields[b"host"]]
    names = [name for name, _ in theirs.headers]
    assert set(names) <= {*head.fields, b"via", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
    for name in (b"x-forwarded-for", b"via", b"content-length", b"transfer-encoding"):
        assert names.count(name) <= 1


@given(oracle.response_heads(), st.sampled_from([b"GET", b"HEAD"]))
def test_passed_response_is_read_by_h11_as_the_one_that_came(raw, method):
    head = response_head(raw, method)
    assert isinstance(head, ResponseHead)
    is_open_ended = head.body_length in (CHUNKED, UNTIL_CLOSE)
    written = b"HTTP/1.1 %d %b\r\n%b%b%b" % (
        head.status,
        head.reason,
        response_lines(head, RESPONSE_DROPS | {b"content-length"} if head.status == 204 else RESPONSE_DROPS),
        CHUNKED_LINE if is_open_ended else b"",
        connection_line(1, keep=True),
    )
    theirs = oracle.read_response(written + body_for(CHUNKED if is_open_ended else head.body_length), method)

    assert theirs.start == (head.status, head.reason, 1)
    assert theirs.data == (b"abc" if is_open_ended else body_for(head.body_length))
    assert theirs.rest == b""
    assert {name for name, _ in theirs.headers} <= {*head.fields, b"transfer-encoding"}
