"""How connections live on: interim answers, HTTP/1.0, keep-alive, pipelining, and who sets the pace."""

from __future__ import annotations

import asyncio

import pytest

from tests.e2e.passage import answered, forwarded
from tests.support.messages import answer, chunked, get
from tests.support.origin import answering
from tests.support.wire import CLEAN, Broken

pytestmark = pytest.mark.measured

# --- interim responses and expectations ---


async def test_early_hints_pass(weir, origin, ask):
    """103, and unknown interim answers, each before the final one."""
    hints = (
        b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\nHTTP/1.1 199 Odd\r\nX-Odd: 1\r\n\r\n"
    )
    response = await answered(ask, weir, origin, hints + answer(200, b"ok"))

    assert [i.status for i in response.interim] == [103, 199]
    assert response.interim[0].value("Link") == b"</a.css>; rel=preload"
    assert (response.status, response.body) == (200, b"ok")


async def test_interim_answer_is_no_way_out(weir, origin, ask):
    """It keeps what it is for; what tells of the inside goes, whatever the final answer will be."""
    hints = (
        b"HTTP/1.1 103 NullReferenceException\r\nLink: </a.css>; rel=preload\r\nX-Powered-By: PHP\r\n"
        b"Link: <http://10.0.3.17/b.css>; rel=preload\r\nLink: <postgres://app:hunter2@db/x>\r\n"
        b"Set-Cookie: sid=1\r\nX-Debug: SELECT 1 FROM users\r\n\r\n"
        b"HTTP/1.1 102 Processing\r\nServer: Kestrel\r\nLink: </c.css>\r\n\r\n"
    )
    response = await answered(ask, weir, origin, hints + answer(500, b"Traceback"))
    early, processing = response.interim

    assert (early.reason, early.headers) == (b"Early Hints", [(b"Link", b"</a.css>; rel=preload")])
    assert (processing.status, processing.headers) == (102, [])
    assert response.status == 500


async def test_old_client_gets_no_interim_response(weir, origin, ask):
    """HTTP/1.0 does not know them (RFC 9110 section 15.2)."""
    hints = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    response = await answered(ask, weir, origin, hints + answer(200, b"ok"), get(version=b"HTTP/1.0"))

    assert (response.interim, response.status) == ([], 200)


async def test_continue_comes_from_the_origin(weir, origin, connect):
    """`Expect: 100-continue` is answered when the upstream asked for the body, not before."""
    may_continue = asyncio.Event()

    async def script(visit):
        request = await visit.request_head()
        assert request.value("Expect").lower() == b"100-continue"
        await may_continue.wait()
        await visit.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        await visit.request_body(request)
        await visit.send(answer(201, request.body))

    origin.script = script
    wire = await connect(weir)
    await wire.send(get(b"Content-Length: 5", b"Expect: 100-continue", method=b"POST"))
    await origin.visit(0)
    with pytest.raises(TimeoutError):
        await wire.until(b"\r\n", within=0.2)  # nothing yet: the origin has not asked
    may_continue.set()
    assert (await wire.response_head()).status == 100
    await wire.send(b"hello")
    response = await wire.response()

    assert (response.status, response.body) == (201, b"hello")


async def test_expectation_can_be_refused_by_the_origin(weir, origin, connect):
    """A final answer instead of 100: the body is never asked for, and is not taken for the next request."""

    async def script(visit):
        await visit.request_head()
        await visit.send(answer(403, b"no"))

    origin.script = script
    wire = await connect(weir)
    await wire.send(get(b"Content-Length: 30", b"Expect: 100-continue", method=b"POST"))
    response = await wire.response()
    await wire.send(b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"[:30])
    await wire.rest()

    assert (response.status, response.interim, response.body) == (403, [], b"no")
    assert wire.end is not None
    assert b"smuggled" not in origin.received


async def test_client_need_not_wait_for_continue(weir, origin, ask):
    """A client may send its body at once; whether a 100 comes first is the origin's choice."""
    data = get(b"Content-Length: 5", b"Expect: 100-continue", method=b"POST") + b"hello"
    request = await forwarded(ask, weir, origin, data)

    assert request.body == b"hello"


# --- HTTP/1.0 ---


async def test_old_client_is_served_and_closed(weir, origin, connect):
    """Without keep-alive the connection ends with the answer; the origin is still spoken to in HTTP/1.1."""
    wire = await connect(weir)
    await wire.send(b"GET /old HTTP/1.0\r\n\r\n")
    response = await wire.response()
    after = await wire.rest()

    assert (response.status, response.body) == (200, b"ok")
    assert (after, wire.end) == (b"", CLEAN)
    assert origin.requests[0].version == b"HTTP/1.1"
    assert origin.requests[0].value("Host")


async def test_old_client_may_keep_its_connection(weir, origin, connect):
    """With keep-alive it goes on, and the answer says so."""
    wire = await connect(weir)
    for _ in range(3):
        await wire.send(get(b"Connection: keep-alive", version=b"HTTP/1.0"))
        response = await wire.response()
        assert response.value("Connection").lower() == b"keep-alive"
        assert response.body == b"ok"


async def test_old_client_gets_no_chunks(weir, origin, ask):
    """A body of unknown length ends with the connection, even if the client wants to keep it."""
    reply = answer(200, chunked(b"abc", b"def"), "Transfer-Encoding: chunked", length=False)
    response = await answered(ask, weir, origin, reply, get(b"Connection: keep-alive", version=b"HTTP/1.0"))

    assert response.framing == "until_close"
    assert response.body == b"abcdef"


async def test_body_of_an_old_client_passes(weir, origin, ask):
    """By length."""
    request = await forwarded(
        ask, weir, origin, get(b"Content-Length: 5", method=b"POST", version=b"HTTP/1.0") + b"hello"
    )

    assert request.body == b"hello"


# --- keep-alive and pipelining ---


async def test_connection_is_kept(weir, origin, connect):
    """Many requests of all framings on one client connection, and one connection to the origin."""
    origin.script = answering(lambda request: answer(200, request.body or request.target))
    wire = await connect(weir)
    for number in range(30):
        await wire.send(get(target=b"/%d" % number))
        assert (await wire.response()).body == b"/%d" % number
        await wire.send(get(b"Content-Length: 2", method=b"POST") + b"%02d" % number)
        assert (await wire.response()).body == b"%02d" % number
        await wire.send(get(b"Transfer-Encoding: chunked", method=b"POST") + chunked(b"x", b"%d" % number))
        assert (await wire.response()).body == b"x%d" % number
    assert len(origin.visits) == 1


async def test_client_that_says_close_is_closed(weir, origin, connect):
    """After the answer, which says so too."""
    wire = await connect(weir)
    await wire.send(get(b"Connection: Close") + get(target=b"/second"))
    response = await wire.response()
    after = await wire.rest()

    assert (response.status, response.value("Connection")) == (200, b"close")
    assert (after, wire.end) == (b"", CLEAN)
    assert [r.target for r in origin.requests] == [b"/"]


async def test_fifty_requests_in_one_packet_are_answered_in_order(weir, origin, connect):
    """Bodies, chunks and a slow first answer included."""

    async def reply(request):
        if request.target == b"/0":
            await asyncio.sleep(0.05)  # the later ones must wait for it
        return answer(200, request.target + request.body)

    origin.script = answering(reply)
    wire = await connect(weir)
    requests, expected = [], []
    for number in range(50):
        target = b"/%d" % number
        kind = number % 3
        if kind == 0:
            requests.append(get(target=target))
        elif kind == 1:
            requests.append(get(b"Content-Length: 3", target=target, method=b"POST") + b"abc")
        else:
            requests.append(
                get(b"Transfer-Encoding: chunked", target=target, method=b"PUT") + chunked(b"ab", b"c")
            )
        expected.append(target + (b"abc" if kind else b""))
    await wire.send(b"".join(requests))
    bodies = [(await wire.response()).body for _ in range(50)]

    assert bodies == expected
    assert [r.target for r in origin.requests] == [b"/%d" % number for number in range(50)]


async def test_pipelined_requests_are_not_hoarded(weir, origin, connect):
    """A client that pipelines without reading is made to wait: Weir's queue is bounded."""
    origin.script = answering(answer(200, b"x" * 20_000))
    wire = await connect(weir, receive_bytes=4096)
    sent = 0
    request = get(b"X-Fill: " + b"a" * 1000)
    with pytest.raises(TimeoutError):
        while sent < 100_000:
            await wire.send(request, within=0.5)
            sent += 1
    assert sent * len(request) < 40_000_000
    assert len(origin.requests) < 2000


@pytest.mark.waits("what could pile up has time to")
async def test_slow_reader_holds_back_the_origin(weir, origin, connect):
    """Backpressure: an endless answer does not pile up in Weir while its client reads nothing."""
    written = 0

    async def script(visit):
        nonlocal written
        await visit.request()
        await visit.send(answer(200, b"", "Transfer-Encoding: chunked", length=False))
        piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        try:
            while True:
                await visit.send(piece, within=0.5)
                written += 65536
        except TimeoutError:
            await visit.left()

    origin.script = script
    wire = await connect(weir, receive_bytes=4096)
    await wire.send(get())
    visit = await origin.visit(0)
    last = -1
    async with asyncio.timeout(15):
        while written != last:
            last = written
            await asyncio.sleep(0.6)
    wire.abort()
    await visit.is_over.wait()

    assert 0 < written < 30_000_000  # what two pairs of socket buffers hold (tcp_wmem, tcp_rmem: 4 and 6 MB)


async def test_slow_origin_holds_back_the_client(weir, origin, connect):
    """The same for uploads."""
    is_reading = asyncio.Event()

    async def script(visit):
        request = await visit.request_head()
        await is_reading.wait()
        await visit.request_body(request)
        await visit.send(answer(200, b"%d" % len(request.body)))

    origin.script = script
    wire = await connect(weir)
    size, sent = 100_000_000, 0
    await wire.send(get(b"Content-Length: %d" % size, method=b"PUT"))
    await origin.visit(0)
    with pytest.raises(TimeoutError):
        while sent < size:
            await wire.send(b"x" * 65536, within=0.5)
            sent += 65536
    wire.abort()
    is_reading.set()
    visit = await origin.visit(0)
    await visit.is_over.wait()

    assert sent < 30_000_000
    assert isinstance(visit.broken, Broken)
