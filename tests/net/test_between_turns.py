"""What is much is done in turns: what changes in between is seen by the turn that comes then."""

from __future__ import annotations

import asyncio

import pytest

from proxy.background import AT_ONCE
from proxy.net.pool import KNOCK_SECONDS
from tests.net.bench import settings
from tests.net.serving import Gate, states
from tests.support.messages import get
from tests.support.patience import until
from tests.support.ports import free_port

pytestmark = pytest.mark.moved


async def test_client_that_ends_its_head_meanwhile_is_not_cut_off(start_bench, start_origin, connect, caplog):
    """A hundred take room without coming to an end, and most have to go."""
    origin = await start_origin()
    bench = await start_bench(origin)
    half = get("X: " + "y" * 4000)[:-2]
    wires = [await connect(bench) for _ in range(110)]
    for wire in wires:
        await wire.send(half)
    last = await connect(bench)
    await until(lambda: len(bench.frontend.slow) == 110 and len(bench.frontend.connections) == 111)
    bench.reload(settings({"downstream": {"limits": {"buffers": "64KiB"}}}, servers=[origin.url]))
    await last.send(half)
    await asyncio.sleep(0)  # in the next tick the first of them have to go ...
    await wires[AT_ONCE + 10].send(b"\r\n")  # ... and this is read, of one who is to go with the others

    assert (await wires[AT_ONCE + 10].response()).status == 200
    (line,) = [record.fields for record in caplog.records if record.getMessage() == "crowded_out"]
    assert line["connections"] > AT_ONCE + 10
    assert bench.frontend.crowded_out["unfinished_head"] == line["connections"] - 1
    assert bench.ledger.outcomes.count("served") == 1


async def test_connection_at_rest_that_a_request_takes_meanwhile_serves_it(
    start_bench, start_origin, connect
):
    """A reload lets go of its server; the request has searched since before, and its first choice is slow."""
    gate, is_to_open = Gate(), asyncio.Event()
    bench = await start_bench(await start_origin(gate), await start_origin(gate))
    pool = bench.shared.pool
    slow, quick = pool.addresses
    wires = [await connect(bench) for _ in range(2 * AT_ONCE + 20)]
    for wire in wires:
        await wire.send(get())
    await until(lambda: slow.load + quick.load == len(wires))
    gate.is_open.set()
    assert {(await wire.response()).status for wire in wires} == {200}
    for upstream in [*slow.idle]:
        upstream.close()
    await until(lambda: not slow.open)
    reach = slow.reach

    async def open_late(upstream):
        await is_to_open.wait()
        await reach(upstream)

    slow.reach = open_late
    for wire in wires[:40]:
        await wire.send(get())
    await until(lambda: len(bench.exchanges) + len(pool.searches) == len(wires) + 40)
    assert pool.searches
    assert len(quick.idle) > AT_ONCE
    other = await start_origin()
    bench.reload(settings(servers=[other.url]))
    assert len(quick.idle) > 0
    next(iter(pool.searches.values()))._race()

    assert {(await wire.response()).status for wire in wires[:40]} == {200}
    assert not other.visits
    is_to_open.set()
    await until(lambda: not any(address.open or address.connecting for address in (slow, quick)))


async def test_server_that_a_reload_drops_meanwhile_is_not_knocked_at(start_bench, start_origin, connect):
    """All are out, since they could not be reached."""
    count = 2 * (AT_ONCE + 6)
    servers = [f"http://127.0.0.1:{free_port()}" for _ in range(count)]
    bench = await start_bench(*servers, upstream={"ejection": {"failures": 1}})
    wire = await connect(bench)
    while states(bench).count("ejected") < count // 2:  # no more are ever left out
        await wire.send(get())
        assert (await wire.response()).status == 502
    pool, knocked = bench.shared.pool, []

    async def note(address, _):
        knocked.append(address)
        raise ConnectionRefusedError

    pool.dial = note
    bench.sweeper.sweep(bench.sweeper.now + KNOCK_SECONDS)
    bench.reload(settings(servers=[(await start_origin()).url]))
    await asyncio.sleep(0.01)

    assert len(knocked) == len(set(knocked)) == AT_ONCE
