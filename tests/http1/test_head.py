"""Heads of requests: what is let in, what is refused and with which fault, and that h11 reads the same."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy import faults
from proxy.http1.framing import CHUNKED, listed
from proxy.http1.head import (
    METHODS,
    RequestHead,
    is_plain_line,
    request_head,
)
from tests.http1 import oracle
from tests.http1.cases import CASES, HEADERS_MAX, LINE_BYTES, absolute, get

REFUSED = [(raw, fault) for _, raw, fault in CASES if fault is not None]
LET_IN = [raw for _, raw, fault in CASES if fault is None]


def head_of(raw, last=None):
    return request_head(raw, LINE_BYTES, HEADERS_MAX, last)


# --- refused at the door ---


@pytest.mark.parametrize(
    ("raw", "fault"), REFUSED, ids=[name for name, _, fault in CASES if fault is not None]
)
def test_head_is_refused(raw, fault):
    """The fault says exactly which rule was broken."""
    assert head_of(raw) is fault


@pytest.mark.parametrize("raw", LET_IN, ids=[name for name, _, fault in CASES if fault is None])
def test_head_is_let_in(raw):
    assert isinstance(head_of(raw), RequestHead)


def test_every_fault_of_a_head_has_a_case():
    """All rows of the table of faults, except those that need a clock, a socket or a config to be provoked."""
    elsewhere = {
        faults.NOT_ANNOUNCED,
        faults.HEAD_TIMEOUT,
        faults.HEAD_TOO_LARGE,
        faults.REPEATED_CREDENTIAL,
        faults.UNCLEAR_CREDENTIAL,
        faults.UNCLEAR_REQUEST,
        faults.STRANGE_FRONT,
        faults.BAD_FRONT,
    }
    judged = {f for f in faults.FAULTS.values() if f.phase == "head"} - elsewhere

    assert {fault for _, fault in REFUSED} == judged


@pytest.mark.parametrize("number", [*range(9), *range(10, 0x20), 0x7F])
def test_control_bytes_are_refused_wherever_they_are(number):
    """All but the tab, which may be within a value."""
    byte = bytes([number])

    for raw in (get(b"X: a%bb\r\n" % byte), get(b"X%b: a\r\n" % byte), get(target=b"/x" + byte)):
        assert not isinstance(head_of(raw), RequestHead)


@pytest.mark.parametrize("number", range(0x80, 0x100))
def test_bytes_beyond_ascii_are_taken_only_in_values(number):
    byte = bytes([number])

    assert head_of(get(b"X: %b\r\n" % byte)).fields[b"x"] == byte
    assert head_of(get(b"X%b: a\r\n" % byte)) is faults.MALFORMED_HEAD
    assert head_of(get(target=b"/" + byte)) is faults.MALFORMED_HEAD


# --- what is known of a request ---


def test_headers_are_kept_as_they_came():
    """Order, case and duplicates."""
    head = head_of(get(b"x-B: 1\r\nX-a: 2\r\nX-b: 3\r\n"))

    assert head.section.headers == [(b"Host", b"a.example"), (b"x-B", b"1"), (b"X-a", b"2"), (b"X-b", b"3")]


def test_repeated_fields_are_joined_and_known():
    head = head_of(get(b"x-B: 1\r\nX-a: 2\r\nX-b: 3\r\nX-B:\r\n"))

    assert head.fields == {b"host": b"a.example", b"x-b": b"1, 3, ", b"x-a": b"2"}
    assert head.section.repeated == {b"x-b"}


def test_white_space_around_a_value_is_no_part_of_it():
    """Else a client could open a bucket for each number of spaces behind its token."""
    head = head_of(get(b"X-Auth-Token:\t abc \t \r\nX-Empty: \t\r\n"))

    assert head.fields[b"x-auth-token"] == b"abc"
    assert head.fields[b"x-empty"] == b""
    assert head.section.headers[1:] == [(b"X-Auth-Token", b"abc"), (b"X-Empty", b"")]


@pytest.mark.parametrize(
    ("target", "reduced"),
    [
        (b"http://a.example/x?y=/z", b"/x?y=/z"),
        (b"http://a.example", b"/"),
        (b"http://a.example?x=1", b"/?x=1"),
        (b"HTTPS://A.example/X", b"/X"),
        (b"http://a.example//b", b"//b"),
        (b"http://a.example/../%2e%2e/", b"/../%2e%2e/"),
        (b"//b.example/x", b"//b.example/x"),
        (b"/x?http://b.example/", b"/x?http://b.example/"),
    ],
)
def test_absolute_form_becomes_origin_form(target, reduced):
    """Only scheme and authority go: the path stays as the client wrote it."""
    assert head_of(absolute(target)).target == reduced


@pytest.mark.parametrize("target", [b"*", b"http://a.example"])
def test_options_of_the_whole_server_stays_so(target):
    """RFC 9112 section 3.2.4: absolute-form without a path stands for `*`."""
    assert head_of(absolute(target, method=b"OPTIONS")).target == b"*"


@pytest.mark.parametrize(
    ("fields", "length"),
    [
        (b"", 0),
        (b"Content-Length: 0\r\n", 0),
        (b"Content-Length:003 \r\n", 3),
        (b"Content-Length: 999999999999999999\r\n", 999999999999999999),
        (b"Transfer-Encoding: Chunked \r\n", CHUNKED),
        (b"Connection: Content-Length\r\nContent-Length: 3\r\n", 3),
        (b"Connection: Transfer-Encoding\r\nTransfer-Encoding: chunked\r\n", CHUNKED),
        (b"Content_Length: 3\r\n", 0),
        (b"Connection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 3\r\n", 3),
    ],
)
def test_request_body_ends_where_its_fields_say(fields, length):
    """Naming the fields in Connection does not hide them; similar names are other fields."""
    assert head_of(get(fields, method=b"POST")).section.body_length == length


@pytest.mark.parametrize(
    ("version", "fields", "wants_close"),
    [
        (b"1.1", b"", False),
        (b"1.1", b"Connection: close\r\n", True),
        (b"1.1", b"Connection: X-Hop , CLOSE\r\n", True),
        (b"1.1", b"Connection: X-Hop\r\nConnection: close\r\n", True),
        (b"1.1", b"Connection: closed\r\n", False),
        (b"1.1", b"Connection: keep-alive\r\n", False),
        (b"1.1", b"Connection: keep-alive, close\r\n", True),
        (b"1.0", b"", True),
        (b"1.0", b"Connection: Keep-Alive\r\n", False),
        (b"1.0", b"Connection: keep-alive, close\r\n", True),
    ],
)
def test_client_says_whether_it_wants_to_stay(version, fields, wants_close):
    """RFC 9112 section 9.3; close wins."""
    assert head_of(get(fields, version=version)).section.wants_close is wants_close


def test_path_has_its_readings_and_the_target_stays():
    head = head_of(get(target=b"/a/%2e%2e//b?c=/../d"))

    assert head.paths == (b"/a/%2e%2e//b", b"/a/%2e%2e/b", b"/b")
    assert head.folded_paths is head.folded_paths
    assert head.target == b"/a/%2e%2e//b?c=/../d"


# --- a header section that is repeated ---


def test_repeated_section_is_judged_as_if_it_were_the_first():
    """Whatever came before on the connection, the verdict and the head are the same."""
    for last in LET_IN:
        for raw in (raw for _, raw, _ in CASES):
            alone, after = head_of(raw), head_of(raw, head_of(last))

            assert _facts(alone) == _facts(after), (last, raw)


def _facts(head):
    if not isinstance(head, RequestHead):
        return head
    return (
        head.method,
        head.target,
        head.minor,
        head.section.headers,
        head.fields,
        head.section.repeated,
        head.section.body_length,
        head.paths,
        head.folded_paths,
    )


def test_repeated_section_keeps_what_was_worked_out_from_it():
    """The fast path really is taken: the memo of the last head goes on to the next."""
    last = head_of(get(b"X: y\r\n"))
    last.section.facts = "worked out"

    assert head_of(get(b"X: y\r\n", target=b"/other?x"), last).section.facts == "worked out"
    assert head_of(get(b"X: z\r\n"), last).section.facts is None
    assert head_of(get(b"X: y\r\n", method=b"PUT"), last).section.facts is None


def test_host_may_be_missing_only_in_http10():
    """Also when HTTP/1.1 follows with the same header section on the same connection."""
    last = head_of(b"GET /x HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")

    assert head_of(b"GET /x HTTP/1.1\r\nConnection: keep-alive\r\n\r\n", last) is faults.BAD_HOST


@given(st.data())
def test_repeated_section_changes_no_verdict(data):
    last = request_head(data.draw(oracle.request_heads()), 8192, 100)
    section = last.section.data if isinstance(last, RequestHead) else b"Host: a.example\r\n\r\n"
    raw = oracle.cut_head(
        data.draw(oracle.mutated(oracle.request_heads())).partition(b"\r\n")[0] + b"\r\n" + section
    )

    assert _facts(request_head(raw, 8192, 100, last if isinstance(last, RequestHead) else None)) == _facts(
        request_head(raw, 8192, 100)
    )


# --- what h11 makes of the same request ---


@given(oracle.request_heads())
def test_valid_request_means_the_same_to_h11(raw):
    """Method, target, headers and the end of the body."""
    head = request_head(raw, 8192, 100)

    assert isinstance(head, RequestHead)
    _assert_h11_agrees(raw, head)


@given(oracle.mutated(oracle.request_heads()))
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n")
@example(b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n Content-Length: 6\r\n\r\n")
def test_request_that_is_let_in_means_the_same_to_h11(raw):
    """We are stricter on purpose (bare LF, folded lines, Content-Length beside a coding, Host, unknown methods, HTTP/0.9
    and 1.2, fragments) and nowhere laxer: what we let in, h11 lets in and frames alike."""
    raw = oracle.cut_head(raw)
    head = request_head(raw, 8192, 100)

    if isinstance(head, RequestHead) and head.section.body_length < 1 << 20:
        _assert_h11_agrees(raw, head)


def _assert_h11_agrees(raw, head):
    follower = b"GET /next HTTP/1.1\r\n"
    theirs = oracle.read_request(raw + oracle.body_for(head.section.body_length) + follower)
    assert theirs is not None
    method, target, minor = theirs.start
    assert (head.method, head.minor) == (method, minor)
    assert target == head.target or target.lower().startswith((b"http://", b"https://"))
    assert theirs.headers == oracle.lowered(head.section.headers)
    assert theirs.data == (b"abc" if head.section.body_length == CHUNKED else b"x" * head.section.body_length)
    assert theirs.rest == follower


# --- lists ---


@pytest.mark.parametrize(
    ("value", "members"),
    [(b"", []), (b"A", [b"a"]), (b" a ,\tB,, c ,", [b"a", b"b", b"c"]), (b"a b", [b"a b"]), (b",", [])],
)
def test_list_has_its_members(value, members):
    assert listed(value) == members


# --- heads that are made to cost time ---


@pytest.mark.parametrize(
    "fields",
    [
        b"a:\r\n" * 8000,
        b"".join(b"%x:\r\n" % name for name in range(2500)) * 2,
        b"X:" + b" " * 32000 + b"\x01\r\n",
        b"Connection: " + b"a," * 15000 + b"\r\n",
        b"Transfer-Encoding: " + b"gzip," * 6000 + b"chunked\r\n",
    ],
    ids=["one name", "many names", "spaces", "options", "codings"],
)
def test_large_head_is_judged_in_linear_time(fields):
    """What costs more than its bytes would hang here; too many fields are refused before they are gathered."""
    head = request_head(get(fields), 8192, 100)

    assert head is not None


# --- a line that is told in fields ---


@given(
    st.sampled_from([b"GET", b"POST", b"TRACE", b"CONNECT", b"BREW", b"get", b"G T", b"GET "]),
    st.text(alphabet="/aZ0?#*% :\t\x00\x7f\xe9@[]", min_size=1, max_size=24).map(
        lambda text: text.encode("latin-1")
    ),
    st.integers(8, 40),
)
@example(b"GET", b"/" + b"a" * 29, 40)
@example(b"GET", b"/" + b"a" * 26, 40)
def test_plain_line_is_one_that_is_taken_as_it_stands(method, target, line_bytes):
    """And whatever is taken as it stands, with the path first, is plain: the short way is the usual one."""
    judged = request_head(
        b"%b %b HTTP/1.1\r\nHost: shop.example\r\n\r\n" % (method, target), line_bytes, HEADERS_MAX
    )
    is_taken = isinstance(judged, RequestHead) and (judged.method, judged.target) == (method, target)

    assert is_plain_line(method, target, line_bytes, METHODS) == (is_taken and target.startswith(b"/"))
