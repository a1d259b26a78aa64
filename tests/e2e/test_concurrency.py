"""Limits on concurrency from outside: real sockets, a real Redis, several replicas and workers, a kill -9."""

from __future__ import annotations

import asyncio
import json
import signal
from time import monotonic

import pytest

from tests.support.messages import answer, get
from tests.support.patience import until

pytestmark = pytest.mark.measured

LIMIT = {"name": "at-once", "key": ["header:X-Auth-Token"], "concurrency": 4}
ASK = get("X-Auth-Token: a")
TOKEN = "s3cret-t0ken"
BACK_SECONDS = 15.0  # after which the slots of who died are others'
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


class Gate:
    """A service that answers once it is open."""

    def __init__(self):
        self.is_open = asyncio.Event()
        self.inside = self.most = 0

    async def __call__(self, visit):
        while (request := await visit.request()) is not None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            if request.target == b"/tunnel":
                await visit.send(SWITCH)
                await visit.left(within=60)
            else:
                await asyncio.wait({asyncio.create_task(self.is_open.wait())}, timeout=60)
                await visit.send(answer())
            self.inside -= 1


def shared(redis, **limit):
    return {"limits": [LIMIT | limit], "store": {"url": redis.url, "timeout": "1s"}}


async def sent(connect, weir, count, data=ASK):
    wires = [await connect(weir) for _ in range(count)]
    for wire in wires:
        await wire.send(data)
    return wires


def in_flight(*weirs):
    return sum(weir.metrics().total("weir_limit_in_flight", limit="at-once") for weir in weirs)


async def refused(wires):
    """Those that are answered at once."""
    answered = []
    for wire in wires:
        try:
            answered.append((await wire.response(within=1.0)).status)
        except (TimeoutError, AssertionError):
            continue
    return answered


async def test_two_replicas_share_the_slots(start_weir, start_origin, connect, redis):
    """Exactly four are with the service at any moment, whoever of both let them in; and all get through in turn."""
    gate = Gate()
    origin = await start_origin(gate)
    weirs = [start_weir(shared(redis), upstream=origin) for _ in range(2)]
    wires = [wire for weir in weirs for wire in await sent(connect, weir, 5)]
    await until(lambda: gate.inside == 4)
    await until(lambda: sum(len(weir.access_lines()) for weir in weirs) == 6)
    assert in_flight(*weirs) == 4
    gate.is_open.set()
    statuses = [(await wire.response()).status for wire in wires]

    assert (statuses.count(200), statuses.count(429)) == (4, 6)
    await until(lambda: in_flight(*weirs) == 0)

    async def busy(weir):
        wire = await connect(weir)
        found = []
        for _ in range(100):
            await wire.send(ASK)
            found.append((await wire.response()).status)
        return found

    found = sum(await asyncio.gather(*(busy(weirs[number % 2]) for number in range(10))), [])
    assert set(found) <= {200, 429}
    assert gate.most == 4
    await until(lambda: held_in(redis) == 0)


def held_in(redis):
    client = redis.client()
    return sum(client.zcard(key) for key in client.keys("*/slots:*"))


@pytest.mark.waits("slots of the dead are back after 12 s")
async def test_slots_of_a_killed_worker_are_back_within_15_seconds(start_weir, start_origin, connect, redis):
    """And not before those of the living end."""
    gate = Gate()
    origin = await start_origin(gate)
    weir, other = (start_weir(shared(redis), upstream=origin) for _ in range(2))
    await sent(connect, weir, 3)
    await until(lambda: gate.inside == 3)
    (living,) = await sent(connect, other, 1)
    await until(lambda: gate.inside == 4)
    weir.signal(signal.SIGKILL)
    killed = monotonic()
    weir.wait()
    wire = await connect(other)
    await wire.send(ASK)
    assert (await wire.response()).status == 429
    await until(lambda: held_in(redis) == 4 and monotonic() - killed < BACK_SECONDS)
    gate.is_open.set()
    assert (await living.response()).status == 200
    gate.is_open.clear()

    async def get_in():
        wires = await sent(connect, other, 4)
        statuses = await refused(wires)
        gate.is_open.set()
        for wire in wires:
            wire.close()
        return not statuses

    while not await get_in():
        assert monotonic() - killed < BACK_SECONDS, "the slots are not back"
        gate.is_open.clear()
        await asyncio.sleep(0.3)


async def test_client_that_leaves_and_a_tunnel(start_weir, start_origin, connect, redis):
    gate = Gate()
    weir = start_weir(shared(redis, concurrency=2), upstream=await start_origin(gate))
    upgrade = get("X-Auth-Token: a", "Connection: Upgrade", "Upgrade: websocket", target="/tunnel")
    (tunnel,) = await sent(connect, weir, 1, upgrade)
    assert (await tunnel.response()).status == 101
    (leaver,) = await sent(connect, weir, 1)
    await until(lambda: in_flight(weir) == 2)
    await asyncio.sleep(0)
    (third,) = await sent(connect, weir, 1)
    assert (await third.response()).status == 429
    leaver.close()
    await until(lambda: in_flight(weir) == 1)
    tunnel.close()
    await until(lambda: in_flight(weir) == 0)
    await until(lambda: held_in(redis) == 0)
    gate.is_open.set()
    await third.send(ASK)

    assert (await third.response()).status == 200


async def test_slots_outlive_a_redis_that_is_killed(start_weir, start_origin, connect, redis):
    """Its share each without it; back, it knows who is under way."""
    gate = Gate()
    origin = await start_origin(gate)
    weirs = [start_weir(shared(redis), upstream=origin) for _ in range(2)]
    await until(lambda: all(weir.admin("/status").json()["store"]["replicas"] == 2 for weir in weirs))
    held = await sent(connect, weirs[0], 1)
    await until(lambda: gate.inside == 1)
    redis.kill()
    await until(lambda: not any(weir.metrics().total("weir_store_up") for weir in weirs))
    held += await sent(connect, weirs[0], 2) + await sent(connect, weirs[1], 3)
    await until(lambda: gate.inside == 4)
    await until(lambda: sum(len(weir.access_lines()) for weir in weirs) == 2)
    redis.start()
    await until(lambda: all(weir.metrics().total("weir_store_up") for weir in weirs))
    await until(lambda: held_in(redis) == 4)
    (late,) = await sent(connect, weirs[1], 1)
    assert (await late.response()).status == 429
    gate.is_open.set()
    statuses = sorted([(await wire.response()).status for wire in held])

    assert statuses == [200] * 4 + [429] * 2
    assert gate.most == 4
    await until(lambda: held_in(redis) == 0)
    for line in [line for weir in weirs for line in weir.access_lines() if line["status"] == 429]:
        assert line["limits"] == {"refused": ["at-once"]}
        assert line["via"] in ("local", "store", "denial_cache")


async def test_end_of_a_replica_gives_its_slots_back_at_once(start_weir, start_origin, connect, redis):
    """Also of requests that were cut off at the end of the drain."""
    gate = Gate()
    origin = await start_origin(gate)
    leaves = start_weir(shared(redis) | {"drain": {"delay": "0s", "timeout": "500ms"}}, upstream=origin)
    stays = start_weir(shared(redis), upstream=origin)
    await sent(connect, leaves, 4)
    await until(lambda: gate.inside == 4)
    leaves.signal(signal.SIGTERM)
    leaves.wait()
    assert held_in(redis) == 0
    gate.is_open.set()
    (wire,) = await sent(connect, stays, 1)

    assert (await wire.response()).status == 200


async def test_operator_looks_and_blocks(start_weir, start_origin, connect, redis):
    """What cannot be done says so."""
    gate = Gate()
    settings = shared(redis) | {"admin": {"token": TOKEN}}
    weir = start_weir(settings, upstream=await start_origin(gate))
    await sent(connect, weir, 3)
    await until(lambda: gate.inside == 3)

    def apply(verb, **body):
        text = json.dumps({"header:X-Auth-Token": "a"} | body)
        own = {"Authorization": f"Bearer {TOKEN}"}
        found = weir.admin(f"/limits/at-once/{verb}", "POST", own, body=text)
        return found.status, found.json()

    status, told = apply("look")
    assert (status, told["concurrency"], told["in_flight"], told["until"]) == (200, 4, 3, None)
    status, told = apply("grant", rate="60/s")
    assert (status, "concurrency" in told["detail"]) == (400, True)
    assert apply("reset")[0] == 400
    assert apply("block", **{"for": "1h"})[0] == 200
    assert apply("look")[1]["concurrency"] == 0
    (wire,) = await sent(connect, weir, 1)
    assert (await wire.response()).status == 429
    assert apply("release")[0] == 200
    gate.is_open.set()
    await wire.send(ASK)
    assert (await wire.response()).status == 200
