from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.kept_fields import (
    LOGGED_HEADERS,
    hints,
    kept_headers,
    leaking,
    logged_headers,
    may_stay,
    telling,
)
from proxy.http1.head import response_head

DESCRIBING = (
    "Content-Type Content-Length Content-Encoding Content-Language Content-Location Content-Range Content-Disposition"
    " ETag Last-Modified Digest Content-Digest Repr-Digest Content-MD5 Trailer Accept-Ranges Link Cache-Control Expires"
    " Age Location Transfer-Encoding Date"
).split()
LEAKING = (
    "Server X-Powered-By X-AspNet-Version X-AspNetMvc-Version X-Debug-Token X-Debug-Token-Link X-Debug-Exception"
    " X-Exception-Type X-Error X-Error-Message X-Stack-Trace X-Stacktrace Server-Timing Via X-SourceFiles X-Backend-Server"
    " X-Runtime X-Drupal-Cache X-Drupal-Dynamic-Cache X-Generator Set-Cookie X-Envoy-Upstream-Service-Time X-Served-By"
    " X-Upstream-Addr X-ChromeLogger-Data X-Application-Context X-Amzn-Trace-Id SourceMap phpdebugbar-id X-Clockwork-Id"
    " X-Cache X-Kong-Upstream-Latency X-DB-Query-Count X-Hostname X-Pod-Name grpc-message X-Rack-Cache X-Version"
    " X-Forwarded-Server X-Sql X-OneAgent-JS-Injection X-App-Traceback X-Django-Exception X-PHP-Response-Code"
    " traceparent X-B3-TraceId X-Redirect-By X-Fault X-FEServer X-Internal-Code"
).split()
STAYING = (
    "Retry-After Allow WWW-Authenticate RateLimit RateLimit-Policy X-RateLimit-Remaining RateLimit-Reset"
    " Access-Control-Allow-Origin Access-Control-Expose-Headers Vary Strict-Transport-Security X-Global-Identifier"
    " X-Content-Type-Options X-Frame-Options X-Correlation-Id X-Tenant X-Robots-Tag"
).split()


@pytest.mark.parametrize("name", DESCRIBING + LEAKING)
def test_goes_with_the_body(name):
    """Describes the body that went, or tells of the inside of the service."""
    assert leaking(name.lower().encode())
    assert kept_headers([(name.encode(), b"1")]) == []


@pytest.mark.parametrize("name", STAYING)
def test_stays(name):
    """What a client acts on, and what nobody can say anything against."""
    assert kept_headers([(name.encode(), b"1")]) == [(name.encode(), b"1")]


@pytest.mark.parametrize(
    "value",
    [
        b"Traceback (most recent call last)",
        b"System.NullReferenceException",
        b"error in /srv/app/main.py line 3",
        b"C:\\inetpub\\wwwroot\\app",
        b"(/usr/lib/ruby/gems)",
        b"main.go:42",
        b"SELECT * FROM users",
        b"postgres://app:hunter2@db/x",
        b"Server=db;Password=hunter2;",
        b"Bearer hunter2hunter2",
        b"10.0.3.17",
        b"http://192.168.1.5:9000",
        b"eyJhbGciOiJIUzI1NiJ9.e30.x",
        b"a" * 1025,
    ],
)
def test_a_telling_value_goes_whatever_its_name(value):
    """Files, frames, statements, secrets and inner addresses."""
    assert telling(value)
    assert kept_headers([(b"X-Note", value), (b"Retry-After", b"3")]) == [(b"Retry-After", b"3")]


@pytest.mark.parametrize(
    "value",
    [
        b"120",
        b"Wed, 21 Oct 2026 07:28:00 GMT",
        b"GET, HEAD, POST",
        b'"per-user";q=15;w=1',
        b"Origin, Accept-Encoding, Authorization, Cookie",
        b"https://api.example.com",
        b"max-age=31536000; includeSubDomains",
        b'Bearer realm="api", error="invalid_token"',
        b'Basic realm="api"',
        b"/api/entities/10657",
        b"8.8.8.8",
    ],
)
def test_an_ordinary_value_stays(value):
    """Which a client may need."""
    assert not telling(value)


def test_what_stays_keeps_order_case_and_doubles():
    """As it came."""
    headers = [(b"vary", b"a"), (b"VARY", b"b"), (b"Allow", b"GET"), (b"vary", b"a")]

    assert kept_headers(headers) == headers


def test_a_name_that_is_too_long_goes():
    """No field that a client acts on is called like that."""
    assert leaking(b"x-" + b"a" * 100)


@given(st.lists(st.tuples(st.binary(max_size=80), st.binary(max_size=60)), max_size=10))
def test_any_headers_are_judged(headers):
    """Nothing a server sends makes it fail, and nothing is made up."""
    assert set(kept_headers(headers)) <= set(headers)
    assert len(logged_headers(headers)) >= 1


# --- for the log ---


def test_the_log_has_no_credentials():
    """The name stays, so that one sees that there was one."""
    names = b"Set-Cookie Authorization X-Auth-Token X-Api-Key Proxy-Authorization Authentication-Info X-Session".split()

    assert logged_headers([(name, b"hunter2") for name in names]) == [
        f"{name.decode()}: ***" for name in names
    ]


def test_the_log_has_the_rest_as_it_came():
    """Also what may not go to the client, but for the secrets within it."""
    headers = [
        (b"Server", b"Kestrel"),
        (b"X-Debug", b"dsn=postgres://app:hunter2@db/x"),
        (b"WWW-Authenticate", b"Basic"),
    ]

    assert logged_headers(headers) == [
        "Server: Kestrel",
        "X-Debug: dsn=postgres://app:***@db/x",
        "WWW-Authenticate: Basic",
    ]


def test_the_log_is_bounded():
    """Of endless headers it takes some."""
    logged = logged_headers([(b"X-A", b"b" * 50_000)] * 500)

    assert len(logged) == LOGGED_HEADERS
    assert sum(map(len, logged)) < 40_000


def test_fields_of_one_connection_are_no_reason_to_look_further():
    """Nearly every failing answer has nothing else that could stay."""
    assert not may_stay((b"connection", b"transfer-encoding", b"server", b"content-type", b"date"))
    assert may_stay((b"server", b"retry-after"))


def test_hints_of_103_pass_and_nothing_else_of_an_interim_answer():
    """RFC 8297: Link; and what the config names. What tells of the inside stays behind in both."""
    lines = b"Link: </a.css>; rel=preload\r\nX-Hint: 1\r\nServer: a\r\nX-Named: 2\r\n"
    early = response_head(b"HTTP/1.1 103 Early\r\n" + lines + b"\r\n", b"GET")
    going_on = response_head(b"HTTP/1.1 100 Continue\r\n" + lines + b"\r\n", b"GET")

    assert hints(early, {b"x-named"}) == [(b"Link", b"</a.css>; rel=preload"), (b"X-Named", b"2")]
    assert hints(going_on) == []
