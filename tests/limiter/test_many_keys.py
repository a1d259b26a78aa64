"""A hundred thousand clients are known: what a reload, an outage or an operator makes of it keeps nobody waiting."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from proxy.limiter.memory import MemoryStore
from proxy.limiter.overrides import Override
from proxy.limiter.store import NOBODY
from proxy.policy.decision import Charge
from proxy.policy.slots import DOUBTED, TOLD
from tests.limiter.asking import ask, ask_all, bucket, charge, limits_of, store_at
from tests.support.innocent import innocent
from tests.support.patience import until

pytestmark = [pytest.mark.real, pytest.mark.unmeasured]  # how long others wait is measured

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from proxy.limiter.redis import RedisStore
    from proxy.policy.limits import Limits
    from tests.support.redis_servers import Redis

KEYS = 100_000
SETTINGS = {"name": "per-user", "rate": "15/h"}
LIMITS = limits_of(SETTINGS)
(LIMIT,) = LIMITS
RELOADS = {"the same rate": SETTINGS, "another rate": SETTINGS | {"rate": "30/h"}}
NEIGHBOUR = bucket("neighbour")


def keys() -> Iterable[bytes]:
    draw = Random(1).randbytes
    return (draw(16) for _ in range(KEYS))


def know_many(store: RedisStore) -> None:
    """As if Redis had refused so many a moment ago."""
    book = store._caches.of(LIMIT.terms).book
    later_us = store._dispatcher.now_us() + 3_600_000_000
    for key in keys():
        book.known.put(key, later_us)


def spend_many(store: RedisStore, tokens: int = 5) -> None:
    """As if so many had spent tokens without Redis."""
    book = store._caches.of(LIMIT.terms).book
    now_us = store._dispatcher.now_us()
    for key in keys():
        book.put_locally(key, tokens * LIMIT.terms.interval, now_us)


@pytest.fixture
async def store(redis: Redis) -> AsyncIterator[RedisStore]:
    async with store_at(redis.url, LIMITS, max_keys=4 * KEYS) as store:
        yield store


@pytest.fixture
async def alone(redis: Redis, store: RedisStore) -> RedisStore:
    """Without Redis."""
    redis.kill()
    await until(lambda: not store.is_up)
    return store


async def reload(store: Any, settings: dict[str, Any]) -> Limits:
    after = limits_of(settings)
    async with innocent():
        store.configure(after)
        (limit,) = after
        await asyncio.sleep(0)
        assert (await ask(store, charge(limit))).is_admitted
        await store.bring_over()
    return after


# --- a reload ---


@pytest.mark.parametrize("kind", RELOADS)
async def test_reload(store: RedisStore, kind: str) -> None:
    """Each keeps its bucket."""
    know_many(store)
    await reload(store, RELOADS[kind])

    assert store.status()["keys"] == {"per-user": 1}
    assert len(store._caches.books[0].before) == KEYS


@pytest.mark.parametrize("kind", RELOADS)
async def test_reload_in_an_outage(alone: RedisStore, kind: str) -> None:
    know_many(alone)
    spend_many(alone)
    (limit,) = await reload(alone, RELOADS[kind])
    key = next(iter(keys()))
    decision = await ask(alone, Charge(limit.terms, key))

    assert len(alone._caches.books[0].local) == KEYS + 1
    assert decision.is_admitted is (kind == "another rate")  # of fifteen, fifteen were owed


async def test_reloads_one_after_the_other(alone: RedisStore) -> None:
    spend_many(alone)
    async with innocent():
        for rate in (20, 21, 22):
            (limit,) = limits = limits_of(SETTINGS | {"rate": f"{rate}/h"})
            alone.configure(limits)
            await alone.bring_over()
    decision = await ask(alone, Charge(limit.terms, next(iter(keys()))))

    assert decision.verdicts[0].remaining == 22 - 5 - 1


# --- an outage ---


async def test_return_of_redis(redis: Redis, alone: RedisStore) -> None:
    """All that was spent without it is charged there, and what it has lost is restored."""
    spend_many(alone)
    know_many(alone)
    await asyncio.to_thread(redis.start)
    async with innocent():
        await until(lambda: alone.is_up, within=30.0)
    decision = await ask(alone, Charge(LIMIT.terms, next(iter(keys()))))

    assert redis.ask("DBSIZE") > KEYS
    assert (decision.is_admitted, decision.via) == (False, "store")


async def test_beat_while_another_shard_is_spent_here(store: RedisStore) -> None:
    """In a cluster of which a part is down, each beat looks for what has come to this server."""
    store._dispatcher.links[0].shards = [0]
    spend_many(store)
    async with innocent():
        for _ in range(5):
            store._dispatcher.links[0].beat_now()
            await asyncio.sleep(0.1)

    assert store.is_up
    assert len(store._caches.books[0].local) > KEYS * 14 // 16


async def test_slots_of_many_requests_are_renewed(redis: Redis) -> None:
    """Ten thousand tunnels, each of which holds one."""
    limits = limits_of({"name": "at-once", "concurrency": 20_000})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        for start in range(0, 10_000, 500):
            await ask_all(store, [[charge(limit)] for _ in range(start, start + 500)])
        for slot in store.held.slots:
            slot.state = DOUBTED
        async with innocent():
            store._dispatcher.links[0].beat_now()
            await until(lambda: all(slot.state == TOLD for slot in store.held.slots), within=5.0)
            await asyncio.sleep(0.2)

        assert await store.keys.under_way(limit, charge(limit).key) == 10_000
        assert store.is_up


# --- in memory ---


@pytest.fixture
async def memory() -> MemoryStore:
    """In which each of so many has spent a token."""
    store = MemoryStore(max_keys=4 * KEYS)
    store.configure(LIMITS)
    for key in keys():
        store.take([Charge(LIMIT.terms, key)], NOBODY)
    return store


@pytest.mark.parametrize("kind", RELOADS)
async def test_reload_in_memory(memory: MemoryStore, kind: str) -> None:
    (limit,) = await reload(memory, RELOADS[kind])
    decision = await ask(memory, Charge(limit.terms, next(iter(keys()))))

    assert decision.verdicts[0].remaining == limit.terms.burst - 2  # with this one


async def test_flood_of_new_keys_in_memory() -> None:
    """A table that is full drops half of what it holds, while somebody waits."""
    store = MemoryStore(max_keys=KEYS)
    store.configure(LIMITS)
    draw = Random(2).randbytes
    async with innocent():
        for number in range(3 * KEYS):
            store.take([Charge(LIMIT.terms, draw(16))], NOBODY)
            if number % 100 == 0:
                await asyncio.sleep(0)
            if number % 5000 == 0:
                store.sweep()
    told: Any = store.status()

    assert told["evictions"]["per-user"] == 3 * KEYS - told["keys"]["per-user"]


async def test_buckets_that_are_full_again_are_dropped_in_memory() -> None:
    now_us = 0
    store = MemoryStore(lambda: now_us, max_keys=4 * KEYS)
    store.configure(LIMITS)
    for key in keys():
        store.take([Charge(LIMIT.terms, key)], NOBODY)
    async with innocent():
        for second in range(60):
            now_us = second * 60_000_000
            store.sweep()
            await asyncio.sleep(0)

    assert store.status()["keys"] == {"per-user": 0}
    assert store.status()["evictions"] == {"per-user": 0}


# --- what an operator does ---

PLACE = (LIMIT.name, NEIGHBOUR)


async def verbs(store: Any) -> int:
    """All that there is; how many were reset."""
    await store.keys.put_override(PLACE, Override(0), 60.0)
    assert store.keys.override(PLACE)
    assert await store.keys.release(PLACE)
    await store.keys.debt(LIMIT.terms, NEIGHBOUR)
    await store.keys.reset(LIMIT, NEIGHBOUR)
    msgspec.json.encode(store.status())
    store.sweep()
    return await store.keys.reset(LIMIT, b"")


async def test_verbs_of_an_operator_in_memory(memory: MemoryStore) -> None:
    for number in range(KEYS // 2):
        memory.proven.add(bucket(number))
    async with innocent():
        count = await verbs(memory)

    assert count == KEYS
    assert memory.status()["keys"] == {"per-user": 0}


async def test_verbs_of_an_operator(store: RedisStore) -> None:
    know_many(store)
    spend_many(store)
    for number in range(KEYS // 2):
        store.proven.add(bucket(number))
    async with innocent():
        await verbs(store)

    assert store.status()["keys"] == {"per-user": 0}
