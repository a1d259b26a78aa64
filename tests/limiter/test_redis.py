"""The Redis store: the contract of all stores, and what is its own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from socket import socketpair
from time import perf_counter, sleep, time
from typing import TYPE_CHECKING

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.sections.limits import LimitSettings
from proxy.limiter.records import NOTES_MAX
from proxy.limiter.replicas import PAGES_MAX
from proxy.limiter.scripts import CALL_KEYS
from proxy.limiter.settling import ROUND_KEYS
from proxy.limiter.store import UnreachableError
from proxy.limiter.trouble import TroubleError
from proxy.policy.decision import Charge
from proxy.policy.fields import fields, refusal
from proxy.policy.haste import UNSEEN
from proxy.policy.limits import compile_limits
from tests.limiter.asking import Asker, admitted, ask, ask_all, charge, impatient, limits_of, store_at
from tests.limiter.contract import (
    REQUESTS,
    SHARED_BENCH,
    StoreContract,
    charges_of,
    configured,
    debt_for,
    limit_settings,
    new_user,
    take,
)
from tests.policy.heads import head
from tests.policy.model import Model
from tests.support.patience import own_time, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.limiter.redis import RedisStore
    from proxy.policy.limits import Limits
    from tests.support.redis_servers import Redis, Relay


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
    test_any_history_agrees_with_the_model = None  # type: ignore[assignment]  # of the contract: not for Redis

    @pytest.fixture
    async def bench(self, shared_redis: Redis) -> AsyncIterator[Bench]:
        async with store_at(shared_redis.url, limits_of()) as store:
            yield Bench(store)

    @given(limit_settings(st.sampled_from(["1/d", "4/m"])), st.lists(REQUESTS, max_size=30))
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


# --- batches ---


async def test_requests_of_one_tick_are_one_command(redis: Redis) -> None:
    """Whatever their limits, however many users."""
    limits = limits_of({"name": "one", "rate": "15/s"}, {"name": "two", "rate": "100/m"})
    one, two = limits
    async with store_at(redis.url, limits) as store:
        before = commands(redis, "evalsha")
        requests = [[charge(one, n), charge(two, n)] if n % 3 else [charge(one, n)] for n in range(30)]
        decisions = await ask_all(store, requests)

        assert admitted(decisions) == 30
        assert commands(redis, "evalsha") - before == 1
        assert store.figures.batch_size.total == 50
        assert sum(store.figures.seconds.counts) == 1


async def test_call_of_a_lonely_request_does_not_wait_for_the_tick(redis: Redis) -> None:
    """It has left when `take` returns, and the answer comes later all the same."""
    limits = limits_of({"rate": "15/s", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        for n in range(40):
            await ask(store, charge(limit, n))
        before = commands(redis, "evalsha")
        asker = Asker()
        assert store.take([charge(limit)], asker) is None
        deadline = perf_counter() + 5
        while commands(redis, "evalsha") == before:  # the loop does not turn meanwhile
            assert perf_counter() < deadline
        assert not asker.decision.done()

        assert (await asyncio.wait_for(asker.decision, 5)).is_admitted


async def test_crowd_after_lonely_requests_is_gathered(redis: Redis) -> None:
    """But for the first few; no token is taken twice."""
    limits = limits_of({"rate": "15/h", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        for n in range(40):
            await ask(store, charge(limit, n))
        before = commands(redis, "evalsha")
        first = await ask_all(store, [[charge(limit)]] * 200)
        between = commands(redis, "evalsha")
        await ask_all(store, [[charge(limit, f"b{n}")] for n in range(20)])

        assert admitted(first) == 15
        assert between - before <= UNSEEN + 1
        assert commands(redis, "evalsha") - between == 1


async def test_batches_do_not_wait_for_each_other(redis: Redis, relay: Relay) -> None:
    """Ten ticks under way at once take one round trip, not ten."""
    limits = limits_of({"rate": "15/s", "name": "per-user"})
    (limit,) = limits
    async with store_at(relay.url, limits) as store:
        relay.delay = 0.05
        begun = own_time()
        asked = []
        for n in range(10):
            asked.append(asyncio.create_task(ask(store, charge(limit, n))))
            await asyncio.sleep(0.001)
        await asyncio.gather(*asked)

        assert own_time() - begun < 0.3
        assert sum(store.figures.batch_size.counts) == 10


async def test_batch_holds_up_redis_for_a_moment_only(redis: Redis) -> None:
    """A thousand requests at once are two commands."""
    limits = limits_of({"rate": "15/s", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        before = commands(redis, "evalsha")
        decisions = await ask_all(store, [[charge(limit, n)] for n in range(CALL_KEYS + 1)])

        assert admitted(decisions) == CALL_KEYS + 1
        assert commands(redis, "evalsha") - before == 2


async def test_mistake_of_one_waiter_is_not_the_others(
    redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, and who comes after it is told all the same."""
    limits = limits_of({"rate": "15/s", "name": "per-user"})
    (limit,) = limits

    class Broken:
        def decided(self, decision: object) -> None:
            raise ZeroDivisionError

    async with store_at(redis.url, limits) as store:
        store.take([charge(limit, "broken")], Broken())
        decision = await ask(store, charge(limit, "whole"))

        assert decision.is_admitted
        assert "ZeroDivisionError" in caplog.text


def test_busy_loop_is_not_taken_for_a_slow_redis(redis: Redis) -> None:
    """Replies that came while this process did something else are read before anybody is called late."""

    async def story() -> None:
        limits = limits_of({"rate": "15/s", "name": "per-user"})
        (limit,) = limits
        near, far = socketpair()
        async with store_at(redis.url, limits, timeout=0.05) as store:

            def stand_still() -> None:
                """While a request is on its way, and its answer comes."""
                if store._dispatcher.links[0]._wire.calls:
                    near.recv(1)
                    redis.thaw()
                    sleep(0.1)

            redis.freeze()
            asyncio.get_running_loop().add_reader(near, stand_still)
            far.send(b"!")
            decision = await ask(store, charge(limit))
            asyncio.get_running_loop().remove_reader(near)

            assert decision.via == "store"
            assert store.is_up
        near.close()
        far.close()

    uvloop.run(story())  # its timers come before what has arrived


async def test_step_of_redis_clock_costs_one_more_round_trip(redis: Redis) -> None:
    """The batch is found late before it is; its reply tells the time, and it goes out again."""
    limits = limits_of({"rate": "15/s", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        before = commands(redis, "evalsha")
        store._dispatcher.links[0].clock._offset_us -= 60_000_000
        decision = await ask(store, charge(limit))

        assert (decision.via, decision.verdicts[0].remaining) == ("store", 14)
        assert commands(redis, "evalsha") - before == 2
        assert store.figures.errors == {}


async def test_what_cannot_be_given_back_is_not_taken_again(redis: Redis) -> None:
    """Redis goes away between the taking and the giving back: the bucket refills all the same."""
    limits = limits_of({"rate": "10/h", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        store.give_back([charge(limit)])
        redis.kill()
        store._dispatcher.links[0].fail(TroubleError("connection", "gone"))
        await asyncio.sleep(0.01)

        assert (await ask(store, charge(limit))).verdicts[0].remaining == 9


async def test_what_one_replica_gives_back_the_other_may_spend_at_once(redis: Redis) -> None:
    """It remembers no denial of a limit that gives tokens back: a refusal would not be certain."""
    limits = limits_of({"rate": "1/h", "name": "per-user", "cost_304": 0})
    (limit,) = limits
    async with store_at(redis.url, limits) as one, store_at(redis.url, limits) as two:
        assert (await ask(one, charge(limit))).is_admitted
        refused = [await ask(two, charge(limit)) for _ in range(3)]
        one.give_back([charge(limit)])
        await ask(one, charge(limit, "bob"))

        assert {(decision.is_admitted, decision.via) for decision in refused} == {(False, "store")}
        assert (await ask(two, charge(limit))).is_admitted


async def test_denial_is_not_believed_for_longer_than_two_seconds(redis: Redis) -> None:
    """A token of an hour is given back by one replica: no server could be had. The other had been refused."""
    limits = limits_of({"rate": "1/h", "name": "per-user"}, {"rate": "9/h", "name": "beside"})
    limit, beside = limits
    async with store_at(redis.url, limits) as one, store_at(redis.url, limits) as two:
        spent = [await ask(one, charge(limit, user)) for user in ("ada", "bob")]
        refused = [await ask(two, charge(limit)) for _ in range(3)]
        refused += [await ask(two, charge(limit, "bob"), charge(beside, "bob")) for _ in range(3)]
        one.give_back([charge(limit), charge(limit, "bob")])
        before, begun, seen = commands(redis, "evalsha"), own_time(), [0, 0]
        while not all(seen) and own_time() - begun < 3.0:
            seen[0] += (await ask(two, charge(limit))).is_admitted
            seen[1] += (await ask(two, charge(limit, "bob"), charge(beside, "bob"))).is_admitted
            await asyncio.sleep(0.02)

    assert admitted(spent) == 2
    assert [(each.is_admitted, each.via) for each in refused] == [
        (False, "store"),
        (False, "denial_cache"),
        (False, "denial_cache"),
    ] * 2
    assert seen == [1, 1]
    assert commands(redis, "evalsha") - before < 20, "in between nobody asked"


async def test_other_limits_of_the_request_still_refuse_by_what_is_known(redis: Redis) -> None:
    limits = limits_of({"rate": "1/h", "name": "a", "cost_304": 0}, {"rate": "1/h", "name": "b"})
    free, strict = limits
    async with store_at(redis.url, limits) as store:
        await ask(store, charge(strict))
        decisions = [await ask(store, charge(free), charge(strict)) for _ in range(2)]
        alone = [await ask(store, charge(free)) for _ in range(2)]
        beside = await ask(store, charge(free), charge(strict, "bob"))

        assert [(each.is_admitted, each.via) for each in decisions] == [
            (False, "denial_cache"),
            (False, "denial_cache"),
        ]
        assert [(each.is_admitted, each.via) for each in alone] == [(True, "store"), (False, "store")]
        assert (beside.is_admitted, beside.via) == (False, "store")


async def test_tokens_that_come_back_go_out_with_the_ticks_requests(redis: Redis) -> None:
    """One command for all of them, and nobody waits for it."""
    limits = limits_of({"rate": "100/h", "name": "per-user", "cost_304": 0})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        await ask_all(store, [[charge(limit)]] * 10)
        before = commands(redis, "evalsha")
        for _ in range(10):
            store.give_back([charge(limit)])
        after = await ask(store, charge(limit))

        assert after.verdicts[0].remaining == 99
        assert commands(redis, "evalsha") - before == 1


async def test_token_of_a_lease_comes_back_too(redis: Redis) -> None:
    limits = limits_of({"rate": "1000/h", "name": "per-user", "lease": 10, "cost_304": 0})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        decisions = [await ask(store, charge(limit)) for _ in range(20)]
        for _ in decisions:
            store.give_back([charge(limit)])
        store._caches.of(limit.terms).leases.forget(b"")
        left = (await ask(store, charge(limit))).verdicts[0].remaining

        assert "lease" in {decision.via for decision in decisions}
        assert 1000 - 11 <= left <= 999  # what was leased and not spent is lost, nothing else


async def test_nothing_is_given_back_while_redis_is_down(redis: Redis) -> None:
    limits = limits_of({"rate": "10/h", "name": "per-user", "cost_304": 0})
    (limit,) = limits
    redis.kill()
    async with store_at(redis.url, limits) as store:
        local = await ask(store, charge(limit))
        store.give_back([charge(limit)])

        assert (local.via, store._dispatcher.batches) == ("local", {})
        assert (await ask(store, charge(limit))).verdicts[0].remaining == 8


# --- emptying ---


async def test_what_one_replica_empties_the_other_refuses(redis: Redis) -> None:
    """By the same moment; the first knows it at once, without asking."""
    limits = limits_of({"rate": "15/s", "name": "per-user", "on_upstream_429": "drain"})
    (limit,) = limits
    async with store_at(redis.url, limits) as one, store_at(redis.url, limits) as two:
        one.empty([(charge(limit), debt_for(limit, 20))])
        first = await ask(one, charge(limit))
        await ask(one, charge(limit, "bob"))
        others = [await ask(two, charge(limit)) for _ in range(2)]

        assert (first.is_admitted, first.via) == (False, "denial_cache")
        assert [(each.is_admitted, each.via) for each in others] == [
            (False, "store"),
            (False, "denial_cache"),
        ]
        assert 19 < others[0].verdicts[0].retry_after <= 20


async def test_emptyings_go_out_with_the_ticks_requests(redis: Redis) -> None:
    limits = limits_of({"rate": "100/h", "name": "per-user", "on_upstream_429": "drain"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        before = commands(redis, "evalsha")
        for n in range(10):
            store.empty([(charge(limit, n), debt_for(limit, n))])
        assert (await ask(store, charge(limit))).is_admitted
        assert commands(redis, "evalsha") - before == 1


async def test_emptied_bucket_loses_its_lease(redis: Redis) -> None:
    """What is held is not spent."""
    limits = limits_of({"rate": "1000/s", "name": "per-user", "lease": 50, "on_upstream_429": "drain"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        before = [await ask(store, charge(limit)) for _ in range(20)]
        store.empty([(charge(limit), debt_for(limit, 20))])
        after = [await ask(store, charge(limit)) for _ in range(20)]

        assert "lease" in {decision.via for decision in before}
        assert admitted(after) == 0


async def test_lease_that_is_on_its_way_is_dropped_too(redis: Redis) -> None:
    """It was asked for just before, in the same batch."""
    limits = limits_of({"rate": "1000/s", "name": "per-user", "lease": 50, "on_upstream_429": "drain"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        before = [asyncio.ensure_future(ask(store, charge(limit))) for _ in range(2)]
        await asyncio.sleep(0)
        store.empty([(charge(limit), debt_for(limit, 20))])
        answered = await asyncio.gather(*before)
        await ask(store, charge(limit, "bob"))  # the batch behind it
        after = [await ask(store, charge(limit)) for _ in range(5)]

        assert admitted(answered) == 2
        assert admitted(after) == 0


async def test_emptying_outlives_redis(redis: Redis) -> None:
    """Emptied while Redis is down, or forgotten by it: refused meanwhile, and restored when it is back."""
    limits = limits_of({"rate": "15/s", "name": "per-user", "on_upstream_429": "drain"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store, store_at(redis.url, limits) as other:
        store.empty([(charge(limit, "before"), debt_for(limit, 50))])
        assert (await ask(store, charge(limit))).is_admitted
        redis.kill()
        while store.is_up:
            await ask(store, charge(limit, "any"))
        store.empty([(charge(limit, "meanwhile"), debt_for(limit, 50))])
        local = [await ask(store, charge(limit, name)) for name in ("before", "meanwhile")]
        redis.start()
        await until(lambda: store.is_up and other.is_up, "Redis is back", within=10.0)
        again = [await ask(other, charge(limit, name)) for name in ("before", "meanwhile")]

        assert [decision.is_admitted for decision in local + again] == [False] * 4
        assert all(40 < decision.verdicts[0].retry_after <= 50 for decision in again)


# --- what lies in Redis ---


async def test_redis_holds_hashes_only(redis: Redis) -> None:
    """No credential, no address, no cookie: not in a key, not in a value."""
    secrets = [b"sesame-token-17", b"Bearer eyJhbGciOiJIUzI1NiJ9.e30.eA", b"203.0.113.77", b"session-4711"]
    limits = compile_limits(
        [
            LimitSettings(name="token", rate="15/s", key=["header:X-Auth-Token"]),
            LimitSettings(name="bearer", rate="15/h", key=["header:Authorization"]),
            LimitSettings(name="address", rate="15/h", key=["client-ip"]),
            LimitSettings(name="session", rate="15/h", key=["cookie:sid"]),
        ],
        b"",
    )
    fields = {"X-Auth-Token": secrets[0], "Authorization": secrets[1], "Cookie": b"sid=" + secrets[3]}
    async with store_at(redis.url, limits) as store:
        due = limits.charges(head(headers=fields), secrets[2].decode())
        assert isinstance(due, tuple)
        charges, _ = due
        await ask(store, *charges)
        held = b"".join(key + (redis.ask("GET", key) or b"") for key in redis.keys())
        status = str(store.status()).encode()

    assert len(charges) == 4
    assert held
    for secret in secrets:
        assert secret not in held
        assert secret not in status


@pytest.mark.unmeasured
async def test_full_buckets_are_gone(redis: Redis) -> None:
    """Nothing is left of a thousand users once their buckets are full again; until then a bucket is small."""
    limits = limits_of({"rate": "1/s", "name": "per-user", "burst": 5})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        await ask_all(store, [[charge(limit, n)] for n in range(1000)] * 5)
        held = redis.keys()
        size = redis.ask("MEMORY", "USAGE", held[0])
        await until(lambda: not redis.keys(), "all are gone", within=9.0)

        assert len(held) == 1000
        assert size <= 128


# --- denials ---


async def test_denial_is_remembered_until_the_token_returns(redis: Redis) -> None:
    """No command for a refusal that is certain; and not a moment longer than Redis would refuse."""
    limits = limits_of({"rate": "10/s", "name": "per-user", "burst": 1})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        await ask(store, charge(limit))
        before = commands(redis, "evalsha")
        refused = await ask_all(store, [[charge(limit)]] * 20)
        asked = commands(redis, "evalsha") - before
        await asyncio.sleep(refused[-1].verdicts[0].retry_after)
        after = await ask(store, charge(limit))

        assert {decision.via for decision in refused} == {"denial_cache"}
        assert asked == 0
        assert 0 < refused[-1].verdicts[0].retry_after <= 0.1
        assert after.is_admitted


async def test_denial_cache_can_be_turned_off(redis: Redis) -> None:
    limits = limits_of({"rate": "1/h", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits, caches_denials=False) as store:
        decisions = [await ask(store, charge(limit)) for _ in range(3)]

        assert [(decision.is_admitted, decision.via) for decision in decisions] == [
            (True, "store"),
            (False, "store"),
            (False, "store"),
        ]


async def test_denials_are_forgotten_with_the_config(redis: Redis) -> None:
    settings = {"rate": "1/h", "name": "per-user"}
    async with store_at(redis.url, limits_of(settings)) as store:
        (limit,) = configure(store, settings)
        await ask(store, charge(limit))
        denied = await ask(store, charge(limit))
        redis.ask("FLUSHALL")
        (limit,) = configure(store, settings)
        reloaded = await ask(store, charge(limit))

        assert denied.via == "denial_cache"
        assert reloaded.is_admitted


async def test_reset_reaches_every_replica(redis: Redis) -> None:
    """Denials of others are forgotten within a beat, of one client or of all."""
    limits = limits_of({"rate": "1/h", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as first, store_at(redis.url, limits) as second:
        names = ["ada", "bob", "cy"]
        for store in (first, first, second):
            await ask_all(store, [[charge(limit, name)] for name in names])
        await first.keys.reset(limit, charge(limit, "ada").key)
        known = second.status()["keys"]["per-user"]
        await until(lambda: second.status()["keys"]["per-user"] == 2, "one denial is forgotten", within=3.0)
        ada, bob = await ask_all(second, [[charge(limit, name)] for name in names[:2]])
        await first.keys.reset(limit, b"")
        await until(lambda: second.status()["keys"]["per-user"] == 0, "all are", within=3.0)
        freed = await ask_all(second, [[charge(limit, name)] for name in names])

        assert known == 3
        assert (ada.is_admitted, bob.is_admitted) == (True, False)
        assert admitted(freed) == 3


async def test_resets_are_heeded_however_many_there_are(shared_redis: Redis) -> None:
    """More than one beat reads: the rest comes with the next."""
    limits = limits_of({"rate": "1/h", "name": "reset-often"})
    (limit,) = limits
    user = Charge(limit.terms, new_user())
    many = PAGES_MAX * NOTES_MAX + NOTES_MAX // 2
    async with store_at(shared_redis.url, limits, prefix="often") as store:
        link, heard_us = store._dispatcher.links[0], store.replicas._heard_us
        for _ in range(2):
            await ask(store, user)
        await until(lambda: time() * 1e6 > heard_us[link.name] + many, "so many may have come since it heard")
        since_us = heard_us[link.name]
        notes = {b"reset-often:%016d" % number: since_us + number for number in range(1, many)}
        with shared_redis.client() as client:
            client.zadd("often:2:{0}:resets", notes | {b"reset-often:" + user.key: since_us + many})
            client.delete(*client.keys("often:*:reset-often:*"))
            heard_us[link.name] = since_us  # whatever it has heard meanwhile
            link.beat_now()
            a_beats = since_us + PAGES_MAX * NOTES_MAX
            await until(
                lambda: heard_us[link.name] >= a_beats, "a beat has read as many as it may", within=5.0
            )
            assert heard_us[link.name] < since_us + many
            assert store._caches.of(limit.terms).known.get(user.key)
            link.beat_now()
            await until(lambda: not store._caches.of(limit.terms).known.get(user.key), "it is forgotten")
            client.delete("often:2:{0}:resets")

        assert (await ask(store, user)).is_admitted


async def test_what_was_reset_in_an_outage_is_not_restored(redis: Redis, relay: Relay) -> None:
    """A replica that was cut off hears of it before it settles; the rest of what it knows is settled."""
    limits = limits_of({"rate": "2/h", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as first, store_at(relay.url, limits) as second:
        await ask_all(second, [[charge(limit, name)] for name in ("ada", "bob")])
        relay.hold()
        with impatient(second):
            while second.is_up:
                await ask_all(second, [[charge(limit, name)] for name in ("ada", "bob")])
        await first.keys.reset(limit, charge(limit, "ada").key)
        relay.release()
        await until(lambda: second.is_up, "it is back", within=5.0)
        ada, bob = await ask_all(first, [[charge(limit, name)] for name in ("ada", "bob")])

        assert [decision.verdicts[0].remaining for decision in (ada, bob)] == [1, 0]


async def test_nothing_is_reset_while_redis_is_down(redis: Redis) -> None:
    limits = limits_of({"rate": "1/h", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        await ask(store, charge(limit))
        redis.kill()
        await ask(store, charge(limit))
        await until(lambda: not store.is_up, "it is noticed")
        with pytest.raises(UnreachableError, match="store.url"):
            await store.keys.reset(limit, b"")

        assert not (await ask(store, charge(limit))).is_admitted


async def test_bucket_that_may_not_be_read_is_told(shared_redis: Redis) -> None:
    """Not as one that is full. Whoever has cut down the user of a store that is up."""
    limits = limits_of({"rate": "1/h", "name": "per-user"})
    (limit,) = limits
    with shared_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "few", "on", ">pw", "allkeys", "+@all")
        async with store_at(f"redis://few:pw@{shared_redis.address}", limits) as store:
            client.execute_command("ACL", "SETUSER", "few", "-get")
            with pytest.raises(UnreachableError, match="does not let the user"):
                await store.keys.debt(limit.terms, new_user())
        client.execute_command("ACL", "DELUSER", "few")


async def test_memory_of_denials_is_bounded(redis: Redis) -> None:
    """Those that are driven out are asked again."""
    limits = limits_of({"rate": "1/h", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits, max_keys=100) as store:
        await ask_all(store, [[charge(limit, n)] for n in range(1000)])

        assert 50 <= store.status()["keys"]["per-user"] <= 100
        assert (await ask(store, charge(limit, 0))).via == "store"
        assert (await ask(store, charge(limit, 999))).via == "denial_cache"


# --- replicas ---


async def test_replicas_are_counted(redis: Redis) -> None:
    """Who comes is known within a beat, who leaves at once."""
    async with store_at(redis.url, limits_of()) as first:
        alone = first.replicas.count
        async with store_at(redis.url, limits_of()) as second:
            assert second.replicas.count == 2
            await until(lambda: first.replicas.count == 2, within=3.0)
        await until(lambda: first.replicas.count == 1, within=8.0)

    assert alone == 1


async def test_replicas_share_one_bucket(redis: Redis) -> None:
    """Four of them admit a burst together, to the token."""
    limits = limits_of({"rate": "100/h", "name": "per-user"})
    (limit,) = limits
    async with AsyncExitStack() as stack:
        stores = [await stack.enter_async_context(store_at(redis.url, limits)) for _ in range(4)]
        groups = await asyncio.gather(*(ask_all(store, [[charge(limit)]] * 40) for store in stores))

        assert sum(admitted(group) for group in groups) == 100


# --- life without Redis ---


async def test_start_without_redis_is_a_start(redis: Redis) -> None:
    """Limits are local, the state says so, and Redis is taken up when it comes."""
    limits = limits_of({"rate": "2/h", "name": "per-user"})
    (limit,) = limits
    redis.stop()
    async with store_at(redis.url, limits) as store:
        decisions = [await ask(store, charge(limit)) for _ in range(3)]
        was_up, status = store.is_up, store.status()
        redis.start()
        await until(lambda: store.is_up, within=2.0)
        late = await ask(store, charge(limit, "late"))

        assert [(decision.is_admitted, decision.via) for decision in decisions] == [
            (True, "local"),
            (True, "local"),
            (False, "local"),
        ]
        assert not was_up
        assert status["up"] is False
        assert "no connection" in str(status["servers"])
        assert late.via == "store"


async def test_what_was_spent_locally_is_charged_on_return(redis: Redis) -> None:
    """Neither twice nor never: also of requests that waited in vain for a Redis that was frozen."""
    limits = limits_of({"rate": "100/h", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        await ask_all(store, [[charge(limit)]] * 10)
        with impatient(store):
            redis.freeze()
            waited = await ask_all(store, [[charge(limit)]] * 5)
            at_once = await ask_all(store, [[charge(limit)]] * 5)
            redis.thaw()
        await until(lambda: store.is_up, within=2.0)
        after = await ask(store, charge(limit))

        assert {decision.via for decision in (*waited, *at_once)} == {"local"}
        assert after.via == "store"
        assert after.verdicts[0].remaining == 100 - 10 - 5 - 5 - 1


async def test_what_redis_forgot_is_restored(redis: Redis) -> None:
    """A restart without persistence gives nobody a new burst."""
    limits = limits_of({"rate": "100/h", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        await ask_all(store, [[charge(limit)]] * 30)
        redis.kill()
        await until(lambda: not store.is_up)
        redis.start()
        await until(lambda: store.is_up, within=2.0)
        after = await ask(store, charge(limit))

        assert after.via == "store"
        assert after.verdicts[0].remaining == 100 - 30 - 1


async def test_many_buckets_are_settled_before_requests_go_to_redis_again(redis: Redis) -> None:
    """More than fit into one round."""
    limits = limits_of({"rate": "10/h", "name": "per-user"})
    (limit,) = limits
    users = range(ROUND_KEYS * 3 + 7)
    async with store_at(redis.url, limits) as store:
        await ask_all(store, [[charge(limit, user)] for user in users])
        redis.kill()
        await until(lambda: not store.is_up)
        await ask_all(store, [[charge(limit, user)] for user in users])
        redis.start()
        await until(lambda: store.is_up, within=2.0)
        after = await ask_all(store, [[charge(limit, user)] for user in users])

        assert {(decision.via, decision.verdicts[0].remaining) for decision in after} == {("store", 7)}


async def test_replicas_divide_the_limit_in_an_outage(redis: Redis) -> None:
    """Two of them admit a burst together, no more; and what both spent counts when Redis is back."""
    limits = limits_of({"rate": "100/h", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as first, store_at(redis.url, limits) as second:
        await until(lambda: first.replicas.count == 2, within=3.0)
        redis.kill()
        await until(lambda: not first.is_up and not second.is_up)
        greedy = [
            admitted(await ask_all(store, [[charge(limit, "greedy")]] * 80)) for store in (first, second)
        ]
        for store in (first, second):
            await ask_all(store, [[charge(limit, "modest")]] * 5)
        redis.start()
        await until(lambda: first.is_up and second.is_up, within=2.0)
        modest = await ask(first, charge(limit, "modest"))

        assert greedy == [50, 50]
        assert modest.verdicts[0].remaining == 100 - 5 - 5 - 1


async def test_reload_in_an_outage_keeps_what_was_spent(redis: Redis) -> None:
    settings = {"rate": "10/h", "name": "per-user"}
    async with store_at(redis.url, limits_of(settings)) as store:
        (limit,) = configure(store, settings)
        redis.kill()
        await until(lambda: not store.is_up)
        await ask_all(store, [[charge(limit)]] * 7)
        (limit,) = configure(store, settings)
        left = await ask(store, charge(limit))

        assert left.verdicts[0].remaining == 2


@pytest.mark.parametrize(("mode", "is_admitted", "fault"), [("allow", True, None), ("deny", False, 503)])
async def test_limit_may_allow_or_deny_while_redis_is_down(
    redis: Redis, mode: str, is_admitted: bool, fault: int
) -> None:
    """A shadow limit that would deny does not."""
    limits = limits_of(
        {"rate": "1/h", "name": "per-user", "on_store_error": mode},
        {"rate": "1/h", "name": "shadow", "on_store_error": "deny", "mode": "shadow"},
    )
    limit, shadow = limits
    redis.kill()
    async with store_at(redis.url, limits) as store:
        decisions = await ask_all(store, [[charge(limit)]] * 5 + [[charge(shadow)]])

        assert [decision.is_admitted for decision in decisions] == [is_admitted] * 5 + [True]
        assert fault is None or {decision.fault.status for decision in decisions[:5]} == {fault}
        assert {decision.via for decision in decisions} == {"local"}
        assert {fields(decision, "draft10") for decision in decisions} == {b""}
        for decision in decisions[:5]:
            assert is_admitted or refusal(decision, "draft10") == (b"Retry-After: 1\r\n", ())


async def test_refusal_of_a_replicas_share_tells_when_the_share_has_a_token(redis: Redis) -> None:
    """With two replicas a token takes twice as long, and the answer says so."""
    limits = limits_of({"rate": "6/m", "name": "per-user"})
    (limit,) = limits
    async with store_at(redis.url, limits) as one, store_at(redis.url, limits) as other:
        await until(lambda: one.replicas.count == other.replicas.count == 2, within=3.0)
        redis.kill()
        await until(lambda: not one.is_up)
        decisions = await ask_all(one, [[charge(limit)]] * 4)

        assert admitted(decisions) == 3
        assert b"Retry-After: 20\r\n" in refusal(decisions[-1], "draft10")[0]


def configure(store: RedisStore, *settings: dict[str, object]) -> Limits:
    limits = limits_of(*settings)
    store.configure(limits)
    return limits


def commands(redis: Redis, name: str) -> int:
    return redis.client().info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"]
