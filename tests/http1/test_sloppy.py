from __future__ import annotations

import pytest

from proxy.faults import Fault
from proxy.http1.head import response_head
from proxy.http1.sloppy import put_right

STRICT = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b c\r\n\r\n"
SLOPPY = {
    "LF": b"HTTP/1.1 200 OK\nContent-Length: 5\nX-A: b c\n\n",
    "space before a colon": b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\nX-A \t: b c\r\n\r\n",
    "a fold": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b\r\n c\r\n\r\n",
    "a fold by tabs, spaces before it": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b \r\n\t\tc\r\n\r\n",
    "a fold with LF": b"HTTP/1.1 200 OK\nContent-Length: 5\nX-A: b\n c\n\n",
    "all of it": b"HTTP/1.1 200 OK\nContent-Length  :\n 5\nX-A : b\n c\n\n",
    "nothing": STRICT,
}


@pytest.mark.parametrize("said", SLOPPY)
def test_what_has_one_reading_is_read(said):
    assert put_right(SLOPPY[said] + b"hello\n\nmore") == (STRICT, len(SLOPPY[said]))


@pytest.mark.parametrize("said", SLOPPY)
def test_half_a_head_is_none(said):
    """However much of it has come."""
    data = SLOPPY[said]

    assert [put_right(data[:end]) for end in range(len(data) - 1)] == [None] * (len(data) - 1)


@pytest.mark.parametrize(
    "said",
    [
        b"HTTP/1.1 200 OK\r\n X-A: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A: b\r\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX A: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-A\r\n : b\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length : 5\nContent-Length: 6\n\n",
        b"HTTP/1.1 200 OK\nTransfer-Encoding : chunked\nContent-Length: 6\n\n",
        b"HTTP/1.1\n 200 OK\n\n",
        # Both line ends: a lone LF may be a value's, from somebody who wants to add fields or a whole answer.
        b"HTTP/1.1 200 OK\r\nLocation: /x\nSet-Cookie: s=1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nLocation: /x\nContent-Length: 0\n\nHTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\nLocation: /x\r\nSet-Cookie: s=1\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b c\r\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A: b c\n\r\n",
    ],
)
def test_what_could_be_read_in_two_ways_stays_malformed(said):
    right = put_right(said)

    assert right is not None
    assert isinstance(response_head(right[0], b"GET"), Fault)
