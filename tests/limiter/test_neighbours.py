"""One Redis that is not Weir's alone: other services, other configs of the same one, and whoever writes into its keys."""

from __future__ import annotations

import asyncio
import logging
from time import monotonic
from typing import TYPE_CHECKING, Any

import pytest

from proxy.config.units import parse_rate
from proxy.limiter.overrides import Override
from proxy.limiter.records import Names, shard_of
from proxy.limiter.trouble import TroubleError
from tests.limiter.asking import admitted, ask, ask_all, charge, impatient, limits_of, store_at
from tests.support.patience import own_time, until

if TYPE_CHECKING:
    from tests.support.redis_servers import Redis

pytestmark = pytest.mark.unmeasured

NAMES = Names("weir")
LIMITS = limits_of({"name": "per-user", "rate": "5/h"})
(LIMIT,) = LIMITS


def name_of(user: str) -> bytes:
    key = charge(LIMIT, user).key
    return NAMES.bucket("per-user", shard_of(key), key)


# --- other services ---


@pytest.mark.waits("a beat, in which nothing may come over")
async def test_services_with_other_prefixes_share_nothing(redis: Redis) -> None:
    """Neither buckets nor replica counts nor what is reset, whatever their limits are called."""
    async with (
        store_at(redis.url, LIMITS, prefix="orders") as orders,
        store_at(redis.url, LIMITS, prefix="orders.eu") as other,
    ):
        spent = await ask_all(orders, [[charge(LIMIT)]] * 6)
        theirs = await ask_all(other, [[charge(LIMIT)]] * 6)
        count = await other.keys.reset(LIMIT, b"")
        await asyncio.sleep(1.2)  # a beat, in which the notes of resets are told

        assert (admitted(spent), admitted(theirs), count) == (5, 5, 1)
        assert orders.replicas.count == other.replicas.count == 1
        assert not (await ask(orders, charge(LIMIT))).is_admitted
        assert (await ask(other, charge(LIMIT))).is_admitted
    left = {name.split(b":")[0] for name in redis.client().keys("*")}
    assert left == {b"orders", b"orders.eu"}


@pytest.mark.waits("a beat, in which nothing may come over")
async def test_nothing_that_is_kept_beside_buckets_crosses_a_prefix(redis: Redis) -> None:
    """What is granted and blocked, who is proven, who holds a slot: by one, and by nobody of the other."""
    limits = limits_of(
        {"name": "per-user", "key": ["header:X-A"], "rate": "5/h", "unproven": {"rate": "9/s"}},
        {"name": "at-once", "concurrency": 1},
    )
    per_user, at_once = limits
    blocked, granted, proven = (charge(per_user, user).key for user in ("ada", "bob", "carol"))
    async with (
        store_at(redis.url, limits, prefix="a.b") as one,
        store_at(redis.url, limits, prefix="a_b") as other,
        store_at(redis.url, limits, prefix="a.b") as same,
    ):
        await one.keys.put_override(("per-user", blocked), Override(0), 3600.0)
        await one.keys.put_override(("per-user", granted), Override(0, parse_rate("60/s"), 60), 3600.0)
        one.proven.add(proven)
        assert (await ask(one, charge(at_once))).is_admitted
        await until(lambda: proven in same.proven, "told", within=3.0)
        await until(lambda: same.keys.override(("per-user", blocked)) is not None, "told", within=3.0)
        await asyncio.sleep(1.2)  # a beat of the other
        names = {b":".join(name.split(b":")[3:])[:9] for name in redis.client().keys("a.b:*")}

        assert same.keys.override(("per-user", granted)) is not None
        assert not (await ask(same, charge(at_once))).is_admitted
        assert proven not in other.proven
        assert [other.keys.override(("per-user", key)) for key in (blocked, granted)] == [None, None]
        assert (await ask(other, charge(at_once))).is_admitted
    assert names == {b"replicas", b"overrides", b"proven", b"at-once/s"}
    assert {name.split(b":")[0] for name in redis.client().keys("*")} <= {b"a.b", b"a_b"}


async def test_services_with_the_same_prefix_share_all(redis: Redis) -> None:
    async with (
        store_at(redis.url, LIMITS, prefix="both") as one,
        store_at(redis.url, LIMITS, prefix="both") as other,
    ):
        both = [await ask(store, charge(LIMIT)) for store in (one, other)]

        assert [decision.verdicts[0].remaining for decision in both] == [4, 3]
        assert other.replicas.count == 2


# --- another config of the same service ---

SMALL = {"name": "shared", "rate": "10/h", "burst": 10}
LARGE = {"name": "shared", "rate": "100/h", "burst": 100}


async def test_two_configs_admit_no_more_than_the_larger_of_both(redis: Redis) -> None:
    """As long as replicas of both live; the smaller one wipes no debts."""
    small, large = limits_of(SMALL), limits_of(LARGE)
    async with store_at(redis.url, large) as new, store_at(redis.url, small) as old:
        passed = 0
        for _ in range(4):
            for store, limits in ((old, small), (new, large)):
                (limit,) = limits
                passed += admitted(await ask_all(store, [[charge(limit)]] * 30))

        assert passed == 100
        assert not old.replicas.are_alike


async def test_larger_limit_that_begins_beside_a_smaller_one_is_not_wiped(redis: Redis) -> None:
    """Nor before the smaller one has heard of it, which takes it until its next beat."""
    small = limits_of({"name": "shared", "rate": "4/s", "burst": 4})
    large = limits_of({"name": "shared", "rate": "4/s", "burst": 400})
    async with store_at(redis.url, small, caches_denials=False) as old:
        (limit,) = small
        begun = monotonic()
        async with store_at(redis.url, large, caches_denials=False) as new:
            (wide,) = large
            passed = admitted(await ask_all(new, [[charge(wide)]] * 400))
            unheard = 0
            while old.replicas.are_alike:
                unheard += 1
                passed += (await ask(old, charge(limit))).is_admitted
                passed += admitted(await ask_all(new, [[charge(wide)]] * 20))
                await asyncio.sleep(0.05)
            passed += admitted(await ask_all(new, [[charge(wide)]] * 400))

    assert unheard
    assert 400 <= passed <= 400 + 4 * (monotonic() - begun) + 1


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"rate": "5/d"}, {"rate": "50/s"}),
        ({"rate": "1000/h", "burst": 1000}, {"rate": "20/s"}),
        ({"rate": "1/d"}, {"rate": "1/d", "burst": 3}),
    ],
    ids=["rate", "rate, and a smaller burst", "burst"],
)
async def test_raised_limit_helps_within_two_seconds(
    redis: Redis, before: dict[str, Any], after: dict[str, Any]
) -> None:
    """Who had spent all of the old one; counted from the moment at which the last replica has the new one."""
    old, new = limits_of({"name": "shared", **before}), limits_of({"name": "shared", **after})
    (limit,), (raised,) = old, new
    # A thousand charges in one tick are Redis's however busy the machine is.
    async with store_at(redis.url, old, timeout=5.0) as one, store_at(redis.url, old, timeout=5.0) as other:
        await ask_all(one, [[charge(limit)]] * limit.terms.burst)
        refused = await ask(other, charge(limit))
        one.configure(new)
        await asyncio.sleep(0.1)
        other.configure(new)
        begun = own_time()
        for store in (one, other):
            while not (await ask(store, charge(raised))).is_admitted:
                await asyncio.sleep(0.05)

        assert not refused.is_admitted
        assert own_time() - begun < 2.0


async def test_replica_that_reloads_is_counted_once(redis: Redis) -> None:
    async with store_at(redis.url, limits_of(SMALL)) as one, store_at(redis.url, limits_of(SMALL)) as other:
        await until(lambda: one.replicas.count == other.replicas.count == 2, "both know of each other")
        alike = one.replicas.are_alike, other.replicas.are_alike
        one.configure(limits_of(LARGE))
        await until(lambda: not other.replicas.are_alike, "the other has heard of it", within=3.0)
        counts = one.replicas.count, other.replicas.count
        other.configure(limits_of(LARGE))
        await until(lambda: one.replicas.are_alike and other.replicas.are_alike, within=3.0)

        assert alike == (True, True)
        assert counts == (2, 2)
        assert (one.replicas.count, other.replicas.count) == (2, 2)


async def test_replica_that_leaves_as_it_would_say_that_it_lives_is_counted_no_more(redis: Redis) -> None:
    """Else the others would share their limits with it for five seconds, and take its config for a second one."""
    async with store_at(redis.url, limits_of()) as store:
        for link in store._dispatcher.links:
            link.beat_now()

    assert redis.ask("ZCARD", NAMES.replicas(0)) == 0


async def test_reload_that_changes_no_limit_leaves_all_alike(redis: Redis) -> None:
    async with store_at(redis.url, limits_of(SMALL)) as one, store_at(redis.url, limits_of(SMALL)) as other:
        one.configure(limits_of(SMALL | {"on_store_error": "deny"}))

        assert one.replicas.are_alike
        assert other.replicas.are_alike


# --- who writes into its keys ---

FOREIGN = {
    "text": ("SET", "hello"),
    "text of the right length": ("SET", b"\xff" * 28),
    "zeros of the right length": ("SET", b"\0" * 28),
    "a bucket of an older format": ("SET", b"\0" * 12),
    "nothing": ("SET", ""),
    "a megabyte": ("SET", "x" * 1024 * 1024),
    "a list": ("RPUSH", "x"),
    "a set": ("SADD", "x"),
    "a sorted set": ("ZADD", 1, "x"),
    "a hash": ("HSET", "x", "y"),
    "a stream": ("XADD", "*", "x", "y"),
}


@pytest.mark.measured
@pytest.mark.parametrize("kind", FOREIGN)
async def test_key_that_holds_something_else_counts_as_absent(
    kind: str, redis: Redis, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted and said once, the store stays up, and the next request finds a bucket."""
    caplog.set_level(logging.INFO, "weir")
    command, *values = FOREIGN[kind]
    for user in ("ada", "bob"):
        redis.ask(command, name_of(user), *values)
    async with store_at(redis.url, LIMITS) as store:
        decisions = [await ask(store, charge(LIMIT, user)) for user in ("ada", "ada", "bob")]

        assert [decision.verdicts[0].remaining for decision in decisions] == [4, 3, 4]
        assert {decision.via for decision in decisions} == {"store"}
        assert store.figures.errors == {"foreign_key": 2}
        assert store.is_up
    assert caplog.text.count("keys of the store hold something else") == 1


@pytest.mark.measured
@pytest.mark.parametrize("kind", [kind for kind in FOREIGN if kind != "a megabyte"])
async def test_operator_who_looks_finds_it_full(kind: str, redis: Redis) -> None:
    command, *values = FOREIGN[kind]
    redis.ask(command, name_of("ada"), *values)
    async with store_at(redis.url, LIMITS) as store:
        assert await store.keys.debt(LIMIT.terms, charge(LIMIT, "ada").key) == 0
        assert store.is_up


@pytest.mark.parametrize("kind", FOREIGN)
async def test_it_may_also_be_given_back_emptied_settled_and_reset(kind: str, redis: Redis) -> None:
    limits = limits_of({"name": "per-user", "rate": "5/h", "cost_304": 0, "on_upstream_429": "drain"})
    (limit,) = limits
    command, *values = FOREIGN[kind]
    users = ["given back", "emptied", "settled", "reset"]
    async with store_at(redis.url, limits) as store:
        await ask_all(store, [[charge(limit, user)] for user in users])
        with impatient(store):
            redis.freeze()
            await ask_all(store, [[charge(limit, "settled")]])
            redis.thaw()
        for user in users:
            redis.ask("DEL", name_of(user))
            redis.ask(command, name_of(user), *values)
        await until(lambda: store.is_up, within=3.0)
        store.give_back([charge(limit, "given back")])
        store.empty([(charge(limit, "emptied"), limit.terms.burst_units)])
        await store.keys.reset(limit, charge(limit, "reset").key)
        left = [(await ask(store, charge(limit, user))).verdicts[0].remaining for user in users]

        assert left == [4, 0, 2, 4]
        assert store.is_up


@pytest.mark.parametrize("kind", [kind for kind in FOREIGN if kind != "a sorted set"])
@pytest.mark.parametrize("which", ["replicas", "resets"])
async def test_set_that_is_none_is_in_nobodys_way(which: str, kind: str, redis: Redis) -> None:
    command, *values = FOREIGN[kind]
    redis.ask(command, getattr(NAMES, which)(0), *values)
    async with store_at(redis.url, LIMITS) as store:
        before = (await ask(store, charge(LIMIT))).via
        redis.ask("DEL", getattr(NAMES, which)(0))
        redis.ask(command, getattr(NAMES, which)(0), *values)
        count = await store.keys.reset(LIMIT, b"")

        assert (before, count) == ("store", 1)
        assert store.is_up
        assert store.replicas.count == 1


MEMBERS = {
    "no note": [b"junk"],
    "a note of no limit": [b":", b":" + bytes(16)],
    "another language": ["für".encode() + b":" + bytes(16)],
    "no text": [bytes(range(256))],
    "a key that is too short": [b"per-user:abc"],
    "a megabyte": [b"per-user:" + b"x" * 1024 * 1024],
    "ten thousand": [b"%d" % number for number in range(10_000)],
}


@pytest.mark.parametrize("kind", MEMBERS)
async def test_junk_among_the_notes_is_passed_over(kind: str, redis: Redis) -> None:
    """And a note of ours behind it is read."""
    async with store_at(redis.url, LIMITS) as one, store_at(redis.url, LIMITS) as other:
        await ask_all(one, [[charge(LIMIT)]] * 6)
        await ask_all(other, [[charge(LIMIT)]])
        now_us = int(redis.client().time()[0]) * 1_000_000
        redis.client().zadd(NAMES.resets(0), dict.fromkeys(MEMBERS[kind], now_us))
        await one.keys.reset(LIMIT, charge(LIMIT).key)

        async def forgotten() -> bool:
            return (await ask(other, charge(LIMIT))).is_admitted

        deadline = asyncio.get_running_loop().time() + 4.0
        while not await forgotten():
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0.05)
        assert one.is_up
        assert other.is_up
        assert other.status()["up"] is True


@pytest.mark.parametrize("count", [1, 20_000])
async def test_strangers_among_the_replicas_are_bounded(count: int, redis: Redis) -> None:
    """They make the share of an outage smaller, not the store go down; they are gone after a while."""
    async with store_at(redis.url, LIMITS) as store:
        now = int(redis.client().time()[0]) * 1_000_000
        redis.client().zadd(NAMES.replicas(0), {b"stranger %d" % number: now for number in range(count)})
        await until(lambda: store.replicas.count > 1, within=3.0)

        assert store.is_up
        assert store.replicas.count == min(count + 1, 10_000)
        assert not store.replicas.are_alike
        await until(lambda: store.replicas.count == 1 and store.replicas.are_alike, within=12.0)


SCORES = {
    "endless": "inf",
    "gone for ever": "-inf",
    "beyond all": 2.0**63,
    "a part": 0.5,
    "before all": -1,
    "later": 1e15,
}


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("which", ["replicas", "resets", "proven", "overrides"])
async def test_moment_that_none_can_have_is_in_nobodys_way(which: str, score: str, redis: Redis) -> None:
    """A thousand members that look like ours; beats go on, before and after a new connection."""
    settings = {
        "name": "per-user",
        "rate": "9/h",
        "key": ["header:X-Auth-Token"],
        "unproven": {"rate": "9/h"},
    }
    limits = limits_of(settings)
    words = {"proven": b"", "overrides": b"block"}.get(which)
    members = [
        (b"per-user:" if which != "proven" else b"") + number.to_bytes(16, "big") + (words or b"")
        for number in range(1000)
    ]
    moment = redis.client().time()[0] * 1e6 + 1e15 if score == "later" else SCORES[score]
    async with store_at(redis.url, limits) as store:
        redis.client().zadd(getattr(NAMES, which)(0), dict.fromkeys(members, moment))
        for _ in range(2):
            store.replicas._heard_us.clear()
            store._dispatcher.links[0].beat_now()
            await until(lambda: store.replicas._heard_us, within=3.0)
        store._dispatcher.links[0].fail(TroubleError("timeout", "a blink"))
        await until(lambda: store.is_up, within=3.0)
        decision = await ask(store, charge(next(iter(limits)), "neighbour"))

        assert decision.via == "store"
        assert {reason for reason in store.figures.errors if reason != "timeout"} <= {"connection"}
