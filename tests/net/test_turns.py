"""Whatever loops over bytes of others takes turns: a client beside it is served within 20 ms."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.innocent import innocent
from tests.support.messages import answer, get
from tests.support.origin import answering

pytestmark = pytest.mark.real
CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
TINY = {
    "of one byte": b"1\r\nx\r\n" * 100_000 + END,
    "with extensions": b"1;a=b\r\nx\r\n" * 60_000 + END,
    "with zeros": b"000001\r\nx\r\n" * 60_000 + END,
}


@pytest.mark.parametrize("body", TINY)
async def test_answer_in_tiny_chunks(start_bench, start_origin, connect, body):
    bench = await start_bench(await start_origin(answering(answer(200, TINY[body], CHUNKED, length=False))))
    wire = await connect(bench)
    async with innocent():
        await wire.send(get())
        while not wire.unread.endswith(END):
            assert await wire.fill()


@pytest.mark.parametrize("body", TINY)
async def test_upload_in_tiny_chunks(start_bench, start_origin, connect, body):
    async def script(visit):
        await visit.request_head()
        while not visit.unread.endswith(END):
            assert await visit.fill()
        await visit.send(answer())

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench)
    async with innocent():
        await wire.send(get(CHUNKED, method="POST"))
        await wire.send(TINY[body])
        assert (await wire.response()).status == 200


HEADS = {
    "many fields": (b"".join(b"a%d:\r\n" % n for n in range(9000)), 502),
    "one field again and again": (b"a:\r\n" * 15_000, 502),
    "as many as there may be": (b"".join(b"a%d: b\r\n" % n for n in range(990)), 200),
    "one long field": (b"a: " + b"b" * 60_000 + b"\r\n", 200),
}


@pytest.mark.parametrize("fields", HEADS)
async def test_large_head_of_an_answer(start_bench, start_origin, connect, fields):
    lines, status = HEADS[fields]
    said = b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n" + lines + b"\r\n"
    bench = await start_bench(await start_origin(answering(said)))
    wire = await connect(bench)
    async with innocent():
        for _ in range(3):
            await wire.send(get())
            assert (await wire.until(b"\r\n\r\n"))[9:12] == b"%d" % status
            if status == 502:
                await wire.until(b"}")


async def test_pipelined_requests(start_bench, connect):
    """Two thousand that are refused without asking anybody."""
    bench = await start_bench(contract={"allow_methods": ["POST"]})
    wire = await connect(bench)
    async with innocent():
        sending = asyncio.create_task(wire.send(get() * 2000))
        for _ in range(2000):
            assert (await wire.response()).status == 405
        await sending


@pytest.mark.parametrize("framing", ["Content-Length: 50000000", "Connection: close"])
async def test_large_answer(start_bench, start_origin, connect, framing):
    said = answer(200, b"x" * 50_000_000, framing, length=False)

    async def script(visit):
        await visit.request()
        await visit.send(said)

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench)
    await wire.send(get("Connection: close"))
    async with innocent():
        size = 0
        while await wire.fill():
            size += len(wire.unread)
            wire.unread.clear()
            wire.received.clear()

    assert size > len(said) - 200
