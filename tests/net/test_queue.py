"""More requests than servers may have: who waits, for how long, and who is next."""

from __future__ import annotations

import asyncio

import pytest

from tests.net.bench import limit, settings
from tests.net.serving import AT_ONCE, Gate, dead
from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.patience import until


async def waiting_clients(connect, bench, count):
    """So many clients, each with a request on its way, in this order."""
    wires = []
    for number in range(count):
        wire = await connect(bench)
        await wire.send(get(target=f"/{number}"))
        wires.append(wire)
        await until(lambda: bench.address.load + len(bench.shared.pool.waiting) == len(wires))
    return wires


def crowded(connections=1, queue=10, wait="5s"):
    return {"limits": {"connections": connections, "queue": queue, "wait": wait}}


async def test_requests_beyond_the_bound_wait_for_their_turn(start_bench, start_origin, connect):
    """In the order in which they came; the server never has more than it may."""
    gate = Gate()
    origin = await start_origin(gate)
    bench = await start_bench(origin, upstream=crowded(connections=2))
    wires = await waiting_clients(connect, bench, 6)
    assert (len(origin.visits), len(bench.shared.pool.waiting)) == (2, 4)

    gate.is_open.set()
    assert [(await wire.response()).status for wire in wires] == [200] * 6
    assert [request.target for request in origin.requests] == [b"/%d" % n for n in range(6)]
    assert len(origin.visits) == 2


async def is_loaded(bench, number):
    await until(lambda: sum(address.load for address in bench.addresses) == number)


async def test_nobody_waits_while_a_server_has_room(start_bench, start_origin, connect):
    """However many others are full; two of them are drawn at random, and both may be."""
    gate = Gate()
    origins = [await start_origin(gate) for _ in range(30)]
    bench = await start_bench(*origins, upstream=crowded(queue=0))
    wires = [await connect(bench) for _ in origins]
    for number, wire in enumerate(wires, 1):
        await wire.send(get())
        await is_loaded(bench, number)
    loads = [address.load for address in bench.addresses]
    gate.is_open.set()

    assert loads == [1] * len(origins)
    assert [(await wire.response()).status for wire in wires] == [200] * len(origins)


async def test_full_queue_refuses_at_once(start_bench, start_origin, connect):
    """503, when to come again, and the error object; the client's connection stays."""
    gate = Gate()
    bench = await start_bench(await start_origin(gate), upstream=crowded(queue=1))
    served, waiting = await waiting_clients(connect, bench, 2)
    wire = await connect(bench)
    for _ in range(2):
        await wire.send(get())
        response = await wire.response()
        assert (response.status, response.value("Retry-After")) == (503, b"1")
        assert response.json()["status"] == 503
    assert bench.ledger.reasons == ["queue_full"] * 2
    assert bench.ledger.upstream_failures == {("", "queue_full"): 2}

    gate.is_open.set()
    assert [(await wire.response()).status for wire in (served, waiting)] == [200, 200]


@pytest.mark.moved
@pytest.mark.parametrize(
    ("bound", "reason"), [({"queue": 0}, "queue_full"), ({"wait": "50ms"}, "queue_timeout")]
)
async def test_who_gets_no_turn_gets_its_tokens_back(bound, reason, start_bench, start_origin, connect):
    """The service has done nothing for it."""
    gate = Gate()
    bench = await start_bench(await start_origin(gate), upstream=crowded(**bound), **limit(burst=2))
    (served,) = await waiting_clients(connect, bench, 1)
    wire = await connect(bench)
    for _ in range(4):
        await wire.send(get())
        response = await wire.response()
        assert (response.status, response.value("Retry-After")) == (503, b"1")
        assert b"r=1" in response.value("RateLimit")
    assert bench.ledger.reasons == [reason] * 4

    gate.is_open.set()
    assert (await served.response()).status == 200


async def test_no_queue_at_all(start_bench, start_origin, connect):
    """What is beyond the bound is refused, what is below it is not."""
    gate = Gate()
    bench = await start_bench(await start_origin(gate), await start_origin(gate), upstream=crowded(queue=0))
    wires = [await connect(bench) for _ in range(3)]
    for wire in wires:
        await wire.send(get())
    assert (await wires[2].response()).status == 503
    gate.is_open.set()
    assert [(await wire.response()).status for wire in wires[:2]] == [200, 200]


@pytest.mark.moved
async def test_wait_has_an_end(start_bench, start_origin, connect):
    gate = Gate()
    bench = await start_bench(await start_origin(gate), upstream=crowded(wait="100ms"))
    served, waiting = await waiting_clients(connect, bench, 2)
    response = await waiting.response()
    assert (response.status, response.value("Retry-After")) == (503, b"1")
    assert bench.ledger.reasons == ["queue_timeout"]
    gate.is_open.set()
    assert (await served.response()).status == 200


async def test_client_that_leaves_gives_up_its_place(start_bench, start_origin, connect):
    """Those behind it move up."""
    gate = Gate()
    bench = await start_bench(await start_origin(gate), upstream=crowded(queue=2))
    served, leaving, waiting = await waiting_clients(connect, bench, 3)
    leaving.close()
    await until(lambda: len(bench.shared.pool.waiting) == 1)
    late = await connect(bench)
    await late.send(get())
    gate.is_open.set()
    assert [(await wire.response()).status for wire in (served, waiting, late)] == [200] * 3


@pytest.mark.parametrize("script", [answering(answer()), None], ids=["stays", "closed at once"])
async def test_connection_that_is_being_opened_counts_once(start_bench, start_origin, connect, script):
    """In every tick: a slot that looked taken would refuse others, or let them wait for nothing."""

    async def close(visit):
        visit.close()

    bench = await start_bench(await start_origin(script or close))
    loads = set()
    wire = await connect(bench)
    await wire.send(get())
    while not bench.exchanges:
        loads.add(bench.address.load)
        await asyncio.sleep(0)
    assert loads == {0, 1}


async def test_server_that_is_well_again_takes_those_that_wait(start_bench, start_origin, connect):
    """At once: nothing else need happen."""
    gate = Gate()
    bench = await start_bench(
        await start_origin(gate), await start_origin(gate), upstream=crowded() | AT_ONCE
    )
    pool = bench.shared.pool
    first, other = pool.addresses
    for _ in range(3):
        pool.checked(first, "status 500")
    wires = [await connect(bench) for _ in range(2)]
    for wire in wires:
        await wire.send(get())
    await until(lambda: other.load == 1 and len(pool.waiting) == 1)
    for _ in range(2):
        pool.checked(first, "")
    await until(lambda: first.load == 1 and not pool.waiting, within=2)
    gate.is_open.set()
    assert [(await wire.response()).status for wire in wires] == [200, 200]


@pytest.mark.moved
async def test_server_that_returns_takes_those_that_wait(start_bench, start_origin, connect):
    """The same when its ejection ends."""
    gate = Gate()
    changes = crowded() | AT_ONCE | {"ejection": {"failures": 1, "first": "200ms"}}
    bench = await start_bench(await start_origin(gate), await start_origin(gate), upstream=changes)
    pool = bench.shared.pool
    first, other = pool.addresses
    first.failed()
    wires = [await connect(bench) for _ in range(2)]
    for wire in wires:
        await wire.send(get())
    await until(lambda: (first.load, other.load) == (1, 1) and not pool.waiting, within=2)
    gate.is_open.set()
    assert [(await wire.response()).status for wire in wires] == [200, 200]


async def test_client_that_sends_ahead_overtakes_nobody(start_bench, start_origin, connect):
    """Its next request is there before the one that waits can be served."""
    gate = Gate()
    origin = await start_origin(gate)
    bench = await start_bench(origin, upstream=crowded())
    hasty, waiting = await connect(bench), await connect(bench)
    await hasty.send(get(target="/1") + get(target="/3"))
    await until(lambda: origin.requests)
    await waiting.send(get(target="/2"))
    await until(lambda: bench.shared.pool.waiting)
    gate.is_open.set()

    assert [(await wire.response()).status for wire in (hasty, waiting, hasty)] == [200] * 3
    assert [request.target for request in origin.requests] == [b"/1", b"/2", b"/3"]


async def test_connection_that_cannot_be_had_makes_room(start_bench, connect):
    """Whoever waits is not forgotten when the one before fails."""
    bench = await start_bench(dead(), upstream=crowded())
    wires = [await connect(bench) for _ in range(5)]
    for wire in wires:
        await wire.send(get())
    assert [(await wire.response()).status for wire in wires] == [502] * 5


async def test_broken_answer_makes_room(start_bench, start_origin, connect):
    """The next one gets a connection of its own."""
    gate = asyncio.Event()

    async def script(visit):
        await visit.request()
        await gate.wait()

    bench = await start_bench(await start_origin(script), upstream=crowded())
    wires = await waiting_clients(connect, bench, 3)
    gate.set()
    assert [(await wire.response()).status for wire in wires] == [502] * 3


async def test_those_that_wait_move_to_new_settings(start_bench, start_origin, connect):
    """A reload with more room serves them at once."""
    gate = Gate()
    origin = await start_origin(gate)
    bench = await start_bench(origin, upstream=crowded())
    served, waiting = await waiting_clients(connect, bench, 2)
    bench.reload(settings({"upstream": crowded(connections=5)}, servers=[origin.url]))
    await until(lambda: len(origin.requests) == 2)
    gate.is_open.set()
    assert [(await wire.response()).status for wire in (served, waiting)] == [200, 200]


async def test_full_server_leaves_the_work_to_one_with_room(start_bench, start_origin, connect):
    """Whatever was drawn."""
    gate = Gate()
    origins = [await start_origin(gate) for _ in range(3)]
    bench = await start_bench(*origins, upstream=crowded(queue=0))
    wires = [await connect(bench) for _ in range(3)]
    for wire in wires:
        await wire.send(get())
    await until(lambda: [len(origin.requests) for origin in origins] == [1, 1, 1])
    gate.is_open.set()
    assert [(await wire.response()).status for wire in wires] == [200] * 3
