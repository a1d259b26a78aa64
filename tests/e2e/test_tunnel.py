"""Upgrade: 101 turns both connections into a tunnel, at the price of one token."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.messages import answer, get, post
from tests.support.origin import answering
from tests.support.wire import CLEAN

SETTINGS = {"limits": [{"name": "one", "rate": "1000/s", "key": ["const"]}]}
UPGRADE = get("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: y\r\n\r\n"


async def echoing(visit):
    """Switches, greets, and gives back every byte."""
    request = await visit.request()
    assert request.value("Upgrade") == b"websocket"
    assert b"upgrade" in request.value("Connection").lower()
    await visit.send(SWITCH + b"hello")
    while await visit.fill():
        data = bytes(visit.unread)
        visit.unread.clear()
        await visit.send(data)


async def test_upgrade_becomes_a_tunnel(weir, origin, connect):
    """Any bytes, both ways, at once; also those that come with the heads."""
    origin.script = echoing
    wire = await connect(weir)
    await wire.send(UPGRADE + b"early")
    response = await wire.response()

    assert response.status == 101
    assert response.value("Upgrade") == b"websocket"
    assert response.value("Sec-WebSocket-Accept") == b"y"
    assert await wire.exactly(10) == b"helloearly"
    for data in (b"\x00\xff\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n", bytes(range(256)) * 400):
        await wire.send(data)
        assert await wire.exactly(len(data)) == data


@pytest.mark.parametrize("who", ["client", "origin"])
async def test_end_of_one_side_ends_the_other(weir, origin, connect, who):
    """Neither is left waiting."""

    async def script(visit):
        await visit.request()
        await visit.send(SWITCH)
        if who == "client":
            await visit.left()

    origin.script = script
    wire = await connect(weir)
    await wire.send(UPGRADE)
    await wire.response()
    if who == "client":
        wire.close()
        visit = await origin.visit(0)
        await asyncio.wait_for(visit.is_over.wait(), 5)
    else:
        assert (await wire.rest(), wire.end) == (b"", CLEAN)


async def test_tunnel_is_recorded_and_costs_one_token(weir, origin, connect):
    """As an exchange of its own kind."""
    before = weir.metrics()
    origin.script = echoing
    wire = await connect(weir)
    await wire.send(UPGRADE.replace(b"GET /", b"GET /tunnel"))
    await wire.response()
    for _ in range(5):
        await wire.send(b"abc")
        await wire.until(b"abc")
    wire.close()
    line = await weir.access_line(target="/tunnel")
    spent = weir.metrics().total("weir_limit_decisions_total") - before.total("weir_limit_decisions_total")

    assert (line["status"], line["outcome"], spent) == (101, "tunnelled", 1)


async def test_declined_upgrade_is_an_ordinary_answer(weir, origin, connect):
    """The connection goes on as HTTP."""
    origin.script = answering(answer(200, b"no"))
    wire = await connect(weir)
    for request in (UPGRADE, get()):
        await wire.send(request)
        assert (await wire.response()).body == b"no"


async def test_h2c_is_not_offered_to_the_service(weir, origin, ask):
    """It would be a way past every rule."""
    response = await ask(
        weir, get("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAMAAABk")
    )

    assert response.status == 200
    assert origin.requests[0].value("Upgrade") is None
    assert origin.requests[0].value("HTTP2-Settings") is None


async def test_slow_end_of_a_tunnel_holds_back_the_other(weir, origin, connect):
    """Backpressure: bytes do not pile up in Weir."""
    is_sending = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.send(SWITCH)
        await is_sending.wait()
        sent = 0
        try:
            while sent < 100_000_000:
                await visit.send(b"x" * 65536, within=0.5)
                sent += 65536
        except TimeoutError:
            origin.sent = sent
        await visit.left()

    origin.script = script
    wire = await connect(weir, receive_bytes=4096)
    await wire.send(UPGRADE)
    await wire.response_head()
    is_sending.set()
    visit = await origin.visit(0)
    async with asyncio.timeout(15):
        while not hasattr(origin, "sent"):
            await asyncio.sleep(0.05)
    wire.abort()
    await asyncio.wait_for(visit.is_over.wait(), 5)

    assert origin.sent < 30_000_000


async def test_client_that_ends_its_side_before_the_tunnel_is_one_is_heard_to_the_end(
    start_weir, start_origin, connect
):
    """Its first words and its end come behind the request: the service hears both, and answers."""

    async def talk(visit):
        await visit.request()
        await visit.send(SWITCH)
        await visit.send(await visit.rest(within=5) * 2)

    weir = start_weir({"downstream": {"half_close": "answer"}}, upstream=await start_origin(talk))
    wire = await connect(weir)
    await wire.send(UPGRADE + b"question ")
    wire.finish_sending()
    status = (await wire.response()).status

    assert status == 101
    assert (await wire.rest(within=5), wire.end) == (b"question " * 2, CLEAN)


async def test_client_that_ends_its_side_behind_refused_uploads_is_answered_to_the_last(start_weir, connect):
    """However many there are, and wherever among them the end is seen."""
    weir = start_weir({"downstream": {"half_close": "answer"}, "contract": {"allow_methods": ["PUT"]}})
    wire = await connect(weir)
    await wire.send(get() + post(b"hello") * 200)
    wire.finish_sending()
    statuses = [(await wire.response()).status for _ in range(201)]

    assert statuses == [405] * 201
    assert (await wire.rest(within=5), wire.end) == (b"", CLEAN)
