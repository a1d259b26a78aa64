"""A call whose reply was lost is sent again, or its requests are decided without Redis: nobody is charged twice.

And nobody for nothing: who was not charged the first time is charged the second.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from proxy.limiter.records import TAG_CALLS
from tests.limiter.asking import ask, ask_all, charge, impatient, limit_of, limits_of, store_at
from tests.limiter.test_take import NOW_US, TAG, US, Script
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.policy.decision import Charge, Decision
    from tests.support.redis_servers import Redis, Relay

SENT_US = NOW_US - 100  # by the server's clock, perhaps
LATER_US = NOW_US + 5000


@pytest.fixture
def script(shared_redis: Redis) -> Script:
    return Script(shared_redis)


def told(decisions: list[Decision] | None) -> list[tuple[bool, list[int]]]:
    assert decisions is not None
    return [
        (decision.is_admitted, [verdict.remaining for verdict in decision.verdicts]) for decision in decisions
    ]


def twice(script: Script, requests: list[list[Charge]]) -> list[list[tuple[bool, list[int]]]]:
    """What a batch is told the first time, and when it comes again."""
    first = script.take(requests, NOW_US)
    again = script.take(requests, LATER_US, again_us=SENT_US)
    return [told(first), told(again)]


ONE, WIDE = limits_of({"name": "one", "rate": "3/d"}, {"name": "wide", "rate": "9/d"})
SHADOW = limit_of("1/d", name="shadow", mode="shadow")
BATCHES: dict[str, list[list[Charge]]] = {
    "one request": [[charge(ONE)]],
    "some of one bucket": [[charge(ONE)]] * 2,
    "more than the bucket holds": [[charge(ONE)]] * 5,
    "two limits": [[charge(ONE), charge(WIDE)]] * 2,
    "two limits, of which one refuses": [[charge(ONE), charge(WIDE)]] * 5,
    "one limit with two keys": [[charge(WIDE, "ada"), charge(WIDE, "bob")]] * 2,
    "limits of all kinds": [[charge(ONE)], [charge(ONE), charge(WIDE)], [charge(WIDE)]],
    "a shadow limit beside it": [[charge(SHADOW), charge(ONE)]],
}


@pytest.mark.parametrize("batch", BATCHES)
def test_batch_that_was_run_is_told_the_same_and_takes_nothing(batch: str, script: Script) -> None:
    requests = BATCHES[batch]
    first, again = twice(script, requests)
    charged = sum(each for each, _ in first)
    left = told(script.take([[charge(WIDE, "carol"), charge(limit_of("99/d", name="x"))]], LATER_US + 1))

    assert [each for each, _ in again] == [each for each, _ in first]
    assert charged
    assert left == [(True, [8, 98])]
    if all(each for each, _ in first):
        assert again[-1][1] == first[-1][1]


@pytest.mark.parametrize("batch", BATCHES)
def test_batch_that_was_not_run_is_charged_when_it_comes_again(batch: str, script: Script) -> None:
    requests = BATCHES[batch]
    again = told(script.take(requests, LATER_US, again_us=SENT_US))
    fresh = Script(script.redis)

    assert again == told(fresh.take(requests, LATER_US))


def test_what_was_refused_is_refused_again(script: Script) -> None:
    """Its bucket was written by another call, before."""
    script.take([[charge(ONE)]] * 3, NOW_US - 1000, tag=TAG - 1)
    first, again = twice(script, [[charge(ONE)]])

    assert first == again == [(False, [0])]


def test_calls_behind_it_show_that_it_was_run(script: Script) -> None:
    """They were sent on the same connection: whoever ran them had run it before."""
    script.take([[charge(WIDE)]], NOW_US)
    script.take([[charge(WIDE)]], NOW_US + 10, tag=TAG + 1)
    again = [
        told(script.take([[charge(WIDE)]], LATER_US + call, again_us=SENT_US, tag=TAG + call))
        for call in (0, 1)
    ]

    assert again == [[(True, [7])], [(True, [7])]]


@pytest.mark.parametrize(
    ("tag", "sent_us"),
    [(TAG + TAG_CALLS, SENT_US), (TAG - 1, SENT_US), (TAG, NOW_US + 1)],
    ids=["another process", "an earlier call", "the same number, long ago"],
)
def test_call_of_others_is_not_mistaken_for_it(tag: int, sent_us: int, script: Script) -> None:
    script.take([[charge(WIDE)]], NOW_US, tag=tag)
    again = script.take([[charge(WIDE)]], LATER_US, again_us=sent_us)

    assert told(again) == [(True, [7])]


def test_numbers_of_calls_may_begin_anew(script: Script) -> None:
    last = TAG // TAG_CALLS * TAG_CALLS + TAG_CALLS - 1
    script.take([[charge(WIDE)]], NOW_US, tag=last)
    script.take([[charge(WIDE)]], NOW_US + 10, tag=last + 1 - TAG_CALLS)
    again = script.take([[charge(WIDE)]], LATER_US, again_us=SENT_US, tag=last)

    assert told(again) == [(True, [7])]


def test_what_came_back_does_not_come_back_twice(script: Script) -> None:
    script.take([[charge(WIDE)]] * 5, NOW_US - 1000, tag=TAG - 1)
    script.take([[charge(WIDE)]], NOW_US, give_back=True)
    again = script.take([[charge(WIDE)]], LATER_US, give_back=True, again_us=SENT_US)

    assert told(again) == [(True, [5])]


# --- the store, and a connection that loses replies ---

LIMITS = {
    "rare": ({"name": "rare", "rate": "1/h"},),
    "two limits": ({"name": "rare", "rate": "1/h"}, {"name": "wide", "rate": "50/h"}),
    "free 304s": ({"name": "rare", "rate": "5/h", "cost_304": 0},),
    "leases": ({"name": "rare", "rate": "40/h", "lease": 5},),
    "cost": ({"name": "rare", "rate": "5/h", "cost": 5},),
    "a token that is waited for": ({"name": "rare", "rate": "60/h", "burst": 1, "max_wait": "1m"},),
    "slots": ({"name": "at-once", "concurrency": 2},),
    "slots and tokens": ({"name": "at-once", "concurrency": 2}, {"name": "rare", "rate": "1/h"}),
    "a shadow beside it": (
        {"name": "rare", "rate": "1/h"},
        {"name": "watched", "rate": "1/h", "mode": "shadow"},
    ),
}


async def lose_replies(relay: Relay, end: Callable[[], None], *asking: asyncio.Task) -> None:
    """What is asked is done, its replies are lost; then the connection ends."""
    relay.is_mute = True
    before = relay.lost_bytes
    await until(lambda: relay.lost_bytes > before, "Redis has answered in vain")
    end()
    relay.is_mute = False


@pytest.mark.parametrize("kind", LIMITS)
async def test_reply_that_was_lost_costs_no_token(kind: str, redis: Redis, relay: Relay) -> None:
    """Also where the first request of a client is all that an hour allows."""
    limits = limits_of(*LIMITS[kind])
    charges = [charge(limit) for limit in limits]
    async with store_at(relay.url, limits) as store, store_at(redis.url, limits) as other:
        asked = asyncio.create_task(ask(store, *charges))
        await lose_replies(relay, relay.cut)
        decision = await asked
        left = await ask(other, *charges)

        assert (decision.is_admitted, decision.via) == (True, "store")
        for before, after in zip(decision.verdicts, left.verdicts, strict=True):
            assert before.remaining == before.limit.terms.burst - before.limit.terms.cost
            assert after.remaining == max(
                before.remaining - (before.limit.terms.cost if left.is_admitted else 0), 0
            )


async def test_requests_of_one_client_under_way_are_all_told_once(redis: Redis, relay: Relay) -> None:
    """In several batches: as many pass as the limit allows."""
    limits = limits_of({"name": "per-user", "rate": "10/h"})
    (limit,) = limits
    async with store_at(relay.url, limits) as store:
        relay.is_mute = True
        asked = []
        for _ in range(5):
            asked += [asyncio.create_task(ask(store, charge(limit))) for _ in range(2)]
            await asyncio.sleep(0.005)
        await lose_replies(relay, relay.cut, *asked) if not relay.lost_bytes else relay.cut()
        relay.is_mute = False
        decisions = await asyncio.gather(*asked)
        after = await ask(store, charge(limit))

        assert [decision.is_admitted for decision in decisions] == [True] * 10
        assert not after.is_admitted


@pytest.mark.parametrize("mode", ["local", "deny", "allow"])
async def test_what_was_decided_without_redis_is_charged_once(mode: str, redis: Redis, relay: Relay) -> None:
    """The reply is late: the request is decided here, and what Redis had taken is taken off when it is back."""
    limits = limits_of({"name": "per-user", "rate": "10/h", "on_store_error": mode})
    (limit,) = limits
    async with store_at(relay.url, limits) as store:
        relay.is_mute = True
        with impatient(store, 0.2):
            decisions = await ask_all(store, [[charge(limit)]] * 3)
            await until(lambda: relay.lost_bytes, "Redis has answered in vain")
        relay.cut()
        relay.is_mute = False
        await until(lambda: store.is_up, "the store is up again", within=3.0)
        after = await ask(store, charge(limit))

        assert {decision.via for decision in decisions} == {"local"}
        assert after.verdicts[0].remaining == 9 - (0 if mode == "deny" else 3)


async def test_what_was_refused_without_redis_costs_nothing(redis: Redis, relay: Relay) -> None:
    """Redis had admitted it; two replicas have half of the limit each, and this one had spent its own."""
    limits = limits_of({"name": "per-user", "rate": "10/h"})
    (limit,) = limits
    async with store_at(relay.url, limits) as store, store_at(redis.url, limits) as other:
        await ask_all(other, [[charge(limit, "bob")]])
        await until(lambda: store.replicas.count == 2, within=3.0)
        await ask_all(store, [[charge(limit)]] * 7)
        relay.is_mute = True
        with impatient(store, 0.2):
            decisions = await ask_all(store, [[charge(limit)]] * 3)
            await until(lambda: relay.lost_bytes, "Redis has answered in vain")
        relay.cut()
        relay.is_mute = False
        await until(lambda: store.is_up, "the store is up again", within=3.0)
        passed = sum(decision.is_admitted for decision in decisions)
        after = await ask(store, charge(limit))

        assert passed == 1
        assert after.verdicts[0].remaining == 10 - 7 - passed - 1


def test_moments_of_the_tests_are_apart() -> None:
    assert SENT_US < NOW_US < LATER_US < NOW_US + US
