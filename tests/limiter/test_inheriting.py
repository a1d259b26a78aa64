"""What a reload does to the buckets that a process knows: each is what it was, in the new terms, whenever it comes over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.units import Rate
from proxy.limiter.book import ALL, Book
from proxy.limiter.cache import TermsCache
from proxy.limiter.outage import Outage, decide
from proxy.limiter.overrides import Override
from proxy.limiter.records import Names, UnansweredCall
from proxy.policy.decision import Charge
from tests.limiter.asking import ask, ask_all, bucket, charge, limit_of, limits_of, no_slots, store_at
from tests.support.patience import until

if TYPE_CHECKING:
    from tests.support.redis_servers import Redis, Relay

pytestmark = pytest.mark.unmeasured

NOW_US = 5_000_000_000
KEYS = [bucket(number) for number in range(4)]
CALL = UnansweredCall(7, 0.0)

RATES = st.sampled_from(["15/s", "30/s", "7/m", "100/h", "5/d"])
SETTINGS = st.sampled_from(
    [{}, {"burst": 1}, {"burst": 40}, {"max_wait": "2s"}, {"on_upstream_429": "drain"}]
)
DEEDS = st.sampled_from(
    [
        "decide",
        "decide",
        "decide",
        "know",
        "settle",
        "give back",
        "forget",
        "empty",
        "doubt",
        "bring",
        "sweep",
    ]
)
STEPS = st.lists(st.tuples(st.integers(0, 2_000_000), DEEDS, st.sampled_from(KEYS)), max_size=40)


class World:
    """A limit of one process, without Redis, through reloads."""

    def __init__(self, rate: str, settings: dict[str, object], *, is_prompt: bool) -> None:
        self._is_prompt = is_prompt  # brings everything over at once
        self.now_us = NOW_US
        self.cache = self._cache(rate, settings)

    @staticmethod
    def _cache(rate: str, settings: dict[str, object]) -> TermsCache:
        terms = limit_of(rate, **settings).terms
        return TermsCache(terms, Book(terms, Names("weir"), 1000), no_slots())

    def reload(self, rate: str, settings: dict[str, object], *, is_certain: bool) -> None:
        before, self.cache = self.cache, self._cache(rate, settings)
        self.cache.book.inherit(before.book, self.now_us, is_certain=is_certain)
        while self._is_prompt and self.cache.book.bring_over(ALL):
            pass

    def do(self, deed: str, key: bytes) -> object:
        """What came of it."""
        cache, now_us = self.cache, self.now_us
        book, terms = cache.book, cache.terms
        match deed:
            case "decide":
                decision = decide([cache], [Charge(terms, key)], Outage(now_us, 1))
                return decision.is_admitted, [verdict.debt for verdict in decision.verdicts]
            case "know":
                cache.verdict(Charge(terms, key), terms.burst_units // 2, now_us)
            case "settle":
                return book.settle(key, now_us, 1)
            case "give back":
                cache.give_back_locally(key, now_us, 1)
            case "forget":
                book.forget(key)
            case "empty":
                book.empty(key, terms.burst_units, now_us)
            case "doubt":
                book.doubt(key, terms.cost_units, CALL)
            case "bring":
                book.bring_over(1)
            case "sweep":
                book.sweep(now_us)
        return None


@given(RATES, SETTINGS, STEPS, RATES, SETTINGS, st.booleans(), STEPS, RATES, STEPS)
def test_bucket_is_the_same_whenever_it_comes_over(
    rate, settings, before, other, others, is_certain, between, last, after
) -> None:
    """At once, when it is asked for, or in its turn, also through a second reload that comes too soon."""
    prompt, lazy = (World(rate, settings, is_prompt=each) for each in (True, False))

    def do(steps) -> None:
        for pause, deed, key in steps:
            for world in (prompt, lazy):
                world.now_us += pause
            assert prompt.do(deed, key) == lazy.do(deed, key)

    do(before)
    for world in (prompt, lazy):
        world.reload(other, others, is_certain=is_certain)
    do(between)
    for world in (prompt, lazy):
        world.reload(last, settings, is_certain=True)
    do(after)
    for key in KEYS:
        assert prompt.do("settle", key) == lazy.do("settle", key)


def test_no_line_of_heirs_holds_more_than_it_may() -> None:
    """As many reloads as there are, with other keys each time."""
    world = World("1/d", {}, is_prompt=True)
    for number in range(9):
        for key in range(800):
            world.do("decide", b"%015d%d" % (number, key))
        world.reload("1/d", {}, is_certain=True)
        book = world.cache.book

        assert len(book.local) + len(book.known) + len(book.before) <= 2 * 1000


async def test_reload_in_an_outage_keeps_what_was_spent_of_a_grant(redis: Redis) -> None:
    """Here, and for Redis when it is back."""
    settings = {"name": "per-user", "rate": "15/h"}
    limits = limits_of(settings)
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        await store.keys.put_override(
            (limit.name, charge(limit).key), Override(0, Rate(100, 3_600_000_000), 100), 60.0
        )
        redis.kill()
        await until(lambda: not store.is_up)
        await ask_all(store, [[charge(limit)]] * 60)
        (limit,) = limits = limits_of(settings | {"rate": "16/h"})
        store.configure(limits)
        left = (await ask(store, charge(limit))).verdicts[0].remaining
        await asyncio.to_thread(redis.start)
        await until(lambda: store.is_up, within=5.0)

        assert left == 100 - 60 - 1
        assert (await ask(store, charge(limit))).verdicts[0].remaining == 100 - 60 - 2


@pytest.mark.parametrize("brings", [True, False])
async def test_reload_while_redis_comes_back_neither_loses_nor_doubles_what_was_spent(
    redis: Redis,
    relay: Relay,
    brings: bool,  # noqa: FBT001 - a parameter
) -> None:
    """Two thousand buckets of which five tokens were spent in the outage: half of them are settled when it comes."""
    settings = {"name": "per-user", "rate": "15/h"}
    (limit,) = limits = limits_of(settings)
    users = range(2000)
    async with store_at(relay.url, limits) as store:
        redis.kill()
        await until(lambda: not store.is_up)
        for user in users:
            for _ in range(5):
                assert (await ask(store, charge(limit, user))).is_admitted
        book = store._caches.of(limit.terms).book
        relay.delay = 0.01
        await asyncio.to_thread(redis.start)
        await until(lambda: len(book.local) < 1000, within=5.0)
        assert not store.is_up
        (limit,) = limits = limits_of(settings | {"rate": "30/h"})
        store.configure(limits)
        if brings:
            await store.bring_over()
        await until(lambda: store.is_up, within=5.0)
        relay.delay = 0.0
        left = [(await ask(store, charge(limit, user))).verdicts[0].remaining for user in users]

        assert set(left) == {30 - 5 - 1}
