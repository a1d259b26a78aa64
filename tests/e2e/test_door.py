"""Refused at the door: an error object, the connection closed, nothing forwarded, a counter, no traceback."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from tests.support.patience import until
from tests.support.wire import CLEAN, RESET

SETTINGS = {"downstream": {"limits": {"body": "1KiB"}}}

GOOD = b"GET /good HTTP/1.1\r\nHost: a\r\n\r\n"
HELLO_TLS = bytes.fromhex("1603010200010001fc0303") + b"\x00" * 32 + b"\r\n\r\n"


def head(*lines: bytes, start: bytes = b"GET /x HTTP/1.1", host: bytes | None = b"Host: a") -> bytes:
    first = [start] if host is None else [start, host]
    return b"\r\n".join([*first, *lines]) + b"\r\n\r\n"


def start(line: bytes) -> bytes:
    return head(start=line)


def target(target: bytes, method: bytes = b"GET") -> bytes:
    return head(start=b"%b %b HTTP/1.1" % (method, target))


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return head(*lines, start=b"POST /x " + version) + body


def row(name: str, data: bytes, *statuses: int) -> pytest.ParameterSet:
    return pytest.param(data, statuses, id=name)


CL, TE = b"Content-Length: 5", b"Transfer-Encoding: chunked"
HELLO = b"hello"
HELLO_CHUNKED = b"5\r\nhello\r\n0\r\n\r\n"

NOT_HTTP = [
    row("bare LF everywhere", b"GET /x HTTP/1.1\nHost: a\n\n", 400),
    row("bare LF after a field", b"GET /x HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400),
    row("bare LF after the request line", b"GET /x HTTP/1.1\nHost: a\r\n\r\n", 400),
    row("bare CR in a value", head(b"X: a\rb"), 400),
    row("bare CR ends a line", b"GET /x HTTP/1.1\rHost: a\r\n\r\n", 400),
    row("folded line", head(b"X: a", b" b"), 400),
    row("folded by a tab", head(b"X: a", b"\tb"), 400),
    row("space before the first field", b"GET /x HTTP/1.1\r\n Host: a\r\n\r\n", 400),
    row("space before the colon", head(b"X : a"), 400),
    row("space within a name", head(b"X Y: a"), 400),
    row("no name", head(b": a"), 400),
    row("no colon", head(b"X a"), 400),
    row("bracket in a name", head(b"X(): a"), 400),
    row("NUL in a name", head(b"X\0: a"), 400),
    row("NUL in a value", head(b"X: a\0b"), 400),
    row("control byte in a value", head(b"X: a\x01b"), 400),
    row("DEL in a value", head(b"X: a\x7fb"), 400),
    row("non-ASCII name", head(b"X\xe9: a"), 400),
    row("unknown method", start(b"FOO /x HTTP/1.1"), 501),
    row("lower-case method", start(b"get /x HTTP/1.1"), 501),
    row("no method", start(b" /x HTTP/1.1"), 400),
    row("two spaces", start(b"GET  /x HTTP/1.1"), 400),
    row("tab for a space", start(b"GET\t/x HTTP/1.1"), 400),
    row("space in the target", start(b"GET /x y HTTP/1.1"), 400),
    row("words after the version", start(b"GET /x HTTP/1.1 z"), 400),
    row("no version", b"GET /x\r\n\r\n", 400),
    row("HTTP/0.9", start(b"GET /x HTTP/0.9"), 400),
    row("HTTP/1.2", start(b"GET /x HTTP/1.2"), 400),
    row("HTTP/2.0", start(b"GET /x HTTP/2.0"), 400),
    row("lower-case protocol", start(b"GET /x http/1.1"), 400),
    row("another protocol", start(b"GET /x RTSP/1.0"), 400),
    row("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    row("TLS on a plain port", HELLO_TLS, 400),
    row("garbage", b"\x00\xff" * 20 + b"\r\n\r\n", 400),
]
FRAMING = [
    row("length and chunked", post(CL, TE, body=HELLO_CHUNKED), 400),
    row("chunked and length", post(TE, CL, body=HELLO_CHUNKED), 400),
    row("same length twice", post(CL, CL, body=HELLO), 400),
    row("two lengths", post(CL, b"content-length: 6", body=HELLO), 400),
    row("list of lengths", post(b"Content-Length: 5, 5", body=HELLO), 400),
    row("chunked twice in two fields", post(TE, TE, body=HELLO_CHUNKED), 400),
    row("codings in two fields", post(b"Transfer-Encoding: gzip", TE, body=HELLO_CHUNKED), 400),
    row("length with a plus", post(b"Content-Length: +5", body=HELLO), 400),
    row("negative length", post(b"Content-Length: -5", body=HELLO), 400),
    row("hexadecimal length", post(b"Content-Length: 0x5", body=HELLO), 400),
    row("empty length", post(b"Content-Length:", body=HELLO), 400),
    row("length of two words", post(b"Content-Length: 5 5", body=HELLO), 400),
    row("length beyond 64 bits", post(b"Content-Length: 18446744073709551621", body=HELLO), 400, 413),
    row("chunked in HTTP/1.0", post(TE, body=HELLO_CHUNKED, version=b"HTTP/1.0"), 400),
    row("chunked and length in HTTP/1.0", post(TE, CL, body=HELLO_CHUNKED, version=b"HTTP/1.0"), 400),
    row("gzip", post(b"Transfer-Encoding: gzip", body=HELLO), 501),
    row("gzip, chunked", post(b"Transfer-Encoding: gzip, chunked", body=HELLO_CHUNKED), 501),
    row("chunked, gzip", post(b"Transfer-Encoding: chunked, gzip", body=HELLO_CHUNKED), 501),
    row("chunked, chunked", post(b"Transfer-Encoding: chunked, chunked", body=HELLO_CHUNKED), 501),
    row("identity", post(b"Transfer-Encoding: identity", body=HELLO), 501),
    row("almost chunked", post(b"Transfer-Encoding: xchunked", body=HELLO_CHUNKED), 501),
    row("quoted chunked", post(b'Transfer-Encoding: "chunked"', body=HELLO_CHUNKED), 501),
    row("chunked with a parameter", post(b"Transfer-Encoding: chunked;a=b", body=HELLO_CHUNKED), 501),
    row("vertical tab and chunked", post(b"Transfer-Encoding: \x0bchunked", body=HELLO_CHUNKED), 400, 501),
    row("empty coding", post(b"Transfer-Encoding:", body=HELLO_CHUNKED), 400, 501),
]
HOST = [
    row("no host", head(b"X: a", host=None), 400),
    row("two hosts", head(b"Host: b"), 400),
    row("the same host twice", head(b"host: a"), 400),
    row("empty host", head(host=b"Host:"), 400),
    *(
        row(f"host {value!r}", head(host=b"Host: " + value), 400)
        for value in (
            b"a b",
            b"a/b",
            b"a?b",
            b"a#b",
            b"u@a",
            b"a:x",
            b"a:1:2",
            b"[::1",
            b"::1",
            b"a,b",
            b"\xe9",
            b"a\\b",
        )
    ),
]
TARGET = [
    row("fragment", target(b"/x#y"), 400),
    row("fragment alone", target(b"#y"), 400),
    row("fragment after the query", target(b"/x?a=b#y"), 400),
    row("tab in the target", target(b"/x\ty"), 400),
    row("control byte in the target", target(b"/x\x01y"), 400),
    row("NUL in the target", target(b"/x\0y"), 400),
    row("DEL in the target", target(b"/x\x7fy"), 400),
    row("UTF-8 in the target", target("/é".encode()), 400),
    row("Latin-1 in the query", target(b"/x?q=\xe9"), 400),
    row("no slash", target(b"x"), 400),
    row("star for GET", target(b"*"), 400),
    row("another scheme", target(b"ftp://a/x"), 400, 421),
    row("no authority", target(b"http:///x"), 400, 421),
    row("another authority", target(b"http://b/x"), 421),
    row("another port", target(b"http://a:81/x"), 421),
    row("user in the authority", target(b"http://a@b/x"), 400, 421),
    row("user before the host", target(b"http://u@a/x"), 400, 421),
]
REFUSED_METHODS = [
    row("CONNECT", head(start=b"CONNECT a:443 HTTP/1.1", host=b"Host: a:443"), 405),
    row("TRACE", start(b"TRACE /x HTTP/1.1"), 405),
]
TOO_MUCH = [
    row("long request line", target(b"/" + b"a" * 9000), 414),
    row("request line without an end", b"GET /" + b"a" * 9000, 414),
    row("large field", head(b"X: " + b"a" * 40_000), 431),
    row("large head", head(*(b"X-%d: %b" % (i, b"a" * 1000) for i in range(40))), 431),
    row("head without an end", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: aaaaaaaaaaaaaaaaaaaa\r\n" * 2000, 431),
    row("101 fields", head(*(b"X-%d: a" % i for i in range(100))), 431),
    row("body beyond the limit", post(b"Content-Length: 1025", body=b"a" * 1025), 413),
    row("body beyond the limit, not yet sent", post(b"Content-Length: 5000000000"), 413),
    row("unknown expectation", post(CL, b"Expect: a-miracle", body=HELLO), 417),
    row("one known expectation of two", post(CL, b"Expect: 100-continue, b", body=HELLO), 417),
]
EVERYTHING = NOT_HTTP + FRAMING + HOST + TARGET + REFUSED_METHODS + TOO_MUCH
TELLING = [r for r in EVERYTHING if r.id in {"bare LF after a field", "space before the colon", "folded line", "length and chunked", "gzip, chunked", "two hosts", "fragment", "another authority", "TRACE"}]  # fmt: skip
SHORT = [r for r in EVERYTHING if len(r.values[0]) < 1000]


async def assert_refused(weir, origin, wire, statuses):
    response = await wire.response()
    after = await wire.rest()

    assert response.status in statuses
    assert response.value("Content-Type") == b"application/problem+json"
    assert response.value("Connection") == b"close"
    problem = response.json()
    assert problem["status"] == response.status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["requestId"].encode() == response.value("X-Request-Id")
    assert (after, wire.end) == (b"", CLEAN), "the connection was not closed cleanly after one answer"
    assert origin.received == b"", "something reached the origin"
    return response


@pytest.mark.parametrize(("data", "statuses"), EVERYTHING)
async def test_request_is_refused(weir, origin, connect, data, statuses):
    """One error object, the connection closes, and nothing is forwarded."""
    wire = await connect(weir)
    await wire.send(data)
    await assert_refused(weir, origin, wire, statuses)


async def test_refusals_are_counted(start_weir, connect):
    """Each once: as a request with its status, and as a refused head."""
    weir = start_weir(SETTINGS)
    told = Counter()
    for refused in EVERYTHING:
        wire = await connect(weir)
        await wire.send(refused.values[0])
        told[(await wire.response()).status] += 1
        wire.close()
    await until(lambda: weir.metrics().total("weir_requests_total") == len(EVERYTHING), "all are counted")
    metrics = weir.metrics()

    for status, times in told.items():
        assert metrics.total("weir_requests_total", source="weir", status=str(status)) == times, status
    assert metrics.total("weir_refused_heads_total") == len(EVERYTHING)


@pytest.mark.parametrize(
    ("data", "method", "told"),
    [
        (head(start=b"FOO /a?token=s3cr3t HTTP/1.1"), "FOO", "/a?token=***"),
        (head(*(b"X-%d: a" % i for i in range(110))), "GET", "/x"),
        (head(host=None), "GET", "/x"),
        (head(start=b"GET http://me:s3cr3t@a/x HTTP/1.1"), "GET", "http://***@a/x"),
        (HELLO_TLS, "", ""),
    ],
)
async def test_refusal_is_logged_with_what_was_asked(start_weir, connect, data, method, told):
    """Whoever asks why a client got a 431 finds the request; no secret of it."""
    weir = start_weir(SETTINGS)
    wire = await connect(weir)
    await wire.send(data)
    response = await wire.response()
    line = await weir.access_line(status=response.status)

    assert (line["method"], line["target"]) == (method, told)
    assert "s3cr3t" not in weir.access_text()


@pytest.mark.parametrize(("data", "statuses"), SHORT)
async def test_request_is_refused_byte_by_byte(weir, origin, connect, data, statuses):
    """How the bytes are cut changes nothing. Weir may answer and close before it has seen them all."""
    wire = await connect(weir)
    try:
        await wire.send_pieces([data[i : i + 1] for i in range(len(data))], gap=0.0002)
    except ConnectionError:
        pass  # the answer came before the last byte
    await assert_refused(weir, origin, wire, statuses)


@pytest.mark.parametrize(("data", "statuses"), TELLING)
async def test_request_is_refused_at_every_split(weir, origin, connect, data, statuses):
    """Cut in two, at each position there is."""
    for cut in range(1, len(data)):
        wire = await connect(weir)
        try:
            await wire.send_pieces([data[:cut], data[cut:]])
        except ConnectionError:
            pass
        await assert_refused(weir, origin, wire, statuses)


@pytest.mark.parametrize(("data", "statuses"), EVERYTHING)
async def test_what_follows_a_refused_request_is_dropped(weir, origin, connect, data, statuses):
    """A good request in the same packet as a refused one is a smuggled one for all we know."""
    wire = await connect(weir)
    await wire.send(data + GOOD)
    await assert_refused(weir, origin, wire, statuses)


@pytest.mark.parametrize(("data", "statuses"), TELLING)
async def test_what_precedes_a_refused_request_is_answered(weir, origin, connect, data, statuses):
    """Two good requests are answered before the refusal of the third; only they reach the origin."""
    wire = await connect(weir)
    await wire.send(GOOD + GOOD + data)
    answers = [await wire.response() for _ in range(3)]
    after = await wire.rest()

    assert [a.status for a in answers[:2]] == [200, 200]
    assert answers[2].status in statuses
    assert (after, wire.end) == (b"", CLEAN)
    assert [r.target for r in origin.requests] == [b"/good", b"/good"]
    assert origin.received.count(b"HTTP/1.1\r\n") == 2


@pytest.mark.parametrize("method", [b"CONNECT", b"TRACE"])
async def test_refused_method_names_those_that_pass(weir, ask, method):
    """RFC 9110 section 15.5.6: a 405 has Allow."""
    response = await ask(
        weir,
        b"%b a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" % method
        if method == b"CONNECT"
        else start(b"TRACE / HTTP/1.1"),
    )
    allowed = {name.strip() for name in (response.value("Allow") or b"").split(b",")}

    assert response.status == 405
    assert {b"GET", b"POST", b"PUT", b"DELETE"} <= allowed
    assert not {b"CONNECT", b"TRACE"} & allowed


async def test_refused_head_request_gets_no_body(weir, origin, connect):
    """An answer to HEAD has no body (RFC 9110 section 9.3.2), not even a refusal: it would be read as the next answer."""
    wire = await connect(weir)
    await wire.send(head(b"Host: b", start=b"HEAD /x HTTP/1.1"))
    response = await wire.response("HEAD")
    after = await wire.rest()

    assert response.status == 400
    assert after == b""


async def test_hundred_fields_and_a_long_line_pass(weir, origin, ask):
    """The bounds refuse what is beyond them, not what is at them."""
    fields = [b"X-%d: a" % i for i in range(99)]
    many = await ask(weir, head(*fields))
    line = b"GET /%b HTTP/1.1" % (b"a" * (8 * 1024 - 16))
    long = await ask(weir, head(start=line))
    large = await ask(weir, head(*(b"X-%d: %b" % (i, b"a" * 1000) for i in range(30))))
    full = await ask(weir, post(b"Content-Length: 1024", body=b"a" * 1024))

    assert [many.status, long.status, large.status, full.status] == [200] * 4
    assert len(origin.requests) == 4


# --- bodies: their head may already be on its way ---

BAD_CHUNKS = {
    "not a number": b"zz\r\nhello\r\n0\r\n\r\n",
    "no size": b"\r\nhello\r\n0\r\n\r\n",
    "hexadecimal prefix": b"0x5\r\nhello\r\n0\r\n\r\n",
    "negative": b"-5\r\nhello\r\n0\r\n\r\n",
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "space after": b"5 \r\nhello\r\n0\r\n\r\n",
    "beyond 64 bits": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "bare LF after the size": b"5\nhello\r\n0\r\n\r\n",
    "bare LF after an extension": b"5;a=b\nhello\r\n0\r\n\r\n",
    "bare LF after the data": b"5\r\nhello\n0\r\n\r\n",
    "data longer than said": b"5\r\nhello!!\r\n0\r\n\r\n",
    "data shorter than said": b"9\r\nhello\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "control byte in an extension": b"5;a=\x01\r\nhello\r\n0\r\n\r\n",
    "bad trailer": b"5\r\nhello\r\n0\r\nX : y\r\n\r\n",
    "bare LF in the trailer": b"5\r\nhello\r\n0\r\nX: y\nZ: y\r\n\r\n",
    "folded trailer": b"5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
}


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS.keys())
async def test_malformed_chunk_is_refused(weir, origin, connect, body):
    """The origin never sees a whole request, nor anything of what follows."""
    wire = await connect(weir)
    await wire.send(post(TE) + body + GOOD)
    response = await wire.response()
    after = await wire.rest()

    assert response.status == 400
    assert response.value("Content-Type") == b"application/problem+json"
    assert (after, wire.end) == (b"", CLEAN)
    await assert_aborted(origin)
    assert b"/good" not in origin.received
    assert b"/smuggled" not in origin.received


@pytest.mark.parametrize("body", BAD_CHUNKS.values(), ids=BAD_CHUNKS.keys())
async def test_malformed_chunk_is_refused_byte_by_byte(weir, origin, connect, body):
    """The same when the head has long been forwarded."""
    wire = await connect(weir)
    try:
        await wire.send_pieces([post(TE), *(body[i : i + 1] for i in range(len(body)))], gap=0.0002)
        response = await wire.response()
    except ConnectionError:
        response = await wire.response()

    assert response.status == 400
    await assert_aborted(origin)


async def test_chunked_body_beyond_the_limit_is_refused(weir, origin, connect):
    """Counted while it streams: what was said in no length is seen in the bytes."""
    wire = await connect(weir)
    await wire.send(post(TE))
    for _ in range(3):
        await wire.send(b"200\r\n%b\r\n" % (b"a" * 512))
    response = await wire.response()
    await wire.rest()

    assert response.status == 413
    assert response.json()["status"] == 413
    await assert_aborted(origin)


async def test_client_that_goes_on_sending_reads_its_refusal(weir, origin, connect):
    """A refusal is not lost to a reset while the client still writes: Weir reads on for a moment before it closes."""
    wire = await connect(weir)
    await wire.send(post(b"Content-Length: 50000000"))
    sending = asyncio.create_task(send_for_ever(wire))
    response = await wire.response()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)

    assert response.status == 413
    assert response.json()["status"] == 413
    assert origin.received == b""


async def send_for_ever(wire):
    try:
        for _ in range(200):
            await wire.send(b"a" * 65536)
    except ConnectionError:
        pass  # Weir has read enough and closed


async def assert_aborted(origin):
    """Whatever reached the origin ended before it was a request."""
    for visit in list(origin.visits):
        async with asyncio.timeout(5):
            await visit.is_over.wait()
        assert visit.end in (CLEAN, RESET)
    assert origin.requests == []
