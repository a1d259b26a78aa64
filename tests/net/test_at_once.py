"""What comes all at once is worked off in turns: a client beside it is served within 20 ms."""

from __future__ import annotations

import asyncio
import logging
import resource

import pytest

from tests.net.bench import settings
from tests.net.serving import Gate
from tests.support.innocent import innocent
from tests.support.messages import get
from tests.support.patience import until

pytestmark = pytest.mark.real
MANY = 800


@pytest.fixture(autouse=True)
def _descriptors():
    """Four for each client, where each has a server's connection too, and some to spare."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 5 * MANY)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def many(connect, bench, sent):
    wires = [await connect(bench) for _ in range(MANY)]
    for wire in wires:
        await wire.send(sent)
    return wires


def expire_now(bench, connections):
    """As if they had all come in the same moment."""
    for connection in connections:
        connection.deadline = bench.sweeper.now


@pytest.mark.parametrize("sent", [b"GET / HTTP/1.1\r\nHost", get()[:-2] + b"X: y"], ids=["line", "field"])
async def test_heads_that_come_too_late_together(start_bench, connect, sent):
    """Each is answered."""
    bench = await start_bench()
    wires = await many(connect, bench, sent)
    await until(lambda: sum(each.is_head_begun for each in bench.frontend.connections) == MANY)
    async with innocent():
        expire_now(bench, bench.frontend.connections)
        await until(lambda: len(bench.exchanges) == MANY)
    statuses = {(await wire.response()).status for wire in wires}

    assert statuses == {408}
    assert set(bench.ledger.reasons) == {"head_timeout"}


async def test_requests_that_have_waited_too_long_together(start_bench, start_origin, connect):
    gate = Gate()
    limits = {"connections": 1, "queue": 2 * MANY, "wait": "1h"}
    bench = await start_bench(await start_origin(gate), upstream={"limits": limits})
    wires = await many(connect, bench, get())
    pool = bench.shared.pool
    await until(lambda: len(pool.waiting) == MANY - 1)
    async with innocent():
        for exchange in pool.waiting:
            pool.waiting[exchange] = bench.sweeper.now
        await until(lambda: len(bench.exchanges) == MANY - 1)
    gate.is_open.set()
    statuses = sorted([(await wire.response()).status for wire in wires])

    assert statuses == [200] + [503] * (MANY - 1)


async def test_requests_that_find_room_together(start_bench, start_origin, connect):
    """A reload has lifted the bound."""
    gate = Gate()
    origin = await start_origin(gate)
    bench = await start_bench(
        origin, upstream={"limits": {"connections": 1, "queue": 2 * MANY, "wait": "1h"}}
    )
    wires = await many(connect, bench, get())
    await until(lambda: len(bench.shared.pool.waiting) == MANY - 1)
    more = settings(
        {"upstream": {"limits": {"connections": 2 * MANY, "queue": 2 * MANY}}}, servers=[origin.url]
    )
    async with innocent():
        bench.reload(more)
        await until(lambda: len(origin.visits) == MANY)
    gate.is_open.set()
    statuses = {(await wire.response()).status for wire in wires}

    assert statuses == {200}


async def test_clients_that_are_cut_off_together(start_bench, connect, caplog):
    """A reload has left less room for heads that do not end. All are counted, and one line tells of them."""
    caplog.set_level(logging.WARNING, "weir.net")
    bench = await start_bench()
    half = get("X: " + "y" * 4000)[:-2]
    await many(connect, bench, half)
    await until(lambda: len(bench.frontend.slow) == MANY)
    bench.reload(settings({"downstream": {"limits": {"buffers": "64KiB"}}}))
    last = await connect(bench)
    async with innocent():
        await last.send(half)
        await until(lambda: len(bench.frontend.connections) < 20)
    crowded = [record for record in caplog.records if record.getMessage() == "crowded_out"]
    cut = bench.frontend.crowded_out

    assert cut["unread_answer"] == 0
    assert cut["unfinished_head"] == MANY + 1 - len(bench.frontend.connections)
    assert len(crowded) == 1
    assert crowded[0].fields["connections"] == cut["unfinished_head"]
    assert crowded[0].fields["held_bytes"] > MANY * 4000
    assert bench.ledger.crowded_out() is cut
    await asyncio.sleep(0)


async def test_clients_that_vanish_together(start_bench, start_origin, connect):
    """While they wait for answers, with another request on its way, and so are not read."""
    gate = Gate()
    bench = await start_bench(await start_origin(gate))
    wires = await many(connect, bench, get() * 3000)
    await until(lambda: len(bench.frontend.vigil._deaf) == MANY)
    bench.sweeper.stop()
    for wire in wires:
        wire.abort()
    async with innocent():
        bench.frontend.vigil.look()
        await until(lambda: len(bench.exchanges) == MANY)
    gate.is_open.set()
    bench.sweeper.start()

    assert set(bench.ledger.outcomes) == {"abandoned"}


async def test_connections_at_rest_that_a_reload_leaves_together(start_bench, start_origin, connect):
    gate = Gate()
    origin = await start_origin(gate)
    bench = await start_bench(origin)
    wires = await many(connect, bench, get())
    await until(lambda: len(origin.visits) == MANY)
    gate.is_open.set()
    for wire in wires:
        await wire.response()
    (address,) = bench.shared.pool.addresses
    at_rest = len(address.idle)
    async with innocent():
        bench.reload(settings({"upstream": {"limits": {"connections": 7}}}, servers=[origin.url]))
        await until(lambda: not address.open)

    assert at_rest == MANY
