"""Limits on concurrency (`concurrency: N`): a request holds its slot as long as it is under way, and gives it back once,
however it ends. That none is held in the end every bench looks at (tests/net/bench.py)."""

from __future__ import annotations

import asyncio

import pytest

from proxy.limiter.memory import MemoryStore
from tests.net.bench import settings
from tests.support.messages import answer, get, post
from tests.support.patience import until

LIMIT = {"name": "at-once", "key": ["header:X-Auth-Token", "client-ip"], "concurrency": 1}
ONE = {"limits": [LIMIT]}
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
UPGRADE = get("Connection: Upgrade", "Upgrade: websocket")


class Held:
    """A service that answers when it is told to."""

    def __init__(self, said=b""):
        self.said = said or answer()
        self.may_answer = asyncio.Event()

    async def __call__(self, visit):
        while await visit.request():
            await self.may_answer.wait()
            await visit.send(self.said)


@pytest.fixture
async def bench(start_bench, start_origin):
    async def start(script=None, **changes):
        origin = await start_origin(script)
        return await start_bench(origin, **(ONE | changes)), origin

    return start


def in_flight(gate):
    return gate.store.held.by_limit["at-once"]


async def is_free(gate, connect):
    """Somebody else gets the slot."""
    await until(lambda: in_flight(gate) == 0, "the slot is back")
    wire = await connect(gate)
    await wire.send(get())
    assert (await wire.response()).status != 429


async def test_request_beyond_the_slots_is_refused_until_one_ends(bench, connect):
    held = Held()
    gate, _ = await bench(held)
    first, second = await connect(gate), await connect(gate)
    await first.send(get())
    await until(lambda: in_flight(gate) == 1)
    await second.send(get())
    refused = await second.response()
    assert (refused.status, refused.value("Retry-After")) == (429, b"1")
    assert refused.value("RateLimit-Policy") == b'"at-once";q=1;qu="concurrent-requests"'
    assert refused.value("RateLimit") == b'"at-once";r=0'
    assert refused.json()["violated-policies"] == ["at-once"]
    held.may_answer.set()
    assert (await first.response()).value("RateLimit") == b'"at-once";r=0'
    await second.send(get())

    assert (await second.response()).status == 200
    assert gate.ledger.outcomes == ["refused", "served", "served"]
    assert gate.ledger.decisions["at-once", "refused", "store"] == 1


async def test_answer_that_streams_holds_its_slot_to_the_end(bench, connect):
    go_on = asyncio.Event()

    async def streaming(visit):
        while await visit.request():
            await visit.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n")
            await go_on.wait()
            await visit.send(b"0\r\n\r\n")

    gate, _ = await bench(streaming)
    wire = await connect(gate)
    await wire.send(get())
    await wire.until(b"ab")
    assert in_flight(gate) == 1
    go_on.set()
    await is_free(gate, connect)


@pytest.mark.parametrize("who", ["client", "origin"])
async def test_tunnel_holds_its_slot_to_the_end(bench, connect, who):
    go_on = asyncio.Event()

    async def switching(visit):
        await visit.request()
        if visit.number == 0:
            await visit.send(SWITCH)
            await (go_on.wait() if who == "origin" else visit.left())
        else:
            await visit.send(answer())

    gate, _ = await bench(switching)
    wire = await connect(gate)
    await wire.send(UPGRADE)
    assert (await wire.response()).status == 101
    assert in_flight(gate) == 1
    go_on.set()
    if who == "origin":
        assert await wire.rest() == b""
    wire.close()
    await is_free(gate, connect)


# --- ways to end ---


SAID = {
    "redacted": answer(500, b"at db01"),
    "unchanged": answer(304, b"", length=False),
    "limited by the service": answer(429, b""),
    "cut short": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab",
    "no answer at all": b"",
    "not HTTP": b"nonsense\r\n\r\n",
}


@pytest.mark.parametrize("said", SAID)
async def test_slot_comes_back_whatever_the_service_says(bench, connect, said):
    is_first = True

    async def once(visit):
        nonlocal is_first
        while await visit.request():
            await visit.send(SAID[said] if is_first else answer())
            if is_first and said not in ("redacted", "unchanged", "limited by the service"):
                is_first = False
                return
            is_first = False

    gate, _ = await bench(once)
    wire = await connect(gate)
    await wire.send(get(method="POST"))
    await until(lambda: gate.ledger.recorded)
    await is_free(gate, connect)


@pytest.mark.parametrize("when", ["before the answer", "within its body", "while its own body is sent"])
async def test_client_that_leaves_gives_its_slot_back(bench, connect, when):
    said = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nab"

    async def slow(visit):
        while await visit.request():
            if visit.number == 0:
                if when == "within its body":
                    await visit.send(said)
                await visit.left()
                return
            await visit.send(answer())

    gate, _ = await bench(slow)
    wire = await connect(gate)
    await wire.send(post(b"x" * 100)[:-50] if when == "while its own body is sent" else get())
    if when == "within its body":
        await wire.until(b"ab")
    await until(lambda: in_flight(gate) == 1)
    await asyncio.sleep(0.01)
    wire.close()
    await is_free(gate, connect)
    assert gate.ledger.outcomes[0] == "abandoned"


async def test_service_that_is_not_there_and_one_that_is_late(start_bench, start_origin, connect):
    origin = await start_origin(Held())
    gate = await start_bench(origin, **ONE, upstream={"timeouts": {"response": "100ms"}})
    wire = await connect(gate)
    await wire.send(get())
    assert (await wire.response()).status == 504
    await until(lambda: in_flight(gate) == 0)
    await origin.stop()
    await wire.send(get())
    assert (await wire.response()).status == 502

    assert in_flight(gate) == 0


async def test_request_that_is_sent_again_holds_one_slot(bench, connect):
    """A kept connection breaks, another one serves."""

    async def flaky(visit):
        await visit.request()
        await visit.send(answer())
        if await visit.request() and visit.number:
            await visit.send(answer())

    gate, origin = await bench(flaky)
    wire = await connect(gate)
    for _ in range(2):
        await wire.send(get())
        assert (await wire.response()).status == 200

    assert len(origin.requests) == 3
    assert in_flight(gate) == 0


async def test_mistake_of_ours_gives_the_slot_back(bench, connect, monkeypatch):
    gate, _ = await bench()
    exchanges = []

    def broken(*_):
        exchanges.append(in_flight(gate))
        raise RuntimeError("a bug")

    monkeypatch.setattr(type(gate.shared.rules.heads), "request", broken)
    wire = await connect(gate)
    await wire.send(get())
    assert (await wire.response()).status == 500

    assert exchanges == [1]
    assert in_flight(gate) == 0


async def test_request_that_another_limit_refuses_holds_nothing(bench, connect):
    gate, _ = await bench(limits=[LIMIT, {"name": "few", "rate": "1/h", "key": ["client-ip"]}])
    wire = await connect(gate)
    statuses = []
    for _ in range(3):
        await wire.send(get())
        statuses.append((await wire.response()).status)

    assert statuses == [200, 429, 429]
    assert in_flight(gate) == 0


async def test_request_that_waits_for_a_token_holds_its_slot(bench, connect):
    """It is under way; whoever leaves meanwhile gives both back."""
    few = {"name": "few", "rate": "1/m", "key": ["client-ip"], "max_wait": "1m"}
    gate, _ = await bench(limits=[LIMIT | {"concurrency": 2}, few])
    first, waiting = await connect(gate), await connect(gate)
    await first.send(get())
    assert (await first.response()).status == 200
    await waiting.send(get())
    await until(lambda: gate.shared.room.waiting == {"few": 1})
    assert in_flight(gate) == 1
    waiting.close()
    await until(lambda: "abandoned" in gate.ledger.outcomes)

    assert in_flight(gate) == 0


async def test_client_that_left_before_the_store_answered_holds_nothing(start_bench, start_origin, connect):
    class LateStore(MemoryStore):
        late: tuple = ()

        def take(self, charges, waiter):
            self.late = (*self.late, (super().take(charges, waiter), waiter))

    store = LateStore()
    gate = await start_bench(await start_origin(), store=store, **ONE)
    wire = await connect(gate)
    await wire.send(get())
    await until(lambda: store.late)
    assert in_flight(gate) == 1
    wire.close()
    await until(lambda: "abandoned" in gate.ledger.outcomes)
    for decision, waiter in store.late:
        waiter.decided(decision)

    assert in_flight(gate) == 0


# --- reload ---


@pytest.mark.parametrize(
    "after",
    [{}, {"concurrency": 5}, {"name": "other"}, {"concurrency": None, "rate": "9/s"}, {"mode": "shadow"}],
)
async def test_slot_comes_back_after_a_reload(bench, connect, after):
    held = Held()
    gate, origin = await bench(held)
    wire = await connect(gate)
    await wire.send(get())
    await until(lambda: in_flight(gate) == 1)
    gate.reload(settings({"limits": [LIMIT | after]}, servers=[origin.url]))
    gate.reload(settings(ONE, servers=[origin.url]))
    other = await connect(gate)
    await other.send(get())
    assert (await other.response()).status == 429, "who is under way still counts"
    held.may_answer.set()
    assert (await wire.response()).status == 200
    await is_free(gate, connect)


async def test_more_slots_let_more_in_at_once_and_fewer_wait_for_ends(bench, connect):
    held = Held()
    gate, origin = await bench(held)
    wires = [await connect(gate) for _ in range(3)]
    await wires[0].send(get())
    await until(lambda: in_flight(gate) == 1)
    gate.reload(settings({"limits": [LIMIT | {"concurrency": 2}]}, servers=[origin.url]))
    await wires[1].send(get())
    await until(lambda: in_flight(gate) == 2)
    gate.reload(settings(ONE, servers=[origin.url]))
    await wires[2].send(get())
    refused = await wires[2].response()
    assert (refused.status, refused.value("Retry-After")) == (429, b"1")
    held.may_answer.set()
    for wire in wires[:2]:
        assert (await wire.response()).status == 200
