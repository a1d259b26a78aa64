"""The chunked coding: what is taken, what is refused, and that no cut of the bytes changes either."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1.chunked import (
    LAST_CHUNK,
    SIZE_LINE_BYTES,
    TRAILERS_BYTES,
    TURN,
    ChunkedDecoder,
    chunk,
    last_chunk,
)
from tests.http1 import oracle

WHOLE = [
    (b"0\r\n\r\n", b"", []),
    (b"3\r\nabc\r\n0\r\n\r\n", b"abc", []),
    (b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", b"abcde", []),
    (b"00003\r\nabc\r\n000\r\n\r\n", b"abc", []),
    (b"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2, []),
    (b"2\r\n\r\n\r\n0\r\n\r\n", b"\r\n", []),
    (b"5\r\n0\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n", []),
    (b'3;a\r\nabc\r\n1;b=c;d="e f"\r\nx\r\n0;last\r\n\r\n', b"abcx", []),
    (b"1;\r\nx\r\n0\r\n\r\n", b"x", []),
    (b"0\r\nX-Sum: 1\r\n\r\n", b"", [(b"X-Sum", b"1")]),
    (b"1\r\nx\r\n0\r\nA:b\r\nA: \t c d \t\r\nE:\r\n\r\n", b"x", [(b"A", b"b"), (b"A", b"c d"), (b"E", b"")]),
    (b"0\r\nX: \xc3\xa9\r\n\r\n", b"", [(b"X", b"\xc3\xa9")]),
]

# The data before the mistake is given out, since it may have come before the mistake could be seen.
MALFORMED = [
    (b"\r\n", b""),
    (b"x\r\n", b""),
    (b" 3\r\nabc\r\n", b""),
    (b"3 \r\nabc\r\n", b""),
    (b"3 ;a\r\nabc\r\n", b""),
    (b"3\t\r\nabc\r\n", b""),
    (b"0x3\r\nabc\r\n", b""),
    (b"+3\r\nabc\r\n", b""),
    (b"-3\r\nabc\r\n", b""),
    (b"3_0\r\nabc\r\n", b""),
    (b";a\r\n", b""),
    (b"3,\r\n", b""),
    (b"3\nabc\r\n", b""),
    (b"3\rabc\r\n", b""),
    (b"3\r\r\nabc\r\n", b""),
    (b"3;a\nb\r\nabc\r\n", b""),
    (b"3;a\rb\r\nabc\r\n", b""),
    (b"3;a\0b\r\nabc\r\n", b""),
    (b"1000000000000000\r\n", b""),
    (b"fffffffffffffffff\r\n", b""),
    (b"3\r\nabcd\r\n", b"abc"),
    (b"3\r\nabc\n0\r\n\r\n", b"abc"),
    (b"3\r\nabc\rx", b"abc"),
    (b"3\r\nabc0\r\n\r\n", b"abc"),
    (b"3\r\nabc\r\n\r\n", b"abc"),
    (b"3\r\nabc\r\nzz\r\n", b"abc"),
    (b"0\r\nno colon\r\n\r\n", b""),
    (b"0\r\nX : y\r\n\r\n", b""),
    (b"0\r\n X: y\r\n\r\n", b""),
    (b"0\r\nX: y\r\n z\r\n\r\n", b""),
    (b"0\r\n: y\r\n\r\n", b""),
    (b"0\r\nX: a\0b\r\n\r\n", b""),
    (b"0\r\nX: a\nY: b\r\n\r\n", b""),
    (b"0\r\nX: a\rY: b\r\n\r\n", b""),
    (b"0\r\n\xe9: a\r\n\r\n", b""),
    (b"0\r\nX: y\r\ncontent-LENGTH: 5\r\n\r\n", b""),
    (b"1\r\nx\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n", b"x"),
]


def decode(*pieces, is_lenient=False):
    """What a decoder makes of pieces of a body: data, trailers, rest, and how it ended."""
    decoder = ChunkedDecoder(is_lenient=is_lenient)
    data = b""
    for number, piece in enumerate(pieces):
        data += decoder.decode(piece)
        while decoder.unread:
            data += decoder.decode(decoder.unread)
        if decoder.is_done or decoder.is_malformed:
            rest = decoder.rest + b"".join(pieces[number + 1 :])
            return (
                data,
                decoder.trailers,
                rest if decoder.is_done else b"",
                decoder.is_done,
                decoder.is_malformed,
            )
    return data, decoder.trailers, b"", False, False


def every_cut(raw):
    """The bytes whole, one by one, and cut in two at every place."""
    yield (raw,)
    yield tuple(raw[at : at + 1] for at in range(len(raw)))
    for at in range(1, len(raw)):
        yield raw[:at], raw[at:]


# --- what is taken ---


@pytest.mark.parametrize(("raw", "data", "trailers"), WHOLE)
@pytest.mark.parametrize("rest", [b"", b"\r\n", b"GET / HTTP/1.1\r\n"])
def test_body_is_decoded_however_it_is_cut(raw, data, trailers, rest):
    """Whole, byte by byte and at every split; what follows the body is left to whoever comes next."""
    for pieces in every_cut(raw + rest):
        assert decode(*pieces) == (data, trailers, rest, True, False), pieces


# Of services: what has one reading only, and what peers of ours read so too.
LOOSE = [
    (b"3 \r\nabc\r\n0\r\n\r\n", b"abc", []),
    (b"3   \t\r\nabc\r\n0  \r\n\r\n", b"abc", []),
    (b"3 ;a=b\r\nabc\r\n0 ; last\r\n\r\n", b"abc", []),
    (b"3\t;a\r\nabc\r\n0\r\n\r\n", b"abc", []),
    (b"0000000000000003\r\nabc\r\n0000000000000000\r\n\r\n", b"abc", []),
    (b"0" * 40 + b"A\r\n0123456789\r\n0\r\n\r\n", b"0123456789", []),
    (b"3\r\nabc\r\n0\r\nContent-Length: 9\r\n\r\n", b"abc", []),
    (b"3\r\nabc\r\n0\r\nX: y\r\nTransfer-Encoding: gzip\r\n\r\n", b"abc", []),
    (b"0\r\nX : y\r\n\r\n", b"", []),
    (b"0\r\nX: y\r\n folded\r\n\r\n", b"", []),
    (b"0\r\nno colon\r\n\r\n", b"", []),
    (b"0\r\nX: a\0b\r\n\r\n", b"", []),
]
STILL_MALFORMED = [
    (b" 3\r\nabc\r\n", b""),
    (b"3 3\r\nabc\r\n", b""),
    (b"0x3\r\nabc\r\n", b""),
    (b"+3\r\nabc\r\n", b""),
    (b"-3\r\nabc\r\n", b""),
    (b"3_0\r\nabc\r\n", b""),
    (b";a\r\n", b""),
    (b"3,\r\n", b""),
    (b"3\nabc\r\n", b""),
    (b"3 \rabc\r\n", b""),
    (b"3;a\nb\r\nabc\r\n", b""),
    (b"8000000000000000\r\n", b""),
    (b"fffffffffffffffff\r\n", b""),
    (b"3\r\nabc\n0\r\n\r\n", b"abc"),
    (b"0\r\nX: a\nY: b\r\n\r\n", b""),
    (b"0\r\nX: a\rY: b\r\n\r\n", b""),
]


@pytest.mark.parametrize(("raw", "data", "trailers"), WHOLE + LOOSE)
def test_body_of_a_service_is_read_in_its_one_reading(raw, data, trailers):
    """What frames or cannot be read among trailers takes all of them along; the body is whole all the same."""
    for pieces in every_cut(raw + b"rest"):
        assert decode(*pieces, is_lenient=True) == (data, trailers, b"rest", True, False), pieces


@pytest.mark.parametrize(("raw", "data"), STILL_MALFORMED)
def test_body_of_a_service_with_two_readings_is_refused(raw, data):
    for pieces in every_cut(raw):
        assert decode(*pieces, is_lenient=True) == (data, [], b"", False, True), pieces


@pytest.mark.parametrize("raw", [raw for raw, _, _ in LOOSE])
def test_what_is_read_of_a_service_is_refused_of_a_client(raw):
    assert decode(raw)[4]


@pytest.mark.parametrize(("raw", "data", "trailers"), WHOLE)
def test_body_is_not_over_before_its_last_byte(raw, data, trailers):
    for end in range(len(raw)):
        decoded = decode(raw[:end])

        assert data.startswith(decoded[0])
        assert decoded[1:] == ([], b"", False, False)


@given(st.binary(max_size=300), st.lists(st.integers(0, 400)), st.lists(st.integers(0, 300)))
def test_any_data_survives_any_chunks_and_any_cuts(data, cuts, ends):
    ends = sorted({min(end, len(data)) for end in ends} | {0, len(data)})
    raw = b"".join(chunk(data[a:b]) for a, b in zip(ends, ends[1:], strict=False)) + LAST_CHUNK + b"rest"
    cuts = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})

    assert decode(*(raw[a:b] for a, b in zip(cuts, cuts[1:], strict=False))) == (
        data,
        [],
        b"rest",
        True,
        False,
    )


@pytest.mark.parametrize("usual", range(30))
def test_turn_that_ends_within_a_large_chunk_gives_its_data_once(usual):
    """Wherever the turn ends: behind the size line too."""
    odd = b"1;a=b\r\nx\r\n" * 81
    raw = odd + b"1\r\ny\r\n" * usual + b"ffff\r\n" + b"z" * 1000
    decoder = ChunkedDecoder()
    data, turns = decoder.decode(raw), 1
    while decoder.unread and turns < 10:
        data += decoder.decode(decoder.unread)
        turns += 1

    assert data == b"x" * 81 + b"y" * usual + b"z" * 1000
    assert not decoder.unread


def test_what_is_read_ahead_is_still_to_be_read():
    decoder = ChunkedDecoder()
    assert decoder.decode(b"3\r\nabc\r\n10") == b"abc"
    ahead = decoder.ahead()
    rest = b"\r\n" + b"x" * 16 + b"\r\n0\r\n\r\n"

    assert (ahead.decode(rest), ahead.is_done) == (b"x" * 16, True)
    assert (decoder.decode(rest), decoder.is_done) == (b"x" * 16, True)


def test_large_chunk_passes_through_uncopied():
    """The fast path really is taken: within a chunk, the very object comes out again."""
    decoder = ChunkedDecoder()
    decoder.decode(b"100000\r\n")
    piece = b"x" * 0xFFFFF

    assert decoder.decode(piece) is piece
    assert decoder.decode(b"x\r\n0\r\n\r\n") == b"x"
    assert decoder.is_done


@pytest.mark.parametrize("one", [b"1\r\nx\r\n", b"1;a=b\r\nx\r\n", b"01\r\nx\r\n"])
def test_one_call_does_one_turn_of_work(one):
    """However small the chunks are: the rest waits, so that others have their turn."""
    decoder = ChunkedDecoder()
    given, left = [], one * 10_000 + b"0\r\n\r\n"
    while not decoder.is_done:
        given.append(len(decoder.decode(left)))
        left = decoder.unread

    assert sum(given) == 10_000
    assert max(given) <= TURN


# --- what is refused ---


@pytest.mark.parametrize(("raw", "data"), MALFORMED)
def test_malformed_body_is_refused_however_it_is_cut(raw, data):
    for pieces in every_cut(raw):
        assert decode(*pieces) == (data, [], b"", False, True), pieces


def test_size_line_has_a_limit():
    """Unbounded extensions were CVE-2023-39326; the line counts with its end."""
    longest = b"1;" + b"x" * (SIZE_LINE_BYTES - 4) + b"\r\n"

    for pieces in every_cut(longest + b"x\r\n0\r\n\r\n"):
        assert decode(*pieces)[0] == b"x"
    for pieces in every_cut(b"1;x" + longest[2:] + b"x\r\n"):
        assert decode(*pieces)[4]
    assert decode(longest[:-2] + b"xx")[4]  # also one that never ends


def test_trailers_have_a_limit():
    field = b"X: " + b"y" * (TRAILERS_BYTES - 7) + b"\r\n\r\n"

    for pieces in ((b"0\r\n" + field,), (b"0\r\n", field), (b"0\r\n" + field[:-1], field[-1:])):
        assert decode(*pieces)[3]
    for pieces in ((b"0\r\nX" + field,), (b"0\r\nX", field), (b"0\r\nX" + field[:-4], field[-4:])):
        assert decode(*pieces)[4]


@pytest.mark.parametrize("line", [b"X:" + b" " * 8000, b"X: " + b"a " * 4000, b"X" * 8000])
def test_trailer_is_refused_in_linear_time(line):
    """A line of spaces with a mistake at its end; a pattern that backtracks over it would take hours."""
    assert decode(b"0\r\n" + line + b"\x01\r\n\r\n")[4]


@pytest.mark.parametrize(
    "name",
    b"Host Authorization X-Auth-Token Cookie Set-Cookie Connection Expect Trailer TE "
    b"Content-Type Content-Encoding Via Forwarded X-Forwarded-For X-FORWARDED-anything X-Real-IP X-Request-Id "
    b"If-None-Match Range Cache-Control RateLimit Retry-After X_Auth_Token".split(),
)
def test_trailer_cannot_stand_in_for_a_header(name):
    """It routes, modifies or authenticates (RFC 9110 section 6.5.1): some merge it into the header section."""
    data, trailers, *_ = decode(b"0\r\n%b: 1\r\nX-Sum: 2\r\n\r\n" % name)

    assert trailers == [(b"X-Sum", b"2")]


# --- what h11 and llhttp make of the same body ---

extensions = st.sampled_from([b"", b"", b";a", b";a=b", b';a="b c"', b";a=b;c=d"])
trailers = st.lists(
    st.sampled_from([b"X-Sum: 1\r\n", b"x-y:2\r\n", b"X-Empty:\r\n", b"X-Wide: \t a b \t\r\n"]), max_size=3
).map(b"".join)


@st.composite
def bodies(draw):
    """Chunked bodies that are valid, as odd as the grammar allows."""
    chunks = []
    for data in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4)):
        size = b"%x" % len(data) if draw(st.booleans()) else b"%04X" % len(data)
        chunks.append(b"%b%b\r\n%b\r\n" % (size, draw(extensions), data))
    return b"%b0%b\r\n%b\r\n" % (b"".join(chunks), draw(extensions), draw(trailers))


HEAD = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


@given(bodies())
def test_valid_body_means_the_same_to_h11_and_llhttp(raw):
    data, trailers, rest, is_done, _ = decode(raw)
    theirs = oracle.read_request(HEAD + raw)

    assert is_done
    assert (data, oracle.lowered(trailers), rest) == (theirs.data, theirs.trailers, theirs.rest)
    assert oracle.read_chunked(raw) == (data, True, False)


@given(oracle.mutated(bodies()))
def test_body_that_is_taken_means_the_same_to_h11(raw):
    """Stricter on purpose (no control characters in extensions, no spaces, limits, framing in trailers), laxer nowhere."""
    data, trailers, rest, is_done, _ = decode(raw)

    if is_done:
        theirs = oracle.read_request(HEAD + raw)
        assert theirs is not None
        assert (data, rest) == (theirs.data, theirs.rest)
        assert set(oracle.lowered(trailers)) <= set(theirs.trailers)


@given(oracle.mutated(bodies()))
def test_body_that_is_taken_means_the_same_to_llhttp(raw):
    """Laxer on purpose in extensions only, which are dropped: any text may be one. llhttp wants name=value there."""
    data, _, _, is_done, _ = decode(raw)

    if is_done and b";" not in raw:
        assert oracle.read_chunked(raw) == (data, True, False)


@given(oracle.mutated(bodies()), st.lists(st.integers(0, 100)))
def test_cuts_change_no_verdict(raw, cuts):
    cuts = sorted({min(cut, len(raw)) for cut in cuts} | {0, len(raw)})

    assert decode(*(raw[a:b] for a, b in zip(cuts, cuts[1:], strict=False))) == decode(raw)


# --- what we write ---


@given(
    st.lists(st.binary(min_size=1, max_size=50)), st.lists(st.tuples(oracle.names, oracle.values), max_size=3)
)
def test_what_we_write_is_read_by_h11(pieces, fields):
    raw = b"".join(map(chunk, pieces)) + last_chunk(fields)
    theirs = oracle.read_request(HEAD + raw)

    assert theirs.data == b"".join(pieces)
    assert [name for name, _ in theirs.trailers] == [name.lower() for name, _ in fields]


def test_last_chunk_ends_a_body():
    assert last_chunk([]) == b"0\r\n\r\n"
    assert last_chunk([(b"A", b"b"), (b"A", b"")]) == b"0\r\nA: b\r\nA: \r\n\r\n"
