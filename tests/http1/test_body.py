"""Bodies are cut out of what comes, however it is torn: test_chunked.py has the coding itself."""

from __future__ import annotations

import pytest

from proxy.http1.body import BodyReader
from proxy.http1.framing import CHUNKED, UNTIL_CLOSE

CHUNKS = b"3\r\nabc\r\n2;x=y\r\nde\r\n0\r\nX-Sum: 5\r\n\r\n"


def fed(body, *pieces):
    return [body.read(piece) for piece in pieces]


def test_length_ends_a_body_and_what_follows_is_kept():
    body = BodyReader(5)

    assert fed(body, b"abc") == [b"abc"]
    assert (body.left, body.is_over) == (2, False)
    assert fed(body, b"deGET /") == [b"de"]
    assert (body.left, body.is_over, body.rest) == (0, True, b"GET /")


def test_length_that_is_met_leaves_no_rest():
    body = BodyReader(3)

    assert fed(body, b"abc") == [b"abc"]
    assert (body.is_over, body.rest) == (True, b"")


def test_no_body_is_over_at_once():
    assert BodyReader(0).is_over


def test_body_until_the_end_of_its_connection_is_never_over():
    body = BodyReader(UNTIL_CLOSE)

    assert fed(body, b"abc", b"de") == [b"abc", b"de"]
    assert body.ends_with_connection
    assert not body.is_over


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_chunks_are_read_however_they_are_torn(size):
    body = BodyReader(CHUNKED)
    data = CHUNKS + b"next"
    content = b""
    while not body.is_over:
        piece, data = data[:size], data[size:]
        content += body.read(piece)

    assert content == b"abcde"
    assert body.rest + data == b"next"
    assert body.trailers == [(b"X-Sum", b"5")]
    assert not body.is_malformed


@pytest.mark.parametrize(
    ("length", "whole"),
    [(CHUNKED, CHUNKS), (5, b"abcde"), (UNTIL_CLOSE, b"abcde")],
    ids=["chunks", "length", "none"],
)
@pytest.mark.parametrize("at", [0, 2, 4])
def test_reader_ahead_leaves_everything_to_who_reads_after_it(length, whole, at):
    """It goes on where the other one stands, in the middle of a chunk too."""
    body = BodyReader(length)
    begun = body.read(whole[:at])
    other = body.ahead()
    assert other.is_chunked is body.is_chunked is (length == CHUNKED)
    foreseen = other.read(whole[at:])
    content = body.read(whole[at:])

    assert begun + foreseen == begun + content == b"abcde"
    assert (other.is_over, other.is_malformed) == (body.is_over, body.is_malformed)
    assert (other.has_length, other.ends_with_connection) == (body.has_length, body.ends_with_connection)


def test_malformed_chunk_is_told():
    body = BodyReader(CHUNKED)
    body.read(b"3\nabc")

    assert body.is_malformed
    assert not body.is_over


def test_lenient_reader_takes_what_has_one_reading():
    """Spaces behind the size of a chunk: a careless service, no second reading."""
    for is_lenient in (True, False):
        body = BodyReader(CHUNKED, is_lenient=is_lenient)
        body.read(b"3  \r\nabc\r\n0\r\n\r\n")

        assert body.is_malformed is not is_lenient
