"""All buckets of a limit, deleted one step after the other."""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING

import pytest

from proxy.config.addresses import parse_store
from proxy.limiter.dialler import Dialler
from proxy.limiter.redis import RedisStore
from proxy.limiter.resets import SCAN_KEYS, SCAN_SECONDS
from proxy.limiter.store import UnreachableError
from tests.limiter.asking import ask_all, charge, limits_of, store_at

if TYPE_CHECKING:
    from tests.support.redis_servers import Redis

LIMITS = limits_of({"name": "all-of-it", "rate": "9/h"}, {"name": "another", "rate": "9/h"})
LIMIT, ANOTHER = LIMITS


async def test_all_are_found_however_many_steps_it_takes(shared_redis: Redis) -> None:
    count = 3 * SCAN_KEYS
    async with store_at(shared_redis.url, LIMITS) as store:
        await ask_all(store, [[charge(LIMIT, number)] for number in range(count)])
        await ask_all(store, [[charge(ANOTHER, number)] for number in range(10)])

        assert await store.keys.reset(LIMIT, b"") == count
        assert await store.keys.reset(ANOTHER, b"") == 10
        assert await store.keys.reset(LIMIT, b"") == 0


async def test_reset_that_does_not_come_to_an_end_is_told(shared_redis: Redis) -> None:
    """Keys may be written faster than they are looked through."""
    ahead = 0.0

    def now() -> float:
        nonlocal ahead
        ahead += hurry
        return monotonic() + ahead

    hurry = 0.0
    store = RedisStore(Dialler(parse_store(shared_redis.url)), 2 * SCAN_SECONDS, now=now)
    store.configure(LIMITS)
    await store.start()
    await ask_all(store, [[charge(LIMIT, number)] for number in range(3 * SCAN_KEYS)])
    hurry = SCAN_SECONDS / 4
    with pytest.raises(UnreachableError, match="does not come to an end"):
        await store.keys.reset(LIMIT, b"")
    hurry = 0.0

    assert await store.keys.reset(LIMIT, b"") > 0
    await store.close()
