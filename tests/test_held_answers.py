"""What is held of answers has its room in the worker's budget, and gives it back whatever happens."""

from __future__ import annotations

import asyncio

import pytest

from proxy.contract.etags import HELD_BYTES, TAGGED_BYTES, Budget
from tests.support.messages import answer, chunked, get
from tests.support.origin import answering
from tests.support.patience import until

SETTINGS = {"contract": {"edge_etags": True}}
GUARDED = {**SETTINGS, "errors": {"leak_guard": "redact"}}
LARGE = b"x" * TAGGED_BYTES
TEXT = "Content-Type: text/plain"
CHUNKED = "Transfer-Encoding: chunked"


@pytest.fixture
async def holding(start_bench, start_origin, connect):
    """An exchange of which half the body is held: the bench, the client and the origin's connection."""

    async def hold(**changes):
        async def script(visit):
            await visit.request()
            await visit.send(answer(200, LARGE, TEXT)[: -TAGGED_BYTES // 2])
            await visit.left()

        origin = await start_origin(script)
        bench = await start_bench(origin, **(changes or SETTINGS))
        wire = await connect(bench)
        await wire.send(get())
        await until(lambda: bench.shared.budget.left == HELD_BYTES - TAGGED_BYTES // 2, "half is held")
        return bench, wire, origin.visits[0]

    return hold


def is_free(bench):
    return bench.shared.budget.left == HELD_BYTES


async def test_answer_that_is_whole_gives_its_room_back(holding):
    bench, wire, visit = await holding()
    await visit.send(b"x" * (TAGGED_BYTES // 2))
    response = await wire.response()

    assert response.body == LARGE
    assert response.value("ETag")
    assert is_free(bench)


async def test_304_gives_its_room_back(start_bench, start_origin, connect):
    bench = await start_bench(await start_origin(answering(answer(200, LARGE))), **SETTINGS)
    wire = await connect(bench)
    await wire.send(get("If-None-Match: *"))

    assert (await wire.response()).status == 304
    assert is_free(bench)


@pytest.mark.parametrize("ends", ["client", "server", "mistake"])
async def test_broken_exchange_gives_its_room_back(holding, monkeypatch, ends):
    bench, wire, visit = await holding()
    if ends == "client":
        wire.abort()
    elif ends == "server":
        visit.close()
    else:

        def stumble(*_):
            raise ZeroDivisionError

        monkeypatch.setattr(bench.shared.rules.heads, "response", stumble)
        await visit.send(b"x" * (TAGGED_BYTES // 2))
    exchange = await bench.recorded()

    assert exchange.fault.reason == {"client": "client_gone", "server": "truncated"}.get(ends, "internal")
    await until(lambda: is_free(bench), "the room is back")


async def test_leak_gives_its_room_back(start_bench, start_origin, connect):
    """Also if it shows behind a piece that was held."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, chunked(b"ORA-00942: x"), TEXT, CHUNKED, length=False)[:-5])
        await until(lambda: not is_free(bench), "the beginning is held")
        await visit.send(chunked(LARGE))

    bench = await start_bench(await start_origin(script), **GUARDED)
    wire = await connect(bench)
    await wire.send(get())

    assert (await wire.response()).status == 500
    assert is_free(bench)


@pytest.mark.parametrize("guarded", [True, False])
async def test_answer_without_room_passes_without_a_tag(start_bench, start_origin, connect, guarded):
    bench = await start_bench(
        await start_origin(answering(answer(200, LARGE, TEXT))), **(GUARDED if guarded else SETTINGS)
    )
    bench.shared.budget = Budget(1000)
    wire = await connect(bench)
    await wire.send(get("If-None-Match: *"))
    response = await wire.response()

    assert (response.status, response.body, response.value("ETag")) == (200, LARGE, None)
    assert bench.shared.budget.left == 1000


async def test_what_the_client_does_not_read_keeps_its_room(start_bench, start_origin, connect):
    """Else slow readers would hold any number of answers in their connections' buffers."""
    bench = await start_bench(await start_origin(answering(answer(200, LARGE))), send_bytes=4096, **SETTINGS)
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get())
    await bench.recorded()
    await until(lambda: not is_free(bench))
    assert not is_free(bench)

    assert (await wire.response()).body == LARGE
    await until(lambda: is_free(bench), "the room is back")


@pytest.mark.parametrize("header", ["Connection: close", "Accept: */*"])
async def test_what_a_client_left_unread_gives_its_room_back(start_bench, start_origin, connect, header):
    bench = await start_bench(await start_origin(answering(answer(200, LARGE))), send_bytes=4096, **SETTINGS)
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get(header))
    await bench.recorded()
    assert not is_free(bench)
    wire.abort()

    await until(lambda: is_free(bench), "the room is back")


@pytest.mark.moved
async def test_answer_that_grew_too_large_to_be_held_may_take_its_time(start_bench, start_origin, connect):
    """It passes from then on, and the second that an answer may be held means nothing any more."""
    half = b"%x\r\n%b\r\n" % (TAGGED_BYTES // 2 + 1, b"x" * (TAGGED_BYTES // 2 + 1))

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"", CHUNKED, TEXT, length=False) + half * 2)
        await asyncio.sleep(5)
        await visit.send(b"4\r\nlast\r\n0\r\n\r\n")
        await visit.left()

    bench = await start_bench(await start_origin(script), **SETTINGS)
    wire = await connect(bench)
    await wire.send(get())
    response = await wire.response()

    assert response.body == b"x" * (TAGGED_BYTES + 2) + b"last"
    assert response.value("ETag") is None
    assert is_free(bench)
