"""What is said on a connection, on a real Redis: by whom a server counts replicas, and whose notes are heeded."""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from proxy.config.addresses import parse_store
from proxy.limiter.dialler import Dialler
from proxy.limiter.link import UP
from proxy.limiter.redis import RedisStore
from tests.limiter.asking import ask, bucket, charge, limits_of, store_at
from tests.support.patience import until
from tests.support.ports import free_port

if TYPE_CHECKING:
    from tests.support.redis_servers import Redis

LIMITS = limits_of({"name": "per-user", "rate": "9/h"})
(LIMIT,) = LIMITS


async def test_server_that_holds_nothing_of_ours_counts_nobody(shared_redis: Redis) -> None:
    """ASK has named it: slots are on their way there, and it owns none yet. It is asked for them, and no more."""
    store = RedisStore(
        Dialler(parse_store(f"redis+cluster://127.0.0.1:{free_port()}")), 1.0, prefix="elsewhere"
    )
    store.configure(LIMITS)
    await store.start()
    link = store._dispatcher.topology.at(("127.0.0.1", shared_redis.port))
    await until(lambda: link.state == UP, "it is connected")
    link.beat_now()
    await until(lambda: not link._nudged.is_set(), "it has beaten")
    is_up = link.state == UP
    await link.take_leave()
    await store.close()

    assert is_up
    assert shared_redis.ask("KEYS", "elsewhere:*") == []


async def test_notes_of_strangers_are_passed_over(redis: Redis) -> None:
    """Beside one of ours, which is heeded."""
    async with store_at(redis.url, LIMITS) as store:
        for _ in range(9):
            await ask(store, charge(LIMIT))
        refused = await ask(store, charge(LIMIT))
        now_us = time() * 1e6
        notes = {b"hello": now_us, b"per-user:short": now_us, b"per-user:" + bucket("ada"): now_us}
        redis.client().zadd("weir:2:{0}:resets", notes)
        redis.client().delete(*redis.client().keys("*:per-user:*"))
        store._dispatcher.links[0].beat_now()
        await until(lambda: not store._caches.of(LIMIT.terms).known.get(bucket("ada")), "it is forgotten")

        assert refused.via == "denial_cache"
        assert (await ask(store, charge(LIMIT))).is_admitted
        assert store.is_up
