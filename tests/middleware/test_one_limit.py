"""A forwarding Weir, a deciding Weir and a service with the middleware on one Redis: one limit over all three."""

from __future__ import annotations

import asyncio
import time

import pytest

from proxy.middleware import Limiter
from proxy.middleware.passage import Waiting
from tests.middleware.test_passage import asked
from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.redis_servers import Redis, running

pytestmark = pytest.mark.real

BURST = 30
LIMIT = {"name": "per-user", "key": ["header:X-Auth-Token", "client-ip"], "rate": f"{BURST}/h"}


async def statuses(connect, port, count):
    wire = await connect(port)
    found = []
    for _ in range(count):
        await wire.send(get("X-Auth-Token: alice"))
        found.append((await wire.response()).status)
    return found


async def of_service(limiter, count):
    return [(await asked(limiter, None, (b"x-auth-token", b"alice")))[0]["status"] for _ in range(count)]


async def test_buckets_are_shared_to_the_token(new_weir, start_origin, connect, redis):
    """Whoever asks, and whoever refuses."""
    origin = await start_origin(answering(answer()))
    shared = {"limits": [LIMIT], "store": {"url": redis.url, "timeout": "2s"}}
    forwarding, deciding = new_weir(shared, upstream=origin), new_weir(shared)
    listen = [{"address": f"127.0.0.1:{deciding.port}", "mode": "decide"}]
    deciding.write_config({"listen": listen, "forwarded": {"trust": ["127.0.0.1"]}})
    forwarding.start()
    deciding.start()
    limiter = Limiter([LIMIT], shared["store"])
    found = []
    for _ in range(4):  # the first of which takes half of what there is
        found += await asyncio.gather(
            statuses(connect, forwarding.port, 5),
            statuses(connect, deciding.port, 5),
            of_service(limiter, 5),
        )
    last = await of_service(limiter, 1)
    await limiter.close()

    assert sum(each.count(200) for each in found) == BURST
    assert sum(each.count(429) for each in found) == 60 - BURST
    assert found[:3] == [[200] * 5] * 3
    assert last == [429]


async def test_cancellation_in_the_moment_of_the_decision_leaves_nothing_in_redis(redis, monkeypatch):
    """As a deadline or a client that leaves may have it."""
    limits = [{"name": "at-once", "key": ["client-ip"], "concurrency": 1}, LIMIT | {"rate": "1/h"}]
    limiter, other = (Limiter(limits, {"url": redis.url, "timeout": "2s"}) for _ in range(2))
    await limiter.start()
    decided = Waiting.decided

    def decided_and_cancelled(waiter, decision):
        decided(waiter, decision)
        asking.cancel()

    with monkeypatch.context() as patch:
        patch.setattr(Waiting, "decided", decided_and_cancelled)
        asking = asyncio.create_task(of_service(limiter, 1))
        with pytest.raises(asyncio.CancelledError):
            await asking
    assert not limiter.store.held.slots
    await limiter.close()
    found = await of_service(other, 2)
    await other.close()

    assert found == [200, 429]


async def test_redis_that_dies_costs_the_service_nothing(redis):
    """Neither time nor an error: limits decide here, and give no second burst."""
    limiter = Limiter([LIMIT], {"url": redis.url, "timeout": "50ms"})
    before = await of_service(limiter, 20)
    redis.stop()
    began = time.monotonic()
    after = await of_service(limiter, 20)
    seconds = time.monotonic() - began
    is_up = limiter.is_up
    await limiter.close()

    assert before == [200] * 20
    assert after == [200] * 10 + [429] * 10
    assert seconds < 2
    assert not is_up


async def test_redis_that_stands_still_holds_the_first_request_as_long_as_a_decision(tmp_path):
    """Nobody has started the limiter before it."""
    still = Redis(tmp_path)
    with running(still):
        still.freeze()
        limiter = Limiter([LIMIT], {"url": still.url, "timeout": "50ms"})
        began = time.monotonic()
        statuses = await of_service(limiter, 1)
        seconds = time.monotonic() - began
        await limiter.close()
        still.thaw()

    assert statuses == [200]
    assert seconds < 0.5
