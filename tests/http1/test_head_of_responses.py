"""Heads of responses: where their bodies end, what is refused, and that h11 reads the same."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy import faults
from proxy.http1.framing import CHUNKED, UNTIL_CLOSE, framed_response
from proxy.http1.head import ResponseHead, response_head
from tests.http1 import oracle


def answer(raw, method=b"GET"):
    return response_head(raw, method)


@pytest.mark.parametrize(
    ("raw", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 200, b"OK"),
        (b"HTTP/1.1 200 \r\n\r\n", 200, b""),
        (b"HTTP/1.1 200\r\n\r\n", 200, b""),
        (b"HTTP/1.1 404 Nicht \xfcberall da\r\n\r\n", 404, b"Nicht \xfcberall da"),
        (b"HTTP/1.0 599 X\r\n\r\n", 599, b"X"),
        (b"HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", 101, b"Switching"),
    ],
)
def test_status_and_reason_are_read(raw, status, reason):
    head = answer(raw)

    assert (head.status, head.reason) == (status, reason)


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 99 X\r\n\r\n",
        b"HTTP/1.1 099 X\r\n\r\n",
        b"HTTP/1.1 000 X\r\n\r\n",
        b"HTTP/1.1 600 X\r\n\r\n",
        b"HTTP/1.1 999 X\r\n\r\n",
        b"HTTP/1.1 1000 X\r\n\r\n",
        b"HTTP/1.1 20 X\r\n\r\n",
        b"HTTP/1.1  200 X\r\n\r\n",
        b"HTTP/1.1 200 a\x01b\r\n\r\n",
        b"HTTP/1.2 200 X\r\n\r\n",
        b"HTTP/2.0 200 X\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
        b"http/1.1 200 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\r\n z\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: y\0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3,\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3 3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -3\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    ],
)
def test_response_that_others_may_read_otherwise_is_refused(raw):
    """Also statuses of no class, which clients take for 5xx."""
    assert answer(raw) is faults.MALFORMED_RESPONSE


@pytest.mark.parametrize(
    "lengths",
    [
        b"Content-Length: 3\r\nContent-Length: 3\r\n",
        b"Content-Length: 3\r\nX: y\r\ncontent-length: 03\r\n",
        b"Content-Length: 3, 3\r\n",
        b"Content-Length: 00000000000000000000000000000003\r\n",
    ],
)
def test_lengths_of_a_service_that_agree_become_one(lengths):
    """RFC 9110 section 8.6. The client gets one, in its usual spelling."""
    head = answer(b"HTTP/1.1 200 X\r\nA: b\r\n%b\r\n" % lengths)

    assert head.body_length == 3
    assert head.passing.lower().count(b"content-length") == 1
    assert head.passing.endswith(b"Content-Length: 3\r\n")
    assert head.passing.startswith(b"A: b\r\n")


@pytest.mark.parametrize(
    ("status", "fields", "method", "length"),
    [
        (200, b"", b"GET", UNTIL_CLOSE),
        (200, b"Content-Length: 5 \r\n", b"GET", 5),
        (200, b"Content-Length: 0\r\n", b"GET", 0),
        (200, b"transfer-encoding:CHUNKED \r\n", b"GET", CHUNKED),
        (200, b"Connection: Content-Length\r\nContent-Length: 5\r\n", b"GET", 5),
        (200, b"Content-Length: 5\r\n", b"HEAD", 0),
        (200, b"Transfer-Encoding: chunked\r\n", b"HEAD", 0),
        (200, b"", b"HEAD", 0),
        (204, b"", b"PUT", 0),
        (204, b"Content-Length: 5\r\n", b"PUT", 0),
        (204, b"Transfer-Encoding: chunked\r\n", b"PUT", 0),
        (205, b"", b"PUT", UNTIL_CLOSE),
        (304, b"Content-Length: 5\r\n", b"GET", 0),
        (304, b"", b"GET", 0),
        (100, b"", b"POST", 0),
        (103, b"Content-Length: 5\r\n", b"GET", 0),
        (101, b"Connection: upgrade\r\nUpgrade: x\r\n", b"GET", 0),
        (500, b"", b"GET", UNTIL_CLOSE),
    ],
)
def test_response_body_ends_where_method_status_and_fields_say(status, fields, method, length):
    """RFC 9112 section 6.3."""
    assert answer(b"HTTP/1.1 %d X\r\n%b\r\n" % (status, fields), method).body_length == length


@pytest.mark.parametrize(
    ("raw", "wants_close"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X, Close\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\nConnection: Keep-Alive\r\n\r\n", False),
        (b"HTTP/1.1 204 X\r\n\r\n", False),
        (b"HTTP/1.1 204 X\r\nContent-Length: 00\r\n\r\n", False),
        (b"HTTP/1.1 204 X\r\nContent-Length: 5\r\n\r\n", True),
        (b"HTTP/1.1 204 X\r\nTransfer-Encoding: chunked\r\n\r\n", True),
        (b"HTTP/1.1 304 X\r\nContent-Length: 5\r\n\r\n", False),
    ],
)
def test_connection_of_a_doubtful_answer_is_not_used_again(raw, wants_close):
    """A 204 must not announce a body (RFC 9112 section 6.1); if it sent one, it would answer the next request."""
    assert answer(raw).wants_close is wants_close


@given(oracle.response_heads(), st.sampled_from([b"GET", b"HEAD", b"POST"]))
def test_valid_response_means_the_same_to_h11(raw, method):
    """Status, reason, headers and the end of the body."""
    head = answer(raw, method)

    assert isinstance(head, ResponseHead)
    _assert_h11_agrees_on_response(raw, head, method)


@given(oracle.mutated(oracle.response_heads()), st.sampled_from([b"GET", b"HEAD"]))
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", b"GET")
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n", b"GET")
def test_response_that_is_passed_on_means_the_same_to_h11(raw, method):
    """Stricter on purpose as with requests, and nowhere laxer but where a framing is said in more words."""
    raw = raw[: raw.find(b"\r\n\r\n") + 4]
    head = answer(raw, method)

    if isinstance(head, ResponseHead) and head.status >= 200 and head.body_length < 1 << 20:
        _assert_h11_agrees_on_response(raw, head, method)


def _assert_h11_agrees_on_response(raw, head, method):
    length = head.body_length
    body = b"to the end" if length == UNTIL_CLOSE else oracle.body_for(length)
    theirs = oracle.read_response(oracle.said_once(raw, head) + body, method)
    assert theirs is not None
    assert theirs.start == (head.status, head.reason, head.minor)
    assert theirs.headers == oracle.lowered(head.headers)
    assert theirs.data == (b"abc" if length == CHUNKED else body)
    assert theirs.rest == b""


# --- fields ---


def test_spaces_within_a_response_field_are_read_in_linear_time():
    """A pattern that backtracks over them took two seconds."""
    value = b"x" + b" " * 60000 + b"y"

    assert answer(b"HTTP/1.1 200 OK\r\nX: %b \r\n\r\n" % value).fields == {b"x": value}


def test_fields_of_a_response_are_told_apart_for_who_asks():
    head = answer(b"HTTP/1.1 200 OK\r\nX-a: B \r\nx-A:\tC\r\nServer: Z\r\n\r\n")

    assert head.headers == [(b"X-a", b"B"), (b"x-A", b"C"), (b"Server", b"Z")]
    assert head.fields == {b"x-a": b"B, C", b"server": b"Z"}
    assert head.lowered == {b"x-a": b"b, c", b"server": b"z"}


LINES = [
    *(
        b"Content-Length: 3",
        b"content-length:3",
        b"Content-Length: 03",
        b"Content-Length: x",
        b"Content-Length: 3\t",
    ),
    *(
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Connection: keep-alive",
        b"TE: trailers",
        b"X: y",
    ),
    b"Upgrade: a",
]


@given(
    status=st.sampled_from([100, 101, 200, 201, 204, 206, 304, 404, 500]),
    minor=st.sampled_from([0, 1]),
    lines=st.lists(st.sampled_from(LINES), max_size=3),
    method=st.sampled_from([b"GET", b"HEAD", b"POST"]),
)
def test_short_way_of_framing_is_the_long_one(status, minor, lines, method):
    """Most answers have one Content-Length and nothing else that bears on their end."""
    section = b"".join(line + b"\r\n" for line in [*lines, b""])
    short = answer(b"HTTP/1.%d %d X\r\n%b" % (minor, status, section), method)
    head = ResponseHead(status, b"X", minor, section)
    long = framed_response(head, method)

    if isinstance(short, ResponseHead):
        assert (short.body_length, short.wants_close) == (head.body_length, head.wants_close)
        assert long is head
    else:
        assert long is short
