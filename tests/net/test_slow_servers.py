"""Servers that take requests late, or not at all: the answer counts, and what was sent to them is not lost."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.messages import answer, get, post
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.wire import CLEAN

pytestmark = pytest.mark.moved
ON_THE_WAY = 512 * 1024  # bytes that the kernels of both sides take (tests/support/memory.py)
UPGRADE = get("Connection: Upgrade", "Upgrade: chat")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"


async def filled(wire, upstream, size):
    """Until so many bytes of a tunnel lie here, since the server does not read: how many were sent."""
    sent = 0
    while upstream.transport.get_write_buffer_size() < size:
        await wire.send(b"x" * 8192)
        sent += 8192
        await asyncio.sleep(0.01)
    return sent


async def test_whole_upload_that_a_server_takes_late_costs_its_client_nothing(
    start_bench, start_origin, connect
):
    """All has come of it: what it waits for now is the answer, for as long as a server may take."""
    is_to_read = asyncio.Event()

    async def script(visit):
        await is_to_read.wait()
        request = await visit.request()
        await asyncio.sleep(2)
        await visit.send(answer(200, b"%d" % len(request.body)))

    bench = await start_bench(await start_origin(script), downstream={"timeouts": {"body": "300ms"}})
    wire = await connect(bench)
    size = ON_THE_WAY + 150_000
    await wire.send(post(b"x" * size))
    (upstream,) = await until(lambda: bench.address.open)
    await until(lambda: upstream.is_write_paused and upstream.attempt.is_request_sent)
    is_to_read.set()

    assert (await wire.response()).body == b"%d" % size
    assert bench.ledger.outcomes == ["served"]


async def test_request_behind_a_body_that_a_server_has_not_taken_waits_for_it(
    start_bench, start_origin, connect
):
    """An answer that came early leaves its connection good, if all of the request had been sent to it."""
    is_to_answer, is_to_read = asyncio.Event(), asyncio.Event()

    async def script(visit):
        await is_to_answer.wait()
        await visit.send(answer(200, b"early"))
        await is_to_read.wait()
        await visit.request()
        assert (await visit.request()).target == b"/next"
        await visit.send(answer(200, b"next"))
        await visit.left()

    origin = await start_origin(script)
    bench = await start_bench(origin)
    wire = await connect(bench)
    await wire.send(post(b"x" * (ON_THE_WAY + 50_000)))
    (upstream,) = await until(lambda: bench.address.open)
    await until(lambda: upstream.attempt.is_request_sent)
    is_to_answer.set()
    assert (await wire.response()).body == b"early"
    await wire.send(get("X-Long: " + "y" * 30_000, target="/next"))
    await until(lambda: upstream.is_write_paused)
    is_to_read.set()

    assert (await wire.response()).body == b"next"
    assert len(origin.visits) == 1


class Unwritable:
    """A transport that takes nothing, as one may that has no memory left."""

    def __init__(self, transport) -> None:
        self._transport = transport

    def __getattr__(self, name):
        return getattr(self._transport, name)

    def write(self, _):
        raise MemoryError


@pytest.mark.parametrize(("method", "status"), [("POST", 502), ("GET", 200)])
async def test_connection_that_takes_nothing_is_given_up(
    start_bench, start_origin, connect, caplog, method, status
):
    """As one that its server has closed: who may be sent again is, on another one."""
    origin = await start_origin(answering(answer()))
    bench = await start_bench(origin)
    wire = await connect(bench)
    await wire.send(get())
    await wire.response()
    (upstream,) = bench.address.idle
    upstream.transport = Unwritable(upstream.transport)
    await wire.send(post() if method == "POST" else get())

    assert (await wire.response()).status == status
    assert len(origin.visits) == (1 if method == "POST" else 2)
    assert bench.ledger.reasons == [None, "stale_connection" if method == "POST" else None]
    assert caplog.messages.count("crashed") == 1
    assert upstream not in bench.address.open


async def test_last_words_in_a_tunnel_are_waited_for_as_long_as_they_go_out(
    start_bench, start_origin, connect
):
    """Longer than their server may take nothing of them."""
    is_to_read = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.send(SWITCH)
        await is_to_read.wait()
        while await visit.fill(8192):
            await asyncio.sleep(0.05)

    origin = await start_origin(script)
    bench = await start_bench(origin, upstream={"timeouts": {"response": "200ms"}})
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()
    (upstream,) = bench.address.open
    sent = await filled(wire, upstream, 60_000)
    began = asyncio.get_running_loop().time()
    wire.abort()
    await bench.recorded()
    is_to_read.set()
    visit = await origin.visit()
    await visit.is_over.wait()

    assert asyncio.get_running_loop().time() - began > 1
    assert visit.received.endswith(b"\r\n\r\n" + b"x" * sent)
    assert visit.end == CLEAN
    assert bench.ledger.outcomes == ["tunnelled"]


@pytest.mark.parametrize("scheme", [b"http", b"https"])
async def test_last_words_in_a_tunnel_may_be_more_than_its_server_takes(
    start_bench, start_origin, connect, scheme
):
    """Said together with the end; a client over TLS knows no half of one."""
    is_to_read = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.send(SWITCH)
        await is_to_read.wait()
        await visit.rest()
        await visit.send(b"heard")

    origin = await start_origin(script)
    bench = await start_bench(origin)
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()
    (upstream,), (connection,) = bench.address.open, bench.frontend.connections
    connection.scheme = scheme
    sent = await filled(wire, upstream, 50_000)
    await wire.send(b"y" * 16_000)
    wire.finish_sending()
    await until(lambda: upstream.is_write_paused)
    assert len(bench.exchanges) == (scheme == b"https")
    is_to_read.set()
    visit = await origin.visit()
    await visit.is_over.wait()
    await bench.recorded()

    assert visit.received.endswith(b"x" * sent + b"y" * 16_000)
    assert visit.end == CLEAN
    assert (await wire.rest(), wire.end) == (b"heard" if scheme == b"http" else b"", CLEAN)
    assert bench.ledger.outcomes == ["tunnelled"]
