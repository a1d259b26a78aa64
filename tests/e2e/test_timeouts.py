"""Nobody waits for ever: slow clients, slow origins, and connections at rest."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from tests.support.messages import answer, get, post
from tests.support.origin import answering
from tests.support.wire import CLEAN, Broken

SPAN = 0.5  # of every timeout here but the origin's answer
ANSWER_SPAN = 0.8  # longer, so that it is clear who was too slow
LATE = 3.0  # a sweep comes late by a fraction of the span; the rest is for slow machines
SETTINGS = {
    "downstream": {"timeouts": {"head": "500ms", "body": "500ms", "idle": "500ms"}},
    "upstream": {"timeouts": {"connect": "500ms", "response": "800ms", "idle": "500ms"}},
}


class Watch:
    """Tells whether something took its span: not at once, not much later."""

    def __init__(self, span: float = SPAN) -> None:
        self._span = span
        self._begin = time.monotonic()

    @property
    def is_in_time(self) -> bool:
        return self._span * 0.6 < time.monotonic() - self._begin < self._span + LATE


def assert_problem(response, status):
    assert response.status == status
    assert response.value("Content-Type") == b"application/problem+json"
    assert response.json()["status"] == status


# --- clients ---


@pytest.mark.parametrize(
    "sent", [b"G", b"GET / HTTP/1.1\r\n", get()[:-2]], ids=["a byte", "a line", "all but the last"]
)
async def test_slow_head_is_a_408(weir, origin, connect, sent):
    """And the connection closes; nothing was forwarded."""
    wire = await connect(weir)
    watch = Watch()
    await wire.send(sent)
    response = await wire.response()

    assert watch.is_in_time
    assert_problem(response, 408)
    assert (await wire.rest(), wire.end) == (b"", CLEAN)
    assert origin.received == b""


async def test_dripping_head_is_a_408(weir, origin, connect):
    """The time is for the whole head: a byte now and then does not buy more."""
    wire = await connect(weir)
    watch = Watch()
    dripping = asyncio.create_task(drip(wire, [b"X"] * 200, first=b"GET / HTTP/1.1\r\nHost: a\r\nX: "))
    response = await wire.response()
    dripping.cancel()
    await asyncio.gather(dripping, return_exceptions=True)

    assert watch.is_in_time
    assert_problem(response, 408)


@pytest.mark.parametrize("is_used", [False, True], ids=["fresh", "used"])
async def test_connection_at_rest_is_closed(weir, origin, connect, is_used):
    """Without a word: a 408 could be taken for the answer to a request that is just leaving."""
    wire = await connect(weir)
    if is_used:
        await wire.send(get())
        await wire.response()
    watch = Watch()
    said = await wire.rest()

    assert watch.is_in_time
    assert (said, wire.end) == (b"", CLEAN)


@pytest.mark.parametrize(
    "half",
    [post(b"x" * 1000)[:-500], get("Transfer-Encoding: chunked", method="POST") + b"5\r\nhel"],
    ids=["length", "chunked"],
)
async def test_slow_body_is_a_408(weir, origin, connect, half):
    """The origin's request is aborted."""
    wire = await connect(weir)
    watch = Watch()
    await wire.send(half)
    response = await wire.response()
    await wire.rest()
    visit = await origin.visit(0)
    await asyncio.wait_for(visit.is_over.wait(), 5)

    assert watch.is_in_time
    assert_problem(response, 408)
    assert origin.requests == []


async def test_dripping_body_passes(weir, origin, connect):
    """The time is between two pieces: a slow upload that goes on is served."""
    wire = await connect(weir)
    await drip(wire, [b"x"] * 12, first=get("Content-Length: 12", method="POST"))
    response = await wire.response()

    assert response.status == 200
    assert origin.requests[0].body == b"x" * 12


async def test_client_that_stops_reading_is_left(weir, origin, connect):
    """Its endless answer is ended at the origin too."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"", "Transfer-Encoding: chunked", length=False))
        while True:
            await visit.send(b"10000\r\n" + b"x" * 65536 + b"\r\n")

    origin.script = script
    wire = await connect(weir, receive_bytes=4096)
    await wire.send(get(target="/stops"))
    visit = await origin.visit(0)
    await asyncio.wait_for(visit.is_over.wait(), 10)
    line = await weir.access_line(target="/stops")

    assert visit.broken is not None
    assert line["outcome"] in ("faulted", "abandoned")


# --- origins ---


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 200 OK\r\nX: "], ids=["silent", "within the head"])
async def test_origin_that_does_not_answer_is_a_504(weir, origin, ask, sent):
    """And its connection is closed: its answer would be nobody's."""
    before = weir.metrics().total("weir_upstream_failures_total")

    async def script(visit):
        await visit.request()
        await visit.send(sent)
        await visit.left()

    origin.script = script
    watch = Watch(ANSWER_SPAN)
    response = await ask(weir, get())
    visit = await origin.visit(0)
    await asyncio.wait_for(visit.is_over.wait(), 5)

    assert watch.is_in_time
    assert_problem(response, 504)
    assert len(origin.requests) == 1
    assert weir.metrics().total("weir_upstream_failures_total") == before + 1


async def test_interim_answers_do_not_hold_the_origin_alive_for_ever(weir, origin, ask):
    """An origin that only ever says 103 is bounded by somebody: the client sees a 504 or the test its deadline."""

    async def script(visit):
        await visit.request()
        await visit.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
        await visit.left()

    origin.script = script
    response = await ask(weir, get())

    assert_problem(response, 504)
    assert [i.status for i in response.interim] == [103]


async def test_body_that_stalls_is_an_error_to_the_client(weir, origin, connect):
    """After the time for a response has passed without a byte."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"x" * 100)[:-50])
        await visit.left()

    origin.script = script
    wire = await connect(weir)
    watch = Watch(ANSWER_SPAN)
    await wire.send(get())
    with pytest.raises(Broken):
        await wire.response()

    assert watch.is_in_time


async def test_dripping_answer_passes(weir, origin, ask):
    """A body that goes on is never too long."""

    async def script(visit):
        await visit.request()
        await drip(visit, [b"x"] * 12, first=answer(200, b"", "Content-Length: 12", length=False))

    origin.script = script
    response = await ask(weir, get())

    assert response.body == b"x" * 12


async def test_server_that_does_not_accept_is_a_504(start_weir, ask):
    """A connection that is neither made nor refused ends at its timeout."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        weir = start_weir(SETTINGS, upstream=f"http://127.0.0.1:{deaf.getsockname()[1]}")
        callers = [fill_backlog(deaf) for _ in range(4)]
        watch = Watch()
        response = await ask(weir, get())
        for caller in callers:
            caller.close()

    assert watch.is_in_time
    assert_problem(response, 504)


def fill_backlog(deaf: socket.socket) -> socket.socket:
    """A caller that takes a place in the queue; once it is full, the kernel drops further calls."""
    caller = socket.socket()
    caller.setblocking(False)
    caller.connect_ex(deaf.getsockname())
    return caller


@pytest.mark.waits("a client pauses for longer than a server may")
async def test_origin_is_not_blamed_for_a_client_that_pauses(start_weir, start_origin, connect):
    """The time for an answer runs from the end of the request: before, the origin has nothing to answer."""
    origin = await start_origin()
    weir = start_weir({"upstream": {"timeouts": {"response": "400ms"}}}, upstream=origin)
    wire = await connect(weir)
    request = post(b"hello")
    await wire.send(request[:-3])
    await asyncio.sleep(1.0)
    await wire.send(request[-3:])
    response = await wire.response()

    assert response.status == 200
    assert [r.body for r in origin.requests] == [b"hello"]


async def test_pooled_connection_at_rest_is_closed(weir, origin, ask):
    """By Weir, before the origin's own keep-alive ends."""
    await ask(weir, get())
    watch = Watch()
    visit = await origin.visit(0)
    await asyncio.wait_for(visit.is_over.wait(), 5)

    assert watch.is_in_time
    assert visit.end == CLEAN


async def test_timeout_of_one_exchange_is_not_that_of_the_next(weir, origin, connect):
    """Deadlines are forgotten when what they were for has happened."""
    origin.script = answering(slowly)
    wire = await connect(weir)
    for _ in range(4):
        await wire.send(get())
        assert (await wire.response()).status == 200
        await asyncio.sleep(SPAN * 0.4)


async def slowly(request):
    await asyncio.sleep(SPAN * 0.4)
    return answer()


async def drip(wire, pieces, *, first=b""):
    """A piece every tenth of a second: well within the span, all together well beyond it."""
    try:
        await wire.send(first)
        for piece in pieces:
            await asyncio.sleep(SPAN / 5)
            await wire.send(piece)
    except ConnectionError:
        pass  # Weir has had enough
