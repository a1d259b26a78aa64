"""Limits on concurrency in every store: never more under way than slots, and each slot comes back exactly once."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from time import process_time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.limiter.batch import SCRIPT
from proxy.limiter.held import HeldSlots
from proxy.limiter.keeping import ROUND_SLOTS, Keeping, Telltale
from proxy.limiter.memory import MemoryStore
from proxy.limiter.outage import Outage
from proxy.limiter.overrides import Override
from proxy.limiter.records import RENEW, SLOT_LIFE_US, VACATE, Names, slot_record
from proxy.limiter.trouble import TroubleError
from proxy.policy.decision import Charge
from proxy.policy.fields import fields, refusal
from proxy.policy.slots import Slot, slots_of
from tests.limiter.asking import admitted, ask, ask_all, impatient, limits_of, no_slots, store_at
from tests.limiter.contract import new_user
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from proxy.limiter.store import Store
    from proxy.policy.decision import Decision
    from proxy.policy.limits import Limits
    from tests.support.redis_servers import Redis

AT_ONCE = {"name": "at-once", "concurrency": 2}
PER_DAY = {"name": "per-day", "rate": "3/d"}


@pytest.fixture(
    params=["memory", *(pytest.param(name, marks=pytest.mark.real) for name in ("redis", "cluster"))]
)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with AT[request.param](request) as store:
        yield store


@asynccontextmanager
async def _in_memory(_: pytest.FixtureRequest) -> AsyncIterator[Store]:
    yield MemoryStore()


@asynccontextmanager
async def _in_redis(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    redis: Redis = request.getfixturevalue("shared_redis")
    async with store_at(redis.url, limits_of()) as store:
        yield store


@asynccontextmanager
async def _in_cluster(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    nodes: list[Redis] = request.getfixturevalue("nodes")
    url = "redis+cluster://" + ",".join(node.address for node in nodes)
    async with store_at(url, limits_of()) as store:
        yield store


AT = {"memory": _in_memory, "redis": _in_redis, "cluster": _in_cluster}


def configured(store: Store, *each: dict) -> Limits:
    limits = limits_of(*each)
    store.configure(limits)
    return limits


async def end(store: Store, decision: Decision) -> None:
    """Its request does; returns when the store knows."""
    store.vacate(slots_of(decision))
    await asyncio.sleep(0)


# --- one limit ---


async def test_as_many_are_under_way_as_there_are_slots(store: Store) -> None:
    """Whoever asks at the same moment; one that ends lets one in."""
    (limit,) = configured(store, AT_ONCE)
    user = new_user()
    decisions = await ask_all(store, [[Charge(limit.terms, user)] for _ in range(4)])
    first, second, *refused = decisions
    await end(store, first)
    next_one = await ask(store, Charge(limit.terms, user))
    too_many = await ask(store, Charge(limit.terms, user))

    assert [decision.is_admitted for decision in decisions] == [True, True, False, False]
    assert [decision.verdicts[0].remaining for decision in decisions] == [1, 0, 0, 0]
    assert next_one.is_admitted
    assert not too_many.is_admitted
    assert not any(slots_of(decision) for decision in refused)
    assert store.held.by_limit == {"at-once": 2}
    assert await store.keys.under_way(limit, user) == 2
    for decision in (second, next_one):
        await end(store, decision)
    assert await store.keys.under_way(limit, user) == 0
    assert not store.held.slots


async def test_slot_comes_back_once(store: Store) -> None:
    """Whoever gives it back twice gives nothing the second time."""
    (limit,) = configured(store, AT_ONCE)
    user = new_user()
    one, other = await ask_all(store, [[Charge(limit.terms, user)] for _ in range(2)])
    slots = slots_of(one)
    store.vacate(slots)
    store.vacate(slots)

    assert admitted(await ask_all(store, [[Charge(limit.terms, user)] for _ in range(2)])) == 1
    assert slots_of(one) == []
    await end(store, other)


async def test_users_have_slots_of_their_own(store: Store) -> None:
    (limit,) = configured(store, AT_ONCE)
    for user in (new_user(), new_user()):
        assert admitted(await ask_all(store, [[Charge(limit.terms, user)] for _ in range(3)])) == 2


async def test_shadow_counts_and_lets_pass(store: Store) -> None:
    """What it would have refused holds nothing: those would not be under way."""
    (limit,) = configured(store, AT_ONCE | {"mode": "shadow"})
    user = new_user()
    decisions = await ask_all(store, [[Charge(limit.terms, user)] for _ in range(3)])

    assert admitted(decisions) == 3
    assert [decision.verdicts[0].is_admitted for decision in decisions] == [True, True, False]
    assert await store.keys.under_way(limit, user) == 2


async def test_block_refuses_and_release_lets_in(store: Store) -> None:
    """With what is left of it to wait; slots that are held stay so."""
    (limit,) = configured(store, AT_ONCE)
    user = new_user()
    held = await ask(store, Charge(limit.terms, user))
    await store.keys.put_override((limit.name, user), Override(0), 60.0)
    blocked = await ask(store, Charge(limit.terms, user))
    await store.keys.release((limit.name, user))
    again = await ask(store, Charge(limit.terms, user))

    assert held.is_admitted
    assert (blocked.is_admitted, blocked.via) == (False, "block")
    assert b"Retry-After: 60\r\n" in refusal(blocked, "draft10")[0]
    assert again.is_admitted
    assert await store.keys.under_way(limit, user) == 2


# --- several limits ---


async def test_all_or_nothing_with_rates(store: Store) -> None:
    """What a full limit refuses takes no token; what an empty bucket refuses holds no slot."""
    at_once, per_day = configured(store, AT_ONCE, PER_DAY)
    user = new_user()
    charges = [Charge(at_once.terms, user), Charge(per_day.terms, user)]
    decisions = [await ask(store, *charges) for _ in range(3)]
    assert [decision.is_admitted for decision in decisions] == [True, True, False]
    await end(store, decisions[0])
    third, fourth = await ask(store, *charges), await ask(store, *charges)
    assert (third.is_admitted, fourth.is_admitted) == (True, False)
    await end(store, decisions[1])
    fifth = await ask(store, *charges)

    assert not fifth.is_admitted, "the day's tokens are spent"
    assert await store.keys.under_way(at_once, user) == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["take", "take", "take", "end", "reload"]), st.integers(0, 7), st.integers(0, 30)
    ),
    max_size=40,
)


class SlotModel:
    """How one would write it down: tokens that never come back, and a set of requests under way."""

    def __init__(self, each: list[dict]) -> None:
        self._most = {
            one["name"]: one.get("concurrency") or int(one["rate"].partition("/")[0]) for one in each
        }
        self._holds = {one["name"]: "concurrency" in one for one in each}
        self._shadows = {one["name"]: one.get("mode") == "shadow" for one in each}
        self.used: dict[tuple[str, bytes], int] = {}

    def take(self, charges: list[Charge]) -> tuple[bool, list[tuple[bool, int]], list[tuple[str, bytes]]]:
        """Whether it is admitted; of each charge whether it fits and what is left; what it holds."""
        places = [(charge.terms.name, charge.key) for charge in charges]
        fits = [self.used.get(place, 0) < self._most[place[0]] for place in places]
        is_admitted = all(fit or self._shadows[name] for fit, (name, _) in zip(fits, places, strict=True))
        held = []
        for fit, place in zip(fits, places, strict=True):
            if is_admitted and fit:
                self.used[place] = self.used.get(place, 0) + 1
                if self._holds[place[0]]:
                    held.append(place)
        left = [self._most[name] - self.used.get((name, key), 0) for name, key in places]
        return is_admitted, list(zip(fits, left, strict=True)), held


@pytest.mark.parametrize("is_shadow", [False, True])
@given(steps=STEPS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_history_agrees_with_the_model(store: Store, steps: list, *, is_shadow: bool) -> None:
    """Takes of several limits, ends in any order, and reloads in between that take a limit away and bring it back."""
    each = [AT_ONCE, PER_DAY, {"name": "wide", "concurrency": 3}]
    if is_shadow:
        each[2]["mode"] = "shadow"
    limits = list(configured(store, *each))
    users = [new_user(), new_user()]
    model = SlotModel(each)
    running: list[tuple[Decision, list[tuple[str, bytes]]]] = []
    for word, which, number in steps:
        if word == "take":
            wanted = [limit for at, limit in enumerate(limits) if which & 1 << at] or [limits[0]]
            charges = [Charge(limit.terms, users[number % 2]) for limit in wanted]
            decision = await ask(store, *charges)
            is_admitted, told, held = model.take(charges)
            assert decision.is_admitted == is_admitted
            if decision.via == "store":
                assert [(verdict.is_admitted, verdict.remaining) for verdict in decision.verdicts] == told
            if is_admitted:
                running.append((decision, held))
        elif word == "end" and running:
            decision, held = running.pop(number % len(running))
            await end(store, decision)
            for place in held:
                model.used[place] -= 1
        elif word == "reload":
            configured(store, *each[1:])
            limits = list(configured(store, *each))
    for decision, _ in running:
        await end(store, decision)

    assert not store.held.slots
    for limit in (limits[0], limits[2]):
        for user in users:
            assert await store.keys.under_way(limit, user) == 0


# --- what is told ---


async def test_client_is_told_what_remains(store: Store) -> None:
    """A quota of another unit, and no time: nobody knows when a request ends."""
    (limit,) = configured(store, AT_ONCE)
    user = new_user()
    first, second, third = [await ask(store, Charge(limit.terms, user)) for _ in range(3)]

    policy = b'RateLimit-Policy: "at-once";q=2;qu="concurrent-requests"\r\n'
    assert fields(first, "draft10") == policy + b'RateLimit: "at-once";r=1\r\n'
    assert fields(second, "draft10") == policy + b'RateLimit: "at-once";r=0\r\n'
    told = policy + b'RateLimit: "at-once";r=0\r\nRetry-After: 1\r\n'
    assert refusal(third, "draft10") == (told, ("at-once",))


# --- replicas on one Redis ---


async def test_replicas_share_the_slots(shared_redis: Redis) -> None:
    """Exactly so many among them all, whoever asks."""
    limits = limits_of(AT_ONCE | {"concurrency": 20})
    (limit,) = limits
    user = new_user()
    async with store_at(shared_redis.url, limits) as one, store_at(shared_redis.url, limits) as other:
        requests = [[Charge(limit.terms, user)] for _ in range(30)]
        mine, theirs = await asyncio.gather(ask_all(one, requests), ask_all(other, requests))
        assert admitted(mine) + admitted(theirs) == 20
        for decision in mine:
            one.vacate(slots_of(decision))
        await asyncio.sleep(0)
        assert await one.keys.under_way(limit, user) == admitted(theirs)
        assert admitted(await ask_all(other, requests)) == admitted(mine)


async def test_replica_that_says_goodbye_leaves_nothing(shared_redis: Redis) -> None:
    """At once, also of requests that were cut off in the very tick before."""
    limits = limits_of(AT_ONCE)
    (limit,) = limits
    user = new_user()
    async with store_at(shared_redis.url, limits) as stays:
        async with store_at(shared_redis.url, limits) as leaves:
            one, _ = await ask_all(leaves, [[Charge(limit.terms, user)] for _ in range(2)])
            assert await stays.keys.under_way(limit, user) == 2
            leaves.vacate(slots_of(one))

        assert await stays.keys.under_way(limit, user) == 0


async def test_slots_are_in_redis_again_after_it_lost_them(redis: Redis) -> None:
    """With the next beats, while it answers; at once, if it was away."""
    limits = limits_of(AT_ONCE)
    (limit,) = limits
    user = new_user()
    async with store_at(redis.url, limits) as one, store_at(redis.url, limits) as other:
        held = await ask(one, Charge(limit.terms, user))
        redis.client().flushall()
        await until(lambda: _holders(redis) == 1, within=8.0)
        redis.stop()
        await until(lambda: not one.is_up and not other.is_up, within=8.0)
        redis.start()
        await until(lambda: one.is_up and other.is_up, within=8.0)
        assert await other.keys.under_way(limit, user) == 1
        assert admitted(await ask_all(other, [[Charge(limit.terms, user)] for _ in range(2)])) == 1
        await end(one, held)
        assert await other.keys.under_way(limit, user) == 1


async def test_what_ended_without_redis_it_hears_of_when_it_is_back(redis: Redis) -> None:
    """At once: long before it would forget by itself. So it does of a request whose answer it never gave."""
    limits = limits_of(AT_ONCE)
    (limit,) = limits
    user = new_user()
    async with store_at(redis.url, limits) as store:
        held = await ask(store, Charge(limit.terms, user))
        with impatient(store):
            redis.freeze()
            local = await ask(store, Charge(limit.terms, user))
            assert (local.is_admitted, local.via) == (True, "local")
            await until(lambda: not store.is_up, within=8.0)
            for decision in (held, local):
                store.vacate(slots_of(decision))
            redis.thaw()
        await until(lambda: store.is_up, within=8.0)
        await until(lambda: _holders(redis) == 0, within=3.0)


@pytest.mark.parametrize("count", [1, 300], ids=["in the last round", "in a round before"])
async def test_what_ended_is_owed_until_redis_has_heard_it(redis: Redis, count: int) -> None:
    """Also when a link that has just opened breaks with it: at the next one Redis hears of it, and not 12 s later."""
    limits = limits_of(AT_ONCE | {"concurrency": 1000})
    (limit,) = limits
    charges = [Charge(limit.terms, new_user())]
    client: Any = redis.client()
    async with store_at(redis.url, limits) as store:
        decisions = await ask_all(store, [charges] * count)
        assert _holders(redis) == count
        others = ["replicas", "resets", "proven", "overrides", "rehearsal"]
        client.execute_command(
            "ACL", "SETUSER", "default", "resetkeys", *(f"~weir:*:{name}" for name in others)
        )
        for decision in decisions:
            store.vacate(slots_of(decision))
        await until(lambda: sum(each["count"] for each in client.acl_log()) > 1, "it did not hear it twice")
        client.execute_command("ACL", "SETUSER", "default", "allkeys")
        await until(lambda: _holders(redis) == 0, within=3.0)


def test_slots_that_are_owed_cost_the_same_however_many_there_are() -> None:
    """Ten thousand requests may end while Redis is away; what it has forgotten by itself is dropped, the oldest first."""
    (limit,) = limits_of(AT_ONCE)
    keeping = no_slots()
    slots = [Slot(Charge(limit.terms, new_user()), number) for number in range(20_000)]
    begun = process_time()
    for now_us, slot in enumerate(slots):
        keeping.owe(slot, now_us)
    seconds = process_time() - begun
    keeping.owe(slots[0], SLOT_LIFE_US)
    keeping.owe(slots[-1], SLOT_LIFE_US + len(slots) - 2)

    assert seconds < 1.0
    assert list(keeping.owed) == [slots[-2], slots[0], slots[-1]]


def test_renewal_that_redis_has_heard_pays_for_no_end() -> None:
    """The request has ended while the answer was on its way."""
    (limit,) = limits_of(AT_ONCE)
    keeping = no_slots()
    slot = Slot(Charge(limit.terms, new_user()), 1)
    keeping.owe(slot, 1)
    keeping.paid([(RENEW, slot)])
    owed = list(keeping.owed)
    keeping.paid([(VACATE, slot)])

    assert owed == [slot]
    assert not keeping.owed


def test_renewal_that_redis_has_not_heard_comes_with_the_next_beat() -> None:
    """The link was up again, and its connection too slow for what had been held for it."""
    (limit,) = limits_of(AT_ONCE)
    keeping = no_slots()
    slot = keeping.held.take(Charge(limit.terms, new_user()))
    slot.told_us = 9
    link: Any = SimpleNamespace(shards=range(16), mask=0)
    Telltale(keeping, RENEW, slot).without_redis([slot.charge], Outage(10, 1))

    assert keeping._due(link, 5) == [(RENEW, slot)]


async def test_beat_tells_what_is_owed_in_rounds() -> None:
    """What Redis has heard of before its round comes is not told again."""
    (limit,) = limits_of(AT_ONCE)
    told: list[bytes] = []
    keeping = Keeping(HeldSlots(), Names("weir"), 1, SCRIPT, lambda word, _: told.append(word.record))
    slots = [Slot(Charge(limit.terms, bytes(16)), number) for number in range(ROUND_SLOTS + 9)]
    for slot in slots:
        keeping.owe(slot, 1)
    link: Any = SimpleNamespace(shards=range(16), mask=0, now=lambda: 2.0)
    beat = asyncio.create_task(keeping.renew(link))
    await asyncio.sleep(0)
    keeping.paid([(VACATE, slot) for slot in slots[-5:]])
    await beat

    assert told == [slot_record(VACATE, keeping.holder(slot)) for slot in slots[:-5]]
    assert not keeping.owed


async def test_link_that_opens_tells_of_all_slots_however_many(shared_redis: Redis) -> None:
    """More than go into one call: Redis has lost them meanwhile."""
    limits = limits_of(AT_ONCE | {"concurrency": 1000})
    (limit,) = limits
    user = new_user()
    async with store_at(shared_redis.url, limits) as store:
        held = await ask_all(store, [[Charge(limit.terms, user)]] * (2 * ROUND_SLOTS + 1))
        await until(lambda: store._dispatcher.links[0].is_idle)
        (key,) = [key for key in shared_redis.client().keys("*/slots:*") if key.endswith(user)]
        shared_redis.client().delete(key)
        store._dispatcher.links[0].fail(TroubleError("test", "once more"))
        await until(lambda: store.is_up, within=5.0)
        count = await store.keys.under_way(limit, user)
        for decision in held:
            store.vacate(slots_of(decision))

        assert count == 2 * ROUND_SLOTS + 1


def _holders(redis: Redis) -> int:
    client = redis.client()
    return sum(client.zcard(key) for key in client.keys("*/slots:*"))


async def test_without_redis_each_replica_has_its_share(redis: Redis) -> None:
    """What it holds already counts; back with Redis, all that are under way are known there."""
    limits = limits_of({"name": "at-once", "concurrency": 6})
    (limit,) = limits
    user = new_user()
    charges = [Charge(limit.terms, user)]
    async with store_at(redis.url, limits) as one, store_at(redis.url, limits) as other:
        await until(lambda: (one.replicas.count, other.replicas.count) == (2, 2), within=5.0)
        held = await ask(one, *charges)
        redis.stop()
        await until(lambda: not one.is_up and not other.is_up, within=5.0)
        mine = await ask_all(one, [charges] * 5)
        theirs = await ask_all(other, [charges] * 5)
        assert (admitted(mine), admitted(theirs)) == (2, 3)
        assert mine[0].via == "local"
        assert [decision.verdicts[0].remaining for decision in mine] == [1, 0, 0, 0, 0]
        one.vacate(slots_of(mine[0]))
        assert (await ask(one, *charges)).is_admitted
        redis.start()
        await until(lambda: one.is_up and other.is_up, within=8.0)
        assert await one.keys.under_way(limit, user) == 6
        assert not (await ask(one, *charges)).is_admitted
        await end(one, held)
        assert (await ask(other, *charges)).is_admitted


@pytest.mark.parametrize(("on_store_error", "passes"), [("allow", True), ("deny", False)])
async def test_without_redis_a_limit_may_allow_or_deny(
    redis: Redis, on_store_error: str, *, passes: bool
) -> None:
    limits = limits_of(AT_ONCE | {"on_store_error": on_store_error})
    (limit,) = limits
    async with store_at(redis.url, limits) as store:
        redis.stop()
        await until(lambda: not store.is_up, within=5.0)
        decisions = await ask_all(store, [[Charge(limit.terms, new_user())]] * 3)

        assert admitted(decisions) == (3 if passes else 0)
        assert fields(decisions[0], "draft10") == b""


async def test_key_that_holds_something_else_is_in_nobodys_way(shared_redis: Redis) -> None:
    limits = limits_of(AT_ONCE)
    (limit,) = limits
    user = new_user()
    async with store_at(shared_redis.url, limits) as store:
        await ask(store, Charge(limit.terms, user))
        (key,) = [key for key in shared_redis.client().keys("*/slots:*") if key.endswith(user)]
        shared_redis.client().set(key, "something else")
        assert await store.keys.under_way(limit, user) == 0
        decisions = await ask_all(store, [[Charge(limit.terms, user)]] * 3)

        assert admitted(decisions) == 2
