"""Clients that take their answers late: nothing is lost by that, and nothing that is waited for waits for ever."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.messages import answer, chunked, get
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.wire import CLEAN

pytestmark = pytest.mark.moved
CHUNKED = "Transfer-Encoding: chunked"
UPGRADE = get("Connection: Upgrade", "Upgrade: chat")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
SMALL = 4096  # bytes that a kernel takes


@pytest.fixture
def slow(start_bench, start_origin, connect):
    """A bench before a service that does as the script says, and a client for whom little is taken ahead."""

    async def start(script, **changes):
        bench = await start_bench(await start_origin(script), send_bytes=SMALL, **changes)
        return bench, await connect(bench, receive_bytes=SMALL)

    return start


async def is_held_back(bench):
    """Until what was sent to the only client lies here."""
    await until(lambda: bench.frontend.connections)
    (connection,) = bench.frontend.connections
    await until(lambda: connection.is_write_paused)
    return connection


async def test_chunks_that_are_read_already_wait_too(slow):
    """More of them than a turn works off: the rest has its turn when the client has taken the first."""
    pieces = [b"%099d\n" % number for number in range(9000)]
    bench, wire = await slow(answering(answer(200, chunked(*pieces), CHUNKED, length=False)))
    await wire.send(get())
    await is_held_back(bench)
    (upstream,) = bench.address.open
    assert upstream.attempt.backlog
    response = await wire.response()

    assert response.body == b"".join(pieces)
    assert bench.ledger.outcomes == ["served"]
    assert bench.address.idle


async def test_answer_that_broke_is_over_when_its_client_has_what_came(slow):
    """Not before: what the client has not taken may be more than may lie here."""
    is_broken = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"x" * 400_000)[:200_000])
        await is_broken.wait()
        visit.abort()

    bench, wire = await slow(script)
    await wire.send(get("Connection: close"))
    await is_held_back(bench)
    (upstream,) = bench.address.open
    is_broken.set()
    await until(lambda: upstream.transport.is_closing())
    await asyncio.sleep(1)
    assert bench.exchanges == []

    assert (await wire.rest()).endswith(b"x" * 190_000)
    await bench.recorded()
    assert bench.ledger.reasons == ["truncated"]
    assert bench.address.standing.failures == 1


async def test_last_answer_is_waited_for_as_long_as_it_goes_out(slow):
    """Longer than a client may take nothing of it."""
    body = b"y" * 250_000
    bench, wire = await slow(
        answering(answer(200, body)), downstream={"timeouts": {"body": "200ms", "idle": "200ms"}}
    )
    await wire.send(get("Connection: close"))
    await is_held_back(bench)
    assert bench.ledger.outcomes == ["served"]
    began = asyncio.get_running_loop().time()
    while await wire.fill():
        await asyncio.sleep(0.05)

    assert asyncio.get_running_loop().time() - began > 1
    assert wire.end == CLEAN
    assert wire.received.endswith(b"\r\n\r\n" + body)
    await until(lambda: not bench.frontend.connections, "it does not wait for the client's end for ever")


async def test_answers_that_nobody_takes_may_be_over_when_they_go_out(slow):
    """They were written in a tick, at whose end the client is held back; no exchange of it is under way."""
    said = answer(200, chunked(b"x" * 15_000), CHUNKED, length=False)
    bench, wire = await slow(answering(said))
    for number in range(5):
        await wire.send(get())
        await bench.recorded(number + 1)
    (connection,) = bench.frontend.connections
    assert connection.is_write_paused
    assert connection.exchange is None

    assert [(await wire.response()).body for _ in range(5)] == [b"x" * 15_000] * 5
    assert bench.ledger.outcomes == ["served"] * 5


async def test_client_of_a_tunnel_is_waited_for_as_any_other(slow):
    """Hints that it does not take stand before the 101: what it has to do next is to read."""
    links = b"".join(b"Link: </%0200d.css>; rel=preload\r\n" % number for number in range(90))

    async def script(visit):
        await visit.request()
        await visit.send(b"HTTP/1.1 103 Early Hints\r\n%b\r\n" % links * 8 + SWITCH)
        await visit.left()

    times = {"body": "200ms", "tunnel": "1h"}
    bench, wire = await slow(script, downstream={"timeouts": times})
    began = asyncio.get_running_loop().time()
    await wire.send(UPGRADE)
    exchange = await bench.recorded()

    assert (exchange.outcome, exchange.fault.reason) == ("tunnelled", "read_timeout")
    assert asyncio.get_running_loop().time() - began < 1


async def test_client_that_left_as_its_answer_broke_is_recorded_once(slow):
    """An answer that would look whole is reset; there is nobody left who could mistake it."""
    visits, is_broken = [], asyncio.Event()

    async def script(visit):
        visits.append(visit)
        await visit.request()
        await visit.send(answer(200, chunked(b"hello").removesuffix(b"0\r\n\r\n"), CHUNKED, length=False))
        await is_broken.wait()

    bench, wire = await slow(script)
    await wire.send(get(version="HTTP/1.0"))
    await wire.until(b"hello")
    wire.abort()
    visits[0].finish_sending()
    await bench.recorded()
    is_broken.set()

    assert bench.ledger.reasons == ["truncated"]
