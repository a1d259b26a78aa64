"""Leases: fewer calls for a busy client, never more than the limit."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from time import perf_counter
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from proxy.limiter.batch import Batch
from proxy.limiter.book import Book
from proxy.limiter.cache import TermsCache
from proxy.limiter.leases import LEASE_SECONDS, LEASE_US
from proxy.limiter.records import Names
from proxy.limiter.store import NOBODY
from tests.limiter.asking import (
    admitted,
    ask,
    ask_all,
    bucket,
    charge,
    limit_of,
    limits_of,
    no_slots,
    store_at,
)
from tests.limiter.test_redis import commands

if TYPE_CHECKING:
    from tests.support.redis_servers import Redis

ADA = bucket("ada")


async def test_busy_bucket_is_asked_for_seldom(redis: Redis) -> None:
    """One after the other, as on one connection: with a lease of 10 about one request in ten asks."""
    limits = limits_of({"name": "per-user", "rate": "1000/h", "lease": 10})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        before = commands(redis, "evalsha")
        decisions = [await ask(store, charge(limit)) for _ in range(200)]
        asked = commands(redis, "evalsha") - before

        assert admitted(decisions) == 200
        assert {decision.via for decision in decisions} == {"store", "lease"}
        assert asked <= 60
        assert 1000 - 200 - 9 * 10 <= decisions[-1].verdicts[0].remaining <= 800


async def test_quiet_bucket_takes_no_lease(redis: Redis) -> None:
    """Tokens that would be left unused are not taken."""
    limits = limits_of({"name": "per-user", "rate": "1000/h", "lease": 50})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        decisions = []
        for _ in range(4):
            decisions.append(await ask(store, charge(limit)))
            await asyncio.sleep(LEASE_SECONDS / 10)

        assert [decision.verdicts[0].remaining for decision in decisions] == [999, 998, 997, 996]
        assert {decision.via for decision in decisions} == {"store"}


async def test_replicas_with_leases_admit_no_more_than_the_burst(redis: Redis) -> None:
    """And no less than that without what each may leave unused in the time that a lease is held."""
    limits = limits_of({"name": "per-user", "rate": "100/d", "lease": 7})
    (limit,) = limits
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(store_at(redis.url, limits)) for _ in range(4)]
        counts, begun, took = [0], perf_counter(), 0.0
        for _ in range(30):
            groups = await asyncio.gather(*(ask_all(store, [[charge(limit)]] * 3) for store in stores))
            counts.append(sum(map(admitted, groups)))
            took = perf_counter() - begun if counts[-1] else took

        unused = 4 * 6 * (1 + int(took / LEASE_SECONDS))
        assert 100 - unused <= sum(counts) <= 100


async def test_no_window_sees_more_than_the_limit_and_what_is_held(redis: Redis) -> None:
    """Offered far too much: in any time t at most burst + rate * (t + how long a lease is held)."""
    rate, burst, seconds = 300, 60, 1.5
    limits = limits_of({"name": "per-user", "rate": f"{rate}/s", "burst": burst, "lease": 10})
    (limit,) = limits
    moments: list[tuple[float, float]] = []  # asked, told

    async def offer(store):
        end = perf_counter() + seconds
        while (asked := perf_counter()) < end:
            decisions = await ask_all(store, [[charge(limit)]] * 2)
            moments.extend((asked, perf_counter()) for decision in decisions if decision.is_admitted)
            await asyncio.sleep(0.002)

    async with store_at(redis.url, limits) as first, store_at(redis.url, limits) as second:
        begun = perf_counter()
        await asyncio.gather(offer(first), offer(second))
        took = perf_counter() - begun
    moments.sort()

    assert burst + rate * (seconds - 0.3) <= len(moments) <= burst + rate * took
    for i, (first_asked, _) in enumerate(moments):
        latest = first_asked
        for count, (_, told) in enumerate(moments[i:], start=1):
            latest = max(latest, told)
            assert count <= burst + rate * (latest - first_asked + LEASE_SECONDS) + 1


async def test_who_keeps_to_a_third_of_the_limit_is_never_refused(redis: Redis) -> None:
    """On two replicas, in an uneven rhythm."""
    limits = limits_of({"name": "per-user", "rate": "900/s", "burst": 90, "lease": 10})
    (limit,) = limits
    async with store_at(redis.url, limits) as first, store_at(redis.url, limits) as second:
        refused = 0
        for turn in range(75):
            for store in (first, second):
                decisions = await ask_all(store, [[charge(limit)]] * (1, 5)[turn % 2])
                refused += len(decisions) - admitted(decisions)
            await asyncio.sleep(0.02)

        assert refused == 0


async def test_reset_gives_leased_tokens_back(redis: Redis) -> None:
    """The bucket is full afterwards; what was held is not spent on top of it."""
    limits = limits_of({"name": "per-user", "rate": "20/d", "lease": 10})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        await ask_all(store, [[charge(limit)]] * 2)
        await store.keys.reset(limit, ADA)
        decisions = [await ask(store, charge(limit)) for _ in range(60)]

        assert admitted(decisions) <= 20


# --- without Redis ---


def granted(limit, sent_us: int = 0) -> TermsCache:
    """The bucket `ada` was given a lease."""
    cache = cache_of(limit)
    cache.take_lease.decision([charge(limit)], [0], 0, sent_us)
    return cache


def cache_of(limit) -> TermsCache:
    return TermsCache(limit.terms, Book(limit.terms, Names("weir"), 100), no_slots())


def test_lease_ends_when_it_is_spent_or_too_old() -> None:
    limit = limit_of("100/s", lease=5)

    assert [granted(limit).leases.spend(charge(limit), LEASE_US - 1) is not None for _ in range(2)] == [
        True
    ] * 2
    assert granted(limit).leases.spend(charge(limit), LEASE_US) is None
    cache = granted(limit)
    assert [cache.leases.spend(charge(limit), 1) is not None for _ in range(6)] == [True] * 4 + [False] * 2


@given(st.lists(st.integers(0, LEASE_US), max_size=60), st.integers(2, 20))
def test_one_lease_is_on_its_way_at_a_time(pauses, lease) -> None:
    """However requests come, a second is not asked for before the first can have been answered."""
    leases = cache_of(limit_of("100/s", lease=lease)).leases
    now, asked = 1, []
    for pause in pauses:
        now += pause
        if leases.is_wanted(ADA, now):
            asked.append(now)

    assert all(later - earlier >= LEASE_US // 2 for earlier, later in zip(asked, asked[1:], strict=False))


def test_lease_that_was_split_off_a_batch_costs_as_much() -> None:
    """A slot on the move has each request asked on its own."""
    limit = limit_of("100/s", lease=5)
    cache = cache_of(limit)
    batch = Batch(None, 0.0)
    batch.add(cache.take, [charge(limit)], NOBODY)
    batch.add(cache.take_lease, [charge(limit)], NOBODY)
    _, part = batch.split()

    assert part._record == cache.take_lease.record != cache.take.record


def test_what_is_held_no_longer_is_swept() -> None:
    cache = granted(limit_of("100/s", lease=5))
    assert [cache.leases.is_wanted(bucket("bob"), now_us) for now_us in (1, 2, 3)] == [False, True, False]
    cache.leases.sweep(LEASE_US * 3)

    assert (cache.leases._held, cache.leases._asked_us, cache.leases._awaited_us) == ({}, {}, {})


def test_shadow_limit_and_limit_without_a_lease_have_none() -> None:
    assert cache_of(limit_of("100/s", lease=5, mode="shadow")).leases is None
    assert cache_of(limit_of("100/s")).leases is None
