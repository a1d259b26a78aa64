"""All clients' connections: how many, which are at rest, and how they end."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.wire import CLEAN


async def silent(visit):
    await visit.request_head()
    await visit.left()


async def test_one_connection_too_many_is_a_503(start_bench, start_origin, connect):
    """Said before it asks, and closed; the others live on, and a place that becomes free is given again."""
    bench = await start_bench(await start_origin(), downstream={"limits": {"connections": 2}})
    first, second = await connect(bench), await connect(bench)
    for wire in (first, second):
        await wire.send(get())
        await wire.response()
    third = await connect(bench)
    response = await third.response()
    assert (response.status, response.value("Connection")) == (503, b"close")
    assert (await third.rest(), third.end) == (b"", CLEAN)
    third.close()
    first.close()
    await until(lambda: len(bench.frontend.connections) == 1)
    fourth = await connect(bench)
    for wire in (second, fourth):
        await wire.send(get())
        assert (await wire.response()).status == 200


async def test_counts_tell_the_active_from_the_idle(start_bench, start_origin, connect):
    """Half a head is no rest."""
    bench = await start_bench(await start_origin(silent))
    idle, half, active = await connect(bench), await connect(bench), await connect(bench)
    await half.send(b"GET")
    await active.send(get())
    await until(lambda: bench.frontend.counts() == {"active": 2, "idle": 1})
    for wire in (idle, half, active):
        wire.close()
    await until(lambda: bench.frontend.counts() == {"active": 0, "idle": 0})


async def test_answer_that_was_just_written_survives_the_end_of_the_idle(start_bench, start_origin, connect):
    """It may still wait for the end of the tick."""
    bench = await start_bench(await start_origin(answering(answer(200, b"whole"))))
    wire = await connect(bench)
    await wire.send(get())
    while not any(connection.is_idle and connection._held for connection in bench.frontend.connections):
        await asyncio.sleep(0)
    for connection in list(bench.frontend.connections):
        connection.rest_no_more()

    assert (await wire.response()).body == b"whole"
    assert (await wire.rest(), wire.end) == (b"", CLEAN)


async def test_shutdown_ends_what_does_not_end_by_itself(start_bench, start_origin, connect):
    """After its time; and everything is recorded by then."""
    bench = await start_bench(await start_origin(silent))
    wires = [await connect(bench) for _ in range(20)]
    for wire in wires:
        await wire.send(get())
    await until(lambda: bench.address.load == 20)
    begin = asyncio.get_running_loop().time()
    await bench.frontend.shutdown(0.2)
    took = asyncio.get_running_loop().time() - begin

    assert bench.ledger.outcomes == ["abandoned"] * 20
    assert not bench.frontend.connections
    assert 0.19 < took < 2.0


@pytest.mark.real
@pytest.mark.parametrize("why", ["drain", "idle timeout"])
async def test_request_that_lies_in_the_kernel_is_served(start_bench, start_origin, connect, why):
    """It came before the end of the rest, though nobody has read it yet."""
    bench = await start_bench(await start_origin())
    wire = await connect(bench)
    await until(lambda: bench.frontend.connections)
    (connection,) = bench.frontend.connections
    wire._channel._socket.send(get())  # the loop has no turn in between
    if why == "drain":
        connection.rest_no_more()
    else:
        bench.sweeper.sweep(connection.deadline)

    assert (await wire.response()).status == 200


async def test_connections_at_rest_end_one_after_the_other(start_bench, connect):
    """All at once would come back to the other replicas at once."""
    bench = await start_bench()
    wires = [await connect(bench) for _ in range(10)]
    await until(lambda: len(bench.frontend.connections) == 10)
    bench.frontend.pre_shutdown()
    ending = asyncio.create_task(bench.frontend.shutdown(2.0))
    seen = set()
    while bench.frontend.connections:
        seen.add(len(bench.frontend.connections))
        await asyncio.sleep(0.01)
    await ending

    assert len(seen) > 5
    assert [(await wire.rest(), wire.end) for wire in wires] == [(b"", CLEAN)] * 10


async def test_shutdown_of_an_empty_hall_takes_no_time(start_bench):
    """Nobody is waited for."""
    bench = await start_bench()
    await asyncio.wait_for(bench.frontend.shutdown(10.0), 0.5)


# --- connections of one address ---


@pytest.mark.parametrize(("trust", "statuses"), [([], [405, 405, 503]), (["127.0.0.0/8"], [405, 405, 405])])
async def test_connections_of_one_address_are_bounded(start_bench, connect, trust, statuses):
    """The one too many is told so and closed, unless a trusted proxy opened it; one that left makes room."""
    bench = await start_bench(
        contract={"allow_methods": ["POST"]},
        downstream={"limits": {"connections_per_address": 2}},
        forwarded={"trust": trust},
    )
    wires = []
    for _ in statuses:
        wires.append(await connect(bench))
        await wires[-1].send(get())
    found = [(await wire.response()).status for wire in wires]
    for wire in wires:
        wire.close()
    await bench.is_empty()
    again = await connect(bench)
    await again.send(get())

    assert found == statuses
    assert (await again.response()).status == 405
    assert list(bench.frontend._from.values()) == [1]
