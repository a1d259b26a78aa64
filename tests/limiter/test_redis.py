"""The Redis store: the contract of all stores, and what is its own."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limiter.redis import RedisStore
from tests.limiter.asking import (
    PATIENCE,
    Asker,
    admitted,
    ask,
    ask_all,
    bucket,
    charge,
    limit_of,
    limits_of,
    store_at,
)
from tests.limiter.contract import (
    REQUESTS,
    SHARED_BENCH,
    StoreContract,
    charges_of,
    configured,
    limit_settings,
    new_user,
    take,
)
from tests.policy.model import Model
from tests.support.patience import until
from tests.support.redis_servers import Redis

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Bench:
    """On Redis's own clock."""

    def __init__(self, store: RedisStore) -> None:
        self.store = store

    async def advance(self, seconds: float) -> None:
        await asyncio.sleep(seconds + 0.002)


class TestRedisStore(StoreContract):
    @pytest.fixture
    async def bench(self, shared_redis: Redis) -> AsyncIterator[Bench]:
        async with store_at(shared_redis.url, limits_of(), caches_denials=False) as store:
            yield Bench(store)


class TestRedisStoreWithDenialCache(StoreContract):
    # A request that a known refusal ends is not told what others of its tick are about to take.
    test_any_history_agrees_with_the_model = None

    @pytest.fixture
    async def bench(self, shared_redis: Redis) -> AsyncIterator[Bench]:
        async with store_at(shared_redis.url, limits_of()) as store:
            yield Bench(store)

    @given(limit_settings(st.sampled_from(["1/d", "2/d"])), st.lists(REQUESTS, max_size=30))
    @settings(max_examples=40, deadline=None, suppress_health_check=SHARED_BENCH)
    async def test_any_history_admits_as_the_model(self, bench, each, requests):
        """A denial that is known is one that Redis would have given."""
        compiled = list(configured(bench, *each))
        users = [new_user() for _ in range(3)]
        charged = [charges_of(compiled, users, numbers, user) for numbers, user in requests]
        model = Model()
        expected = [model.take(charges, 0)[0] for charges in charged]
        decisions = [await take(bench.store, *charges) for charges in charged]

        assert [decision.is_admitted for decision in decisions] == expected


class TestRedisCluster(StoreContract):
    @pytest.fixture
    async def bench(self, nodes: list[Redis]) -> AsyncIterator[Bench]:
        url = "redis+cluster://" + ",".join(node.address for node in nodes)
        async with store_at(url, limits_of(), caches_denials=False) as store:
            yield Bench(store)
