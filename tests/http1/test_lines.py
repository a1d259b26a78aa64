"""Header lines: the grammar, byte by byte beside llhttp's, and what is remembered of them."""

import sys

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.faults import Fault
from proxy.http1.head import METHODS, RequestHead, ResponseHead, request_head, response_head
from proxy.http1.headers import REQUEST_LINES
from proxy.http1.lines import CONNECTS, FRAMES, LINE_BYTES, LINES_MAX, STAYS, TABBED, LineMemory
from tests.http1 import oracle
from tests.http1.cases import CASES

EVERY_BYTE = [bytes([number]) for number in range(256)]


def request_memory():
    """One of its own, without what others have left in the worker's."""
    return LineMemory(REQUEST_LINES._marks, REQUEST_LINES._claims)


@pytest.fixture
def memory():
    return request_memory()


def read(memory, *lines):
    return memory.read(b"".join(line + b"\r\n" for line in lines) + b"\r\n", 100)


# --- what a line says ---


@pytest.mark.parametrize(
    ("raw", "name", "value", "data"),
    [
        (b"X-Ab: 1", b"x-ab", b"1", b"X-Ab: 1\r\n"),
        (b"X-Ab:1", b"x-ab", b"1", b"X-Ab: 1\r\n"),
        (b"X-Ab:  1 \t", b"x-ab", b"1", b"X-Ab: 1\r\n"),
        (b"X-Ab:1 ", b"x-ab", b"1", b"X-Ab: 1\r\n"),
        (b"X:", b"x", b"", b"X: \r\n"),
        (b"X: ", b"x", b"", b"X: \r\n"),
        (b"X: a: b", b"x", b"a: b", b"X: a: b\r\n"),
    ],
)
def test_line_has_name_value_and_its_one_spelling(memory, raw, name, value, data):
    """Also when it comes again."""
    for _ in range(2):
        (line,) = read(memory, raw)

        assert (line.name, line.value, line.data) == (name, value, data)
        assert line.header == (raw.partition(b":")[0], value)


@pytest.mark.parametrize(
    ("raw", "marks"),
    [
        (b"X: y", 0),
        (b"Content-Length: 1", FRAMES),
        (b"Transfer-Encoding: chunked", FRAMES | STAYS),
        (b"Connection: Keep-Alive", STAYS),
        (b"Connection: close", CONNECTS | STAYS),
        (b"X-Forwarded-For: 1.2.3.4", STAYS),
        (b"X_Y: 1", STAYS),
    ],
)
def test_line_is_marked_by_what_is_to_be_looked_at(memory, raw, marks):
    assert read(memory, raw)[0].marks == marks


def test_malformed_line_spoils_its_section_and_is_not_remembered(memory):
    for _ in range(2):
        assert read(memory, b"X: y", b"bad") is None
    assert [line.name for line in read(memory, b"X: y")] == [b"x"]


# --- what is remembered ---


def test_line_that_comes_again_is_not_judged_again(memory, monkeypatch):
    """The fast path really is taken, from another section too."""
    first, _ = read(memory, b"X: y", b"A: b")
    monkeypatch.setattr(LineMemory, "_find", None)

    assert read(memory, b"A: b", b"X: y")[1] is first


@pytest.mark.parametrize(
    "raw",
    [b"X: %b" % (b"y" * LINE_BYTES), b"Authorization: Bearer x", b"Cookie: a=b", b"X-Auth-Token: t"],
    ids=["long", "Authorization", "Cookie", "X-Auth-Token"],
)
def test_long_lines_and_secrets_are_not_remembered(memory, raw):
    assert read(memory, raw)[0] is not read(memory, raw)[0]


def test_memory_is_bounded_whatever_comes(memory):
    """In lines and, since long ones are left out, in bytes."""
    for number in range(5 * LINES_MAX):
        read(memory, b"X%d: %b" % (number, b"y" * (LINE_BYTES - 10)))
    kept = [*memory._young.items(), *memory._old.items()]
    sizes = [
        sys.getsizeof(part) for raw, line in kept for part in (raw, line, line.name, line.value, line.data)
    ]

    assert len(kept) <= 2 * LINES_MAX
    assert sum(sizes) < 2 * 2**20


def test_line_in_use_outlives_any_flood(memory):
    kept = read(memory, b"Accept: */*")[0]
    for number in range(5 * LINES_MAX):
        read(memory, b"X: %d" % number)
        if number % (LINES_MAX // 2) == 0:
            assert read(memory, b"Accept: */*")[0] is kept


# --- byte by byte beside llhttp ---


def request_of(line):
    return b"GET / HTTP/1.1\r\nHost: a\r\n%b\r\n\r\n" % line


@pytest.mark.parametrize(
    "line",
    [
        "X%bY: v",
        "%bY: v",
        "XY%b: v",
        "XY:%bv",
        "XY: v%bw",
        "XY: v%b",
        "XY: v\r\n%b",
        "XY: v\r\n%bz: 1",
        "XY: v\r%bw",
    ],
    ids=lambda line: repr(line)[1:-1].replace("%b", "_"),
)
def test_every_byte_everywhere_is_judged_as_llhttp_does(line):
    for byte in EVERY_BYTE:
        raw = oracle.cut_head(request_of(line.encode() % byte))
        ours, theirs = request_head(raw, 8192, 100), oracle.llhttp_request(raw)

        assert isinstance(ours, RequestHead) == (theirs is not None), byte
        if isinstance(ours, RequestHead):
            assert ours.section.headers == theirs.headers, byte


@pytest.mark.parametrize(
    "line", ["%bGET / HTTP/1.1", "G%bT / HTTP/1.1", "GET /%bx HTTP/1.1", "GET / HTTP/1.1%b"]
)
def test_every_byte_of_a_request_line_is_judged_as_llhttp_does_or_refused(line):
    """It skips empty lines before, and takes a LF within the target."""
    for byte in EVERY_BYTE:
        raw = oracle.cut_head(line.encode() % byte + b"\r\nHost: a\r\n\r\n")
        ours, theirs = request_head(raw, 8192, 100), oracle.llhttp_request(raw)
        is_laxer_there = byte in b"\r\n#"

        assert isinstance(ours, RequestHead) == (theirs is not None) or is_laxer_there, byte
        assert not isinstance(ours, RequestHead) or theirs is not None, byte


@pytest.mark.parametrize(
    "line", ["HTTP/1.1 200 O%bK", "HTTP/1.1 200%bOK", "%bHTTP/1.1 200 OK", "HTTP/1.1 20%b OK"]
)
def test_every_byte_of_a_status_line_is_judged_as_llhttp_does_or_refused(line):
    for byte in EVERY_BYTE:
        raw = oracle.cut_head(line.encode() % byte + b"\r\nX: y\r\n\r\n")
        ours, theirs = response_head(raw, b"GET"), oracle.llhttp_response(raw)

        assert not isinstance(ours, ResponseHead) or theirs is not None, byte
        if theirs is not None and (b" " <= byte < b"\x7f" or byte >= b"\x80"):  # it takes control bytes
            assert isinstance(ours, ResponseHead), byte


def test_methods_are_those_that_llhttp_knows_in_requests_of_http():
    def takes(method):
        return oracle.llhttp_request(b"%b /a HTTP/1.1\r\nHost: a\r\n\r\n" % method) is not None

    assert [method for method in METHODS if not takes(method)] == []
    assert not any(map(takes, (b"PRI", b"FOO", b"get", b"DESCRIBE", b"SETUP")))


# --- any bytes beside llhttp ---


@given(st.one_of(oracle.mutated(oracle.request_heads()), st.sampled_from([raw for _, raw, _ in CASES])))
@example(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\t\r\n\r\n")
@example(b"GET /x?\nu HTTP/1.1\r\nHost: a\r\n\r\n")
def test_request_that_is_let_in_is_the_same_to_llhttp(raw):
    raw = oracle.cut_head(raw)
    ours = request_head(raw, 8192, 100)

    if isinstance(ours, RequestHead):
        theirs = oracle.llhttp_request(raw)
        assert theirs is not None
        assert theirs.headers == ours.section.headers
        assert (ours.method, ours.minor) == (theirs.start[0], theirs.start[2])
        assert theirs.start[1].endswith(ours.target.lstrip(b"/")) or ours.target == b"*"


@given(st.one_of(oracle.mutated(oracle.response_heads())), st.sampled_from([b"GET", b"HEAD"]))
@example(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", b"GET")
@example(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\r\n", b"GET")
@example(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n", b"GET")
@example(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked,\r\n\r\n", b"GET")
def test_response_that_is_passed_on_is_the_same_to_llhttp(raw, method):
    raw = oracle.cut_head(raw)
    ours = response_head(raw, method)

    if isinstance(ours, ResponseHead):
        theirs = oracle.llhttp_response(oracle.said_once(raw, ours))
        assert theirs is not None
        assert theirs.headers == ours.headers
        assert (ours.status, ours.reason, ours.minor) == theirs.start


@given(st.lists(oracle.request_heads(), min_size=1, max_size=5))
def test_what_was_remembered_changes_no_verdict(raws):
    """The same heads, before and after others, and by a memory of their own."""
    for raw in [*raws, *raws]:
        known, anew = request_head(raw, 8192, 100), request_memory()
        if isinstance(known, Fault):
            continue
        again = anew.read(known.section.data, 100)

        assert [(line.header, line.data, line.marks) for line in known.section.lines] == [
            (line.header, line.data, line.marks) for line in again
        ]


@pytest.mark.parametrize(
    ("raw", "length", "is_tabbed"),
    [
        (b"Content-Length: 5", 5, False),
        (b"Content-Length: 5  ", 5, False),
        (b"Content-Length: +5", -1, False),
        (b"Transfer-Encoding: chunked", -1, False),
        (b"Transfer-Encoding: chunked\t", -1, True),
    ],
)
def test_framing_line_says_its_length_and_whether_a_tab_follows(memory, raw, length, is_tabbed):
    (line,) = read(memory, raw)

    assert (line.length, bool(line.marks & TABBED)) == (length, is_tabbed)
