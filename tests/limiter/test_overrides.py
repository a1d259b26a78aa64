"""Overrides where buckets are in Redis: every replica has them, no outage loses them, no stranger makes them. What all
stores do with them is in contract.py."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.limiter.memory import MemoryStore
from proxy.limiter.overrides import OVERRIDES_MAX, Override
from proxy.limiter.store import CrowdedError, UnreachableError
from tests.limiter.asking import ask, bucket, charge, limit_of, limits_of, store_at
from tests.limiter.contract import BLOCK, HOUR, fates, grant
from tests.support.patience import until

if TYPE_CHECKING:
    from tests.support.redis_servers import Redis

LIMITS = limits_of({"name": "per-user", "rate": "1/h", "burst": 2})
(LIMIT,) = LIMITS
ADA, BOB, EVE = map(bucket, ("ada", "bob", "eve"))
SET = b"weir:2:{0}:overrides"
WEEK = 7 * 24 * 3600


async def test_every_replica_has_them_within_a_beat(redis: Redis) -> None:
    """Who starts later as well; and a release reaches them too."""
    async with store_at(redis.url, LIMITS) as one, store_at(redis.url, LIMITS) as other:
        await one.keys.put_override((LIMIT.name, ADA), BLOCK, HOUR)
        await one.keys.put_override((LIMIT.name, BOB), grant("1/h", 3), HOUR)
        await until(lambda: other.keys.override((LIMIT.name, BOB)), "the other has heard of it")
        async with store_at(redis.url, LIMITS) as third:
            seen = [await fates(store, LIMIT, ADA, 1) for store in (one, other, third)]
            shared = [await fates(store, LIMIT, BOB, 1) for store in (one, other, third, one)]
            await third.keys.release((LIMIT.name, ADA))
            await until(lambda: not one.keys.override((LIMIT.name, ADA)), "the release is heard of")

            assert seen == [[False]] * 3
            assert shared == [[True], [True], [True], [False]]
            assert await fates(one, LIMIT, ADA, 1) == [True]


async def test_what_redis_lost_comes_back(redis: Redis) -> None:
    """But for what was released."""
    async with store_at(redis.url, LIMITS) as store:
        await store.keys.put_override((LIMIT.name, ADA), BLOCK, HOUR)
        await store.keys.put_override((LIMIT.name, BOB), grant("1/h", 9), HOUR)
        redis.ask("FLUSHALL")
        await store.keys.release((LIMIT.name, BOB))
        async with store_at(redis.url, LIMITS) as later:
            found = later.keys.override((LIMIT.name, ADA))

            assert found is not None
            assert found[0].is_block
            assert HOUR - 60 < found[1] <= HOUR
            assert later.keys.override((LIMIT.name, BOB)) is None


async def test_block_that_follows_a_loss_ends_no_other(redis: Redis) -> None:
    """What all replicas know is written before it, whoever of them is asked first, and each beat reads both."""
    async with store_at(redis.url, LIMITS) as one, store_at(redis.url, LIMITS) as other:
        await one.keys.put_override((LIMIT.name, ADA), BLOCK, HOUR)
        await until(lambda: other.keys.override((LIMIT.name, ADA)), "the other has heard of it")
        redis.ask("FLUSHALL")
        await one.keys.put_override((LIMIT.name, BOB), BLOCK, HOUR)
        await until(lambda: other.keys.override((LIMIT.name, BOB)), "the other has heard of the new one")

        assert one.keys.override((LIMIT.name, ADA)) is not None
        assert other.keys.override((LIMIT.name, ADA)) is not None


async def test_block_and_grant_hold_without_redis(redis: Redis) -> None:
    """They cannot be changed then, and nothing can be looked at."""
    async with store_at(redis.url, LIMITS) as store:
        await store.keys.put_override((LIMIT.name, ADA), BLOCK, HOUR)
        await store.keys.put_override((LIMIT.name, BOB), grant("1/h", 4), HOUR)
        redis.kill()
        await until(lambda: not store.is_up, "the loss is noticed")
        decision = await ask(store, charge(LIMIT))
        granted = await fates(store, LIMIT, BOB, 5)

        assert (decision.is_admitted, decision.via) == (False, "block")
        assert granted == [True] * 4 + [False]
        for call in (
            store.keys.put_override((LIMIT.name, EVE), BLOCK, HOUR),
            store.keys.release((LIMIT.name, ADA)),
            store.keys.debt(LIMIT.terms, EVE),
        ):
            with pytest.raises(UnreachableError, match="store.url"):
                await call
        assert store.keys.override((LIMIT.name, EVE)) is None


async def test_refusal_known_before_a_grant_does_not_outlive_it(redis: Redis) -> None:
    """Nor what was known before the grant, when it is over."""
    async with store_at(redis.url, LIMITS) as store:
        before = await fates(store, LIMIT, ADA, 4)
        await store.keys.put_override((LIMIT.name, ADA), grant("1000000/s", 2), HOUR)
        during = await fates(store, LIMIT, ADA, 1)
        await store.keys.release((LIMIT.name, ADA))

        assert before == [True, True, False, False]
        assert during == [True]
        assert (await fates(store, LIMIT, ADA, 1)) == [True]


async def test_number_of_them_is_bounded(redis: Redis) -> None:
    """In Redis, whoever wrote them; one that is there may still be changed, and released."""
    members = {b"per-user:" + bucket(number) + b"block": 4e15 for number in range(OVERRIDES_MAX)}
    redis.client().zadd(SET, members)
    async with store_at(redis.url, LIMITS) as store:
        with pytest.raises(CrowdedError):
            await store.keys.put_override((LIMIT.name, EVE), BLOCK, HOUR)
        await store.keys.put_override((LIMIT.name, bucket(7)), grant("1/h", 5), HOUR)
        found = store.keys.override((LIMIT.name, bucket(7)))
        far = store.keys.override((LIMIT.name, bucket(8)))
        await store.keys.release((LIMIT.name, bucket(7)))
        await store.keys.put_override((LIMIT.name, EVE), BLOCK, HOUR)

        assert found is not None
        assert not found[0].is_block
        assert far is not None
        assert far[1] <= WEEK
        assert await fates(store, LIMIT, EVE, 1) == [False]


async def test_number_of_them_is_bounded_in_memory() -> None:
    """What is over makes room."""
    now_us = 0
    store = MemoryStore(lambda: now_us)
    store.configure(LIMITS)
    for number in range(OVERRIDES_MAX):
        await store.keys.put_override((LIMIT.name, bucket(number)), BLOCK, 60)
    await store.keys.put_override((LIMIT.name, bucket(7)), BLOCK, HOUR)
    with pytest.raises(CrowdedError):
        await store.keys.put_override((LIMIT.name, EVE), BLOCK, HOUR)
    now_us = 61_000_000
    await store.keys.put_override((LIMIT.name, EVE), BLOCK, HOUR)

    assert store.keys.override((LIMIT.name, bucket(7))) is not None
    assert store.keys.override((LIMIT.name, bucket(8))) is None


async def test_key_of_another_type_is_in_nobodys_way(redis: Redis) -> None:
    redis.ask("SET", SET, "what?")
    async with store_at(redis.url, LIMITS) as store:
        assert store.is_up
        await store.keys.put_override((LIMIT.name, ADA), BLOCK, HOUR)
        assert await fates(store, LIMIT, ADA, 1) == [False]


async def test_members_of_strangers_are_passed_over(redis: Redis) -> None:
    """They neither block nor grant."""
    for member in (b"per-user", b"per-user:short", b"per-user:" + ADA + b"blocked", b"x" * 500):
        redis.ask("ZADD", SET, b"4e15", member)
    async with store_at(redis.url, LIMITS) as store:
        assert store.is_up
        assert await fates(store, LIMIT, ADA, 1) == [True]


def test_granted_terms_are_bounded() -> None:
    """However many different grants there were, one after the other."""
    limit = limit_of("1/h", burst=1)
    store = MemoryStore(lambda: 0)
    store.configure([limit])
    for burst in range(2, 2 * 1000 + 100):
        store._overrides.put((limit.name, ADA), Override(10**9, grant("1/h", burst).rate, burst))
        store.take([charge(limit)], None)

    assert len(store._by_terms) <= 1001


async def test_block_holds_in_shadow_for_every_request() -> None:
    """It refuses, though the limit does not."""
    store = MemoryStore(lambda: 0)
    limits = limits_of({"name": "per-user", "rate": "1/h", "mode": "shadow"})
    (limit,) = limits
    store.configure(limits)
    await store.keys.put_override((limit.name, ADA), BLOCK, HOUR)

    assert await fates(store, limit, ADA, 3) == [False] * 3
    assert await fates(store, limit, BOB, 3) == [True] * 3
