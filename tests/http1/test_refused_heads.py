"""What is told of heads that are refused unread, and how long more of them is waited for."""

import pytest

from proxy import faults
from proxy.http1.refused_heads import UNREAD, asked_line, unfinished_fault, unread_head
from tests.http1.cases import LINE_BYTES


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (b"GET / HTTP/1.1\r\nHost: a", None),
        (b"\r", None),
        (b"GET /" + b"a" * LINE_BYTES, faults.LINE_TOO_LONG),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * 4096, faults.HEAD_TOO_LARGE),
        (b"GET / HTTP/1.1\nHost: a\n\n", faults.MALFORMED_HEAD),  # it would never end
        (b"\x16\x03\x01\x02\x00\x01", faults.MALFORMED_HEAD),  # TLS
    ],
)
def test_nobody_waits_for_the_rest_of_what_can_become_no_head(data, fault):
    """`None`: more may come."""
    assert unfinished_fault(data, 0, LINE_BYTES, 4096) is fault


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", (b"GET", b"/x")),
        (b"FOO /x HTTP/1.1\r\n", (b"FOO", b"/x")),
        (b"GET /x HTTP/2.0\r\n\r\n", (b"GET", b"/x")),
        (b"GET /" + b"x" * 90 + b" HTTP/1.1\r\n", (b"", b"")),  # longer than a line may be
        (b"GET /x HTTP/1.1\n", (b"", b"")),
        (b"GET  /x HTTP/1.1\r\n", (b"", b"")),
        (b"GET /a b HTTP/1.1\r\n", (b"", b"")),
        (b"\x16\x03\x01\x02\x00", (b"", b"")),
        (b"", (b"", b"")),
    ],
)
def test_refused_head_is_told_of_by_its_first_line(data, told):
    """Where it has the form of one."""
    assert asked_line(data, 80) == told


@pytest.mark.parametrize(
    ("data", "origin"),
    [
        (b"GET /\r\norigin:  https://a \r\nHost: b\r\n\r\n", b"https://a"),
        (b"GET /\r\nHost: b\r\nOrigin: https://a\r\n\r\nrest", b"https://a"),
        (b"GET /\r\nOrigin: https://a\r\nHost: unfinis", b"https://a"),
        (b"GET /\r\nHost: b\r\n\r\nGET /\r\nOrigin: https://a\r\n\r\n", None),
        (b"GET /\r\nX-Origin: https://a\r\n\r\n", None),
        (b"GET /\r\nOrigin: https://a\x00\r\n\r\n", None),
        (b"\x16\x03\x01", None),
    ],
)
def test_of_a_head_that_is_refused_unread_the_origin_is_known(data, origin):
    """And nothing of what stands behind it."""
    found = unread_head(data)

    assert found.fields == ({b"origin": origin} if origin else {})
    assert found.section.wants_close
    assert (found is UNREAD) is (origin is None)
