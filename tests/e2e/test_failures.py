"""An origin that dies, lies or lags, and a client that leaves: failure is visible, and nothing is sent twice unasked."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.messages import answer, get, post
from tests.support.ports import free_port
from tests.support.wire import RESET, Broken

HALF_HEAD = b"HTTP/1.1 200 OK\r\nContent-Le"
ENDS = pytest.mark.parametrize("is_reset", [False, True], ids=["closes", "resets"])


def dying(sent: bytes, *, is_reset: bool):
    """An origin that reads a request, sends so much and dies."""

    async def script(visit):
        await visit.request()
        await visit.send(sent)
        if is_reset:
            await asyncio.sleep(0.05)  # lets Weir read what was sent before it meets the reset
            visit.abort()

    return script


def assert_problem(response, status):
    assert response.status == status
    assert response.value("Content-Type") == b"application/problem+json"
    problem = response.json()
    assert problem["status"] == status
    assert problem["requestId"].encode() == response.value("X-Request-Id")
    assert b"127.0.0.1" not in response.body  # nothing about the inside


# --- before the response's head is whole: 502 ---


@ENDS
@pytest.mark.parametrize(
    "sent", [b"", HALF_HEAD, b"H"], ids=["before the head", "within the head", "after a byte"]
)
@pytest.mark.parametrize("request_", [get(), post()], ids=["GET", "POST"])
async def test_origin_that_dies_before_its_answer_is_a_502(weir, origin, ask, request_, sent, is_reset):
    """Asked once: a fresh connection that dies may have done the work."""
    before = weir.metrics()
    origin.script = dying(sent, is_reset=is_reset)
    response = await ask(weir, request_)

    assert_problem(response, 502)
    assert len(origin.requests) == 1
    failures = weir.metrics().total("weir_upstream_failures_total") - before.total(
        "weir_upstream_failures_total"
    )
    assert failures == 1


async def test_client_connection_outlives_a_502(weir, origin, connect):
    """The next request on it is served."""
    origin.script = dying(b"", is_reset=False)
    wire = await connect(weir)
    for _ in range(3):
        await wire.send(get())
        assert (await wire.response()).status == 502


async def test_refused_connection_is_a_502(weir, ask):
    """Nobody listens: said at once, with the reason in the access log and a counter."""
    before = weir.metrics()
    response = await ask(weir, get(target="/refused"), within=3.0)
    line = await weir.access_line(target="/refused")

    assert_problem(response, 502)
    assert (line["status"], line["source"], line["outcome"]) == (502, "weir", "faulted")
    assert line["fault"]
    after = weir.metrics()
    assert after.total("weir_upstream_failures_total") - before.total("weir_upstream_failures_total") == 1
    assert (
        after.total("weir_requests_total", status="502", source="weir")
        - before.total("weir_requests_total", status="502", source="weir")
        == 1
    )


async def test_unknown_host_is_a_502(start_weir, ask):
    """A name that cannot be resolved is a server that cannot be reached."""
    weir = start_weir({"upstream": {"servers": ["http://nowhere.invalid:80"]}})
    response = await ask(weir, get(), within=15.0)

    assert_problem(response, 502)


@pytest.mark.parametrize(
    "sent",
    [
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x00\x00\r\n\r\n",
        b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"ICY 200 OK\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-\0: 0\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: five\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X-Fill: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 30_000 + b"\r\n",
    ],
    ids=lambda sent: repr(sent[:60]),
)
async def test_junk_from_the_origin_is_a_502(weir, origin, ask, sent):
    """What cannot be read in one way only is not passed on; the connection it came on is used no more."""

    async def script(visit):
        await visit.request()
        try:
            await visit.send(sent)
        except ConnectionError:
            pass  # Weir has seen enough
        await visit.left()

    origin.script = script
    response = await ask(weir, get())

    assert_problem(response, 502)
    visit = await origin.visit(0)
    async with asyncio.timeout(5):
        await visit.is_over.wait()


async def test_second_answer_to_one_request_is_nobodys(weir, origin, connect):
    """An origin that says more than it was asked cannot answer somebody else's request with it."""

    async def script(visit):
        while (request := await visit.request()) is not None:
            extra = answer(200, b"for nobody") if request.target == b"/first" else b""
            await visit.send(answer(200, request.target) + extra)

    origin.script = script
    first, second = await connect(weir), await connect(weir)
    await first.send(get(target="/first"))
    assert (await first.response()).body == b"/first"
    for wire in (first, second):
        await wire.send(get(target="/second"))
        assert (await wire.response()).body == b"/second"


# --- within the response's body: never a clean end ---

CUT_BODIES = {
    "length": answer(200, b"x" * 100)[:-40],
    "length, no byte": answer(200, b"x" * 100)[:-100],
    "within a chunk": answer(200, b"64\r\n" + b"x" * 60, "Transfer-Encoding: chunked", length=False),
    "within a chunk's size": answer(200, b"5\r\nhello\r\n6", "Transfer-Encoding: chunked", length=False),
    "after a chunk": answer(200, b"5\r\nhello\r\n", "Transfer-Encoding: chunked", length=False),
    "before the first chunk": answer(200, b"", "Transfer-Encoding: chunked", length=False),
    "within the last chunk": answer(200, b"5\r\nhello\r\n0\r\n", "Transfer-Encoding: chunked", length=False),
    "within the trailers": answer(
        200, b"5\r\nhello\r\n0\r\nX: y\r\n", "Transfer-Encoding: chunked", length=False
    ),
    "bad chunk": answer(200, b"5\r\nhello\r\nzz\r\n", "Transfer-Encoding: chunked", length=False),
}


@ENDS
@pytest.mark.parametrize("sent", CUT_BODIES.values(), ids=CUT_BODIES.keys())
async def test_truncated_body_is_an_error_to_the_client(weir, origin, connect, sent, is_reset):
    """The client's connection ends before the promised end of the message."""
    origin.script = dying(sent, is_reset=is_reset)
    wire = await connect(weir)
    await wire.send(get(target="/truncated"))
    with pytest.raises(Broken):
        await wire.response()

    assert wire.received.startswith(b"HTTP/1.1 200 ")
    assert len(origin.requests) == 1


@ENDS
@pytest.mark.parametrize("sent", CUT_BODIES.values(), ids=CUT_BODIES.keys())
async def test_truncated_body_is_an_error_to_an_old_client(weir, origin, connect, sent, is_reset):
    """In HTTP/1.0 the end of the connection ends a body of unknown length: so it must be a reset."""
    origin.script = dying(sent, is_reset=is_reset)
    wire = await connect(weir)
    await wire.send(get(version="HTTP/1.0"))
    with pytest.raises(Broken) as broken:
        await wire.response()

    if b"chunked" in sent:
        assert broken.value.end == RESET


async def test_reset_of_a_body_that_ends_with_its_connection_is_seen(weir, origin, connect):
    """A close-delimited body that ends by a reset is not whole."""
    origin.script = dying(answer(200, b"x" * 100, length=False), is_reset=True)
    wire = await connect(weir)
    await wire.send(get())
    with pytest.raises(Broken):
        await wire.response()


async def test_truncation_is_recorded(weir, origin, connect):
    """As a fault of the upstream, in the access log and the metrics."""
    before = weir.metrics().total("weir_upstream_failures_total")
    origin.script = dying(CUT_BODIES["length"], is_reset=False)
    wire = await connect(weir)
    await wire.send(get(target="/recorded"))
    await wire.rest()
    line = await weir.access_line(target="/recorded")

    assert (line["outcome"], line["status"], line["bytes_out"]) == ("faulted", 200, 60)
    assert line["fault"]
    assert weir.metrics().total("weir_upstream_failures_total") == before + 1


async def test_large_body_that_breaks_off_is_an_error(weir, origin, connect):
    """Also when megabytes are on their way: what was sent arrives or not, but never as the whole."""
    body = b"x" * 5_000_000
    origin.script = dying(answer(200, body)[:-1], is_reset=False)
    wire = await connect(weir)
    await wire.send(get())
    with pytest.raises(Broken) as broken:
        await wire.response()

    assert len(broken.value.received) < len(body)


async def test_dead_one_of_two_servers_is_passed_over(start_weir, start_origin, ask):
    """All requests succeed on the other: where a connection is refused, nothing was processed."""
    origin = await start_origin()
    dead = f"http://127.0.0.1:{free_port()}"
    weir = start_weir({"upstream": {"servers": [origin.url, dead]}})
    statuses = [(await ask(weir, get())).status for _ in range(20)]

    assert statuses == [200] * 20
    assert len(origin.requests) == 20
    assert weir.metrics().total("weir_upstream_failures_total", server=dead) >= 1
