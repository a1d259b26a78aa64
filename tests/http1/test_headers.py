"""Which fields pass: those for one connection stay behind, all others keep their bytes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.http1.head import request_head, response_head
from proxy.http1.headers import (
    REQUEST_DROPS,
    RESPONSE_DROPS,
    RESPONSE_DROPS_LIMITED,
    asks_upgrade,
    named_by,
    request_lines,
    response_lines,
    upgrade_lines,
)
from tests.http1 import oracle

HOST = b"Host: a.example"


def section(fields):
    return b"".join(field + b"\r\n" for field in fields)


def request(*fields, start=b"GET / HTTP/1.1"):
    return request_head(b"%b\r\n%b\r\n" % (start, section((HOST, *fields))), 8192, 100)


def response(*fields):
    return response_head(b"HTTP/1.1 200 OK\r\n%b\r\n" % section(fields), b"GET")


def passed(*fields, **options):
    """The request's fields that reach the server."""
    return request_lines(request(*fields), **options).split(b"\r\n")[:-1]


def answered(*fields, drops=RESPONSE_DROPS):
    """The response's fields that reach the client."""
    return response_lines(response(*fields), drops).split(b"\r\n")[:-1]


# --- what passes ---

END_TO_END = [
    b"accept: */*",
    b"X-Dup: 2",
    b"Authorization: Bearer abc",
    b"X-Dup: 1",
    b"x-DUP: a,  b",
    b'ETag: W/"a", "b"',
    b"Trailer: X-Sum",
    b"X-Latin: caf\xe9",
    b"X-Forwarded: no claim of any proxy",
    b"Max-Forwards: 3",
]


def test_fields_keep_case_order_duplicates_and_value():
    assert passed(*END_TO_END) == END_TO_END
    assert answered(*END_TO_END) == END_TO_END
    assert answered(*END_TO_END, b"Keep-Alive: 5") == END_TO_END


def test_empty_field_passes():
    assert passed(b"X-Empty:") == [b"X-Empty: "]
    assert [line.strip() for line in answered(b"X-Empty:")] == [b"X-Empty:"]


@pytest.mark.parametrize(
    "fields",
    [
        [b"Connection: keep-alive", b"X: y"],
        [b"X: y", b"CONNECTION: Keep-Alive"],
        [b"Connection:keep-alive", b"X: y"],
        [b"Connection: keep-alive ", b"X: y"],
        [b"Connection: keep-alive", b"X: y", b"Connection: keep-alive"],
        [b"Connection: keep-alive, X-Hop", b"X: y", b"X-Hop: connection: keep-alive"],
    ],
)
def test_keep_alive_is_cut_out_of_a_response(fields):
    """Wherever it stands and however it is written; the fast way and the slow one give the same."""
    assert answered(*fields) == [b"X: y"]


@pytest.mark.parametrize("near", [b"X: connection: keep-alive", b"X-Connection: keep-alive"])
def test_only_the_field_itself_is_cut_out_of_a_response(near):
    assert answered(near, b"Connection: keep-alive") == [near]
    assert answered(b"Connection: keep-alive", near) == [near]
    assert answered(near) == [near]


def test_no_fields_make_no_lines():
    assert request_lines(request()) == b""
    assert response_lines(response(), RESPONSE_DROPS) == b""


def test_trailer_passes():
    """It announces what comes behind a chunked body, which passes too."""
    assert passed(b"Trailer: X-Sum, X-Other") == [b"Trailer: X-Sum, X-Other"]


# --- for one connection only ---

HOP_BY_HOP = [
    b"Connection: keep-alive",
    b"cONNECTION: close",
    b"Keep-Alive: timeout=5",
    b"Proxy-Connection: keep-alive",
    b"Proxy-Authenticate: Basic",
    b"Proxy-Authorization: Basic abc",
    b"TE: gzip",
    b"Transfer-Encoding: chunked",
    b"Upgrade: websocket",
    b"HTTP2-Settings: AAMAAABkAAQAAP__",
]


@pytest.mark.parametrize("field", HOP_BY_HOP)
def test_hop_by_hop_field_stays_behind(field):
    """Both ways, whether Connection names it or not."""
    assert passed(field, b"X: y") == [b"X: y"]
    assert answered(field, b"X: y") == [b"X: y"]


@pytest.mark.parametrize(
    "connection",
    [
        [b"Connection: X-Hop"],
        [b"Connection: close, x-hop"],
        [b"Connection: X-HOP,close"],
        [b"Connection:\t,, x-Hop\t,"],
        [b"Connection: keep-alive", b"connection: x-hop"],
        [b"Connection: keep-alive, X-Hop"],
    ],
)
def test_named_field_stays_behind(connection):
    """In any case, place and number of fields."""
    assert passed(*connection, b"X-hOP: 1", b"X-Hop-2: 2", b"X-Hop: 3") == [b"X-Hop-2: 2"]
    assert answered(*connection, b"X-hOP: 1", b"X-Hop-2: 2", b"X-Hop: 3") == [b"X-Hop-2: 2"]


def test_connection_cannot_name_what_gives_the_message_its_meaning():
    """Without its length a body would be a request; without its credential a request would be another user's."""
    kept = [
        b"Content-Length: 5",
        b"Content-Type: a/b",
        b"Content-Encoding: gzip",
        b"Authorization: Bearer abc",
        b"X-Auth-Token: abc",
        b"Cookie: a=b",
    ]
    named = b"Connection: " + b", ".join(field.partition(b":")[0].upper() for field in [HOST, *kept])

    assert passed(named, *kept) == kept
    assert answered(named, *kept) == kept
    assert named_by(b"Host, X, content-length") == {b"x"}


@pytest.mark.parametrize(
    ("fields", "lines"),
    [
        ([b"TE: trailers"], [b"TE: trailers", b"Connection: TE"]),
        ([b"te: gzip, Trailers "], [b"TE: trailers", b"Connection: TE"]),
        ([b"TE: gzip", b"TE: trailers", b"Connection: TE"], [b"TE: trailers", b"Connection: TE"]),
        ([b"TE: gzip"], []),
        ([b"TE: xtrailers"], []),
        ([b"TE:"], []),
    ],
)
def test_only_trailers_are_left_of_te(fields, lines):
    """The one transfer coding that we take on is our own affair."""
    assert passed(*fields) == lines


# --- claims and doubles ---


@pytest.mark.parametrize(
    "field",
    [
        b"X-Forwarded-For: 1.1.1.1",
        b"x-forwarded-PROTO: https",
        b"X-Forwarded-Host: evil",
        b"X-Forwarded-Port: 443",
        b"X-Forwarded-User: admin",
        b"X-Forwarded-Client-Cert: abc",
        b"Forwarded: for=1.1.1.1",
        b"X-Real-IP: 1.1.1.1",
        b"Via: 1.0 a",
        b"X-Request-Id: abc",
        b"Expect: 100-continue",
    ],
)
def test_field_that_is_written_anew_stays_behind(field):
    """What a stranger claims of itself must not stand beside what we say of it."""
    assert passed(field, b"X: y") == [b"X: y"]


def test_request_name_with_an_underscore_stays_behind():
    """CGI and WSGI read `_` as `-`: it would pass for a field that was judged, or written anew."""
    assert passed(b"X_Forwarded_For: 1.1.1.1", b"Content_Length: 5", b"_: 1", b"A_B: 1", b"X: a_b") == [
        b"X: a_b"
    ]


def test_response_name_with_an_underscore_passes():
    assert answered(b"A_B: 1") == [b"A_B: 1"]


def test_more_may_be_dropped():
    context = (b"Traceparent: 1", b"X: y", b"tracestate: 2")
    assert passed(*context) == [*context]
    assert passed(*context, is_traced=False) == [b"X: y"]
    assert answered(b"RateLimit: x", b"X-RateLimit-Reset: 1", drops=RESPONSE_DROPS) != []
    assert answered(b"RateLimit: x", b"X-RateLimit-Reset: 1", drops=RESPONSE_DROPS_LIMITED) == []


@given(oracle.request_heads(), st.data())
def test_every_field_of_a_request_passes_unless_a_rule_names_it(raw, data):
    head = request_head(raw, 8192, 100)
    named = named_by(head.fields.get(b"connection", b""))
    expected = [
        b"%b: %b" % (name, value)
        for name, value in head.section.headers
        if (lower := name.lower()) not in REQUEST_DROPS | named
        and b"_" not in lower
        and not lower.startswith(b"x-forwarded-")
    ]

    assert [
        line
        for line in request_lines(head).split(b"\r\n")[:-1]
        if line not in (b"TE: trailers", b"Connection: TE")
    ] == expected


# --- upgrade ---


@pytest.mark.parametrize(
    ("fields", "protocol"),
    [
        ([b"Connection: Upgrade", b"Upgrade: websocket"], b"websocket"),
        ([b"Connection: keep-alive, uPGRADE", b"Upgrade: WebSocket "], b"WebSocket"),
        ([b"Upgrade: websocket"], b""),
        ([b"Connection: X", b"Upgrade: websocket"], b""),
        ([b"Connection: Upgrade"], b""),
        ([b"Connection: Upgrade", b"Upgrade: h2c"], b""),
        ([b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: websocket, H2C"], b""),
        ([b"Connection: Upgrade", b"Upgrade: HTTP/2.0"], b""),
        ([b"Connection: Upgrade", b"Upgrade: TLS/1.2"], b""),
        ([b"Connection: Upgrade", b"Upgrade: websocket", b"Upgrade: h2c"], b""),
        ([b"Connection: Upgrade", b"Upgrade: websocket", b"Content-Length: 3"], b""),
        ([b"Connection: Upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked"], b""),
    ],
)
def test_upgrade_is_asked_for(fields, protocol):
    """Never to another HTTP or to TLS, whose requests nobody would judge; never with a body."""
    assert asks_upgrade(request(*fields)) == protocol


def test_http10_cannot_upgrade():
    head = request(b"Connection: Upgrade", b"Upgrade: websocket", start=b"GET / HTTP/1.0")

    assert asks_upgrade(head) == b""


def test_protocol_of_a_426_is_told():
    """RFC 9110 section 15.5.22: it must say which one is asked for."""
    answer = response_head(b"HTTP/1.1 426 X\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n", b"GET")
    silent = response_head(b"HTTP/1.1 426 X\r\nContent-Length: 0\r\n\r\n", b"GET")

    assert upgrade_lines(answer) == b"Upgrade: websocket\r\nConnection: Upgrade\r\n"
    assert upgrade_lines(silent) == b""
