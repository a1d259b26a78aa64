"""Requests that wait for their token (`max_wait`): their order, their end, and what comes back of who leaves."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest

from proxy.limiter.memory import MemoryStore
from tests.net.bench import settings
from tests.support.messages import answer, get
from tests.support.patience import until

pytestmark = pytest.mark.moved

LIMIT = {"name": "few", "key": ["header:X-Auth-Token", "client-ip"], "rate": "1/s", "burst": 1}


def patient(seconds=3, **more):
    return {"limits": [LIMIT | {"max_wait": f"{seconds}s"} | more]}


@pytest.fixture
async def bench(start_bench, start_origin):
    """On the loop's own clock, which tests move."""

    async def start(changes, script=None):
        loop = asyncio.get_running_loop()
        store = MemoryStore(lambda: int(loop.time() * 1e6))
        origin = await start_origin(*([script] if script else []))
        return await start_bench(origin, store=store, **changes), origin

    return start


async def ask(connect, bench, count, *headers):
    """One request on each of so many connections, in their order."""
    wires = []
    for _ in range(count):
        wire = await connect(bench)
        await wire.send(get(*(headers or ("X-Auth-Token: a",))))
        await asyncio.sleep(0.001)
        wires.append(wire)
    return wires


async def test_requests_pass_at_the_rate_in_order_of_arrival_and_the_rest_is_refused(bench, connect):
    gate, _ = await bench(patient())
    loop = asyncio.get_running_loop()
    began = loop.time()
    wires = await ask(connect, gate, 6)
    assert gate.shared.room.waiting == {"few": 3}
    answers = {}

    async def answered(number, wire):
        response = await wire.response()
        answers[number] = (response.status, round(loop.time() - began, 1))

    await asyncio.gather(*(answered(number, wire) for number, wire in enumerate(wires)))

    assert [answers[number] for number in range(6)] == [
        *((200, 0.0), (200, 1.0), (200, 2.0), (200, 3.0)),
        *((429, 0.0), (429, 0.0)),
    ]
    assert gate.ledger.outcomes.count("served") == 4
    assert [round(exchange.waited, 1) for exchange in gate.ledger.recorded] == [0, 0, 0, 1.0, 2.0, 3.0]
    assert gate.shared.room.waiting == {"few": 0}
    assert gate.shared.room.waits == {"few": 3}
    assert gate.shared.room.seconds["few"] == pytest.approx(6, abs=0.1)


async def test_client_that_leaves_gives_its_turn_to_those_behind(bench, connect):
    """They move up, who comes next waits behind them, and no two pass at once."""
    gate, _ = await bench(patient())
    loop = asyncio.get_running_loop()
    first, leaver, second, third = await ask(connect, gate, 4)
    assert (await first.response()).status == 200
    began = loop.time()
    leaver.close()
    await until(lambda: gate.shared.room.waiting == {"few": 2})
    (last, refused) = await ask(connect, gate, 2)
    assert (await refused.response()).status == 429
    seconds = []
    for wire in (second, third, last):
        assert (await wire.response()).status == 200
        seconds.append(round(loop.time() - began, 1))

    assert seconds == [1.0, 2.0, 3.0]
    assert gate.ledger.outcomes[1] == "abandoned"


async def test_crowd_that_leaves_and_comes_again_passes_no_faster(bench, connect):
    """However often early turns are given up and late ones kept: each turn is a token after the one before."""
    turns = []

    async def noting(visit):
        while await visit.request():
            turns.append(asyncio.get_running_loop().time())
            await visit.send(answer())

    gate, _ = await bench(patient(10), noting)
    for _ in range(8):
        wires = await ask(connect, gate, 10 - len(gate.shared.room))
        for wire in wires[:-1]:
            wire.close()
        await asyncio.sleep(0.05)
    await until(lambda: not len(gate.shared.room), within=60)
    await until(lambda: all(exchange.outcome for exchange in gate.ledger.recorded))

    gaps = [after - before for before, after in pairwise(turns)]
    assert len(turns) >= 8
    assert min(gaps) > 0.99


async def test_what_a_waited_answer_tells(bench, connect):
    gate, _ = await bench(patient())
    first, second = await ask(connect, gate, 2)
    await first.response()
    told = (await second.response()).value("RateLimit")

    assert told == b'"few";r=0;t=1'


async def test_longest_wait_of_several_limits_counts(bench, connect):
    gate, _ = await bench(
        {"limits": [LIMIT | {"max_wait": "5s"}, LIMIT | {"name": "slow", "rate": "30/m", "max_wait": "3s"}]}
    )
    loop = asyncio.get_running_loop()
    began = loop.time()
    wires = await ask(connect, gate, 3)
    assert (await wires[0].response()).status == 200
    assert (await wires[2].response()).status == 429  # it would have waited 4 s for the second
    assert (await wires[1].response()).status == 200

    assert loop.time() - began == pytest.approx(2, abs=0.1)
    assert gate.shared.room.waits == {"few": 1, "slow": 1}


async def test_shadow_limit_makes_nobody_wait(bench, connect):
    gate, _ = await bench(patient(1, mode="shadow"))
    began = asyncio.get_running_loop().time()
    for wire in await ask(connect, gate, 4):
        assert (await wire.response()).status == 200

    assert asyncio.get_running_loop().time() - began < 0.5
    assert gate.ledger.decisions["few", "shadow_refused", "store"] == 2


async def test_full_room_refuses_and_takes_nothing(bench, connect):
    gate, _ = await bench(patient(10))
    gate.shared.room._most = 1
    first, second, third = await ask(connect, gate, 3)
    assert (await first.response()).status == 200
    response = await third.response()
    assert (response.status, response.value("Retry-After")) == (429, b"1")
    began = asyncio.get_running_loop().time()
    assert (await second.response()).status == 200
    (fourth,) = await ask(connect, gate, 1)
    assert (await fourth.response()).status == 200

    assert asyncio.get_running_loop().time() - began == pytest.approx(2, abs=0.2)


async def test_end_of_the_process_tells_those_whose_turn_comes_too_late(bench, connect):
    """503 at once, with their tokens given back for other replicas; the others are served."""
    gate, _ = await bench(patient(10))
    first, early, late = await ask(connect, gate, 3)
    assert (await first.response()).status == 200
    gate.shared.is_draining = True
    gate.shared.room.end_at(gate.shared.clock() + 1.5)
    response = await late.response()
    assert (response.status, response.value("Retry-After")) == (503, b"1")
    (newcomer,) = await ask(connect, gate, 1)

    assert (await newcomer.response()).status == 503
    assert (await early.response()).status == 200
    assert gate.ledger.reasons == [None, "draining", "draining", None]


@pytest.mark.parametrize(
    "after", [{"max_wait": "0s"}, {"rate": "5/s"}, {"name": "other"}, {"mode": "shadow"}]
)
async def test_reload_leaves_those_who_wait_their_turns(bench, connect, after):
    gate, origin = await bench(patient())
    loop = asyncio.get_running_loop()
    wires = await ask(connect, gate, 3)
    began = loop.time()
    assert (await wires[0].response()).status == 200
    gate.reload(settings(patient(**after), servers=[origin.url]))
    assert (await wires[1].response()).status == 200
    assert loop.time() - began == pytest.approx(1, abs=0.1)
    for wire in wires:
        wire.close()

    await gate.is_empty()
    assert not len(gate.shared.room)


async def test_client_that_left_before_the_store_answered_reserves_nothing(
    start_bench, start_origin, connect
):
    class LateStore(MemoryStore):
        late: tuple = ()

        def take(self, charges, waiter):
            decision = super().take(charges, waiter)
            if not decision.waits:
                return decision
            self.late = (*self.late, (decision, waiter))
            return None

    loop = asyncio.get_running_loop()
    store = LateStore(lambda: int(loop.time() * 1e6))
    gate = await start_bench(await start_origin(), store=store, **patient(1))
    first, leaver = await ask(connect, gate, 2)
    assert (await first.response()).status == 200
    leaver.close()
    await until(lambda: "abandoned" in gate.ledger.outcomes)
    for decision, waiter in store.late:
        waiter.decided(decision)
    store.late = ()
    (last,) = await ask(connect, gate, 1)
    await until(lambda: store.late)
    for decision, waiter in store.late:
        waiter.decided(decision)

    assert (await last.response()).status == 200
