"""What every store of buckets keeps, as one suite of tests.

A store's test file makes a class of it and says how to get one, on a clock of its own or the real one:

    class TestMemoryStore(StoreContract):
        @pytest.fixture
        def bench(self): ...  # a Bench

On a real clock time goes by between two lines of a test: limits that must not refill meanwhile are counted by the hour.
"""

from __future__ import annotations

import asyncio
from itertools import count
from typing import Protocol

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.settings import Settings
from proxy.config.units import parse_rate
from proxy.limiter.overrides import Override
from proxy.limiter.store import Store, obey
from proxy.policy.decision import Charge, Decision
from proxy.policy.limits import Limit, Limits, compile_limits
from proxy.policy.vouching import Transfer, Word
from tests.policy.heads import limits
from tests.policy.model import Model, as_told

PATIENCE_SECONDS = 10.0
# All examples of a class ask one store, each with users of its own; and each class has another store.
SHARED_BENCH = [HealthCheck.function_scoped_fixture, HealthCheck.differing_executors]
_users = count()


class Bench(Protocol):
    """A store that is started, and its clock."""

    store: Store

    async def advance(self, seconds: float) -> None:
        """At least so much time passes."""


class Waiting:
    """A waiter, with all that it was told."""

    def __init__(self) -> None:
        self.told: list[Decision] = []
        self._is_told = asyncio.Event()

    def decided(self, decision: Decision) -> None:
        self.told.append(decision)
        self._is_told.set()

    async def decision(self) -> Decision:
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self._is_told.wait()
        return self.told[0]


async def take_together(store: Store, requests: list[list[Charge]]) -> list[Decision]:
    """The decisions of requests that become ready at the same moment."""
    waiters = [Waiting() for _ in requests]
    at_once = [store.take(charges, waiter) for charges, waiter in zip(requests, waiters, strict=True)]
    assert not any(waiter.told for waiter in waiters), "told within take"
    return [now or await waiter.decision() for now, waiter in zip(at_once, waiters, strict=True)]


async def take(store: Store, *charges: Charge) -> Decision:
    (decision,) = await take_together(store, [list(charges)])
    return decision


async def debt_becomes(store: Store, charge: Charge, tokens: int) -> bool:
    """Soon: what goes out with a batch needs a moment."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while round(await store.keys.debt(charge.terms, charge.key) / charge.terms.interval) != tokens:
            await asyncio.sleep(0.001)
    return True


def debt_for(limit: Limit, seconds: float) -> int:
    """With which one more request fits in so many seconds."""
    return limit.terms.burst_units - limit.terms.cost_units + int(seconds * 1e6) * limit.terms.scale


def new_user() -> bytes:
    """A key that nobody has used, in whatever store."""
    return b"%016d" % next(_users)


def configured(bench: Bench, *each) -> Limits:
    compiled = limits(*each)
    bench.store.configure(compiled)
    return compiled


BLOCK = Override(0)
HOUR = 3600.0


def grant(rate: str, burst: int) -> Override:
    return Override(0, parse_rate(rate), burst)


async def fates(store: Store, limit: Limit, user: bytes, count: int) -> list[bool]:
    return [(await take(store, Charge(limit.terms, user))).is_admitted for _ in range(count)]


def with_plan(bench: Bench, own: dict, plan: dict) -> Limit:
    """A limit with the terms of the plan, and its own."""
    settings = Settings.model_validate(
        {
            "upstream": {"servers": ["http://a"]},
            "limits": [{"name": "planned", "plans": ["big"], **own}],
            "plans": [{"name": "big", **plan}],
        }
    )
    compiled = compile_limits(settings.limits, b"", plans=settings.plan_keys)
    bench.store.configure(compiled)
    (limit,) = compiled
    return limit


@st.composite
def limit_settings(draw: st.DrawFn, rates: st.SearchStrategy[str]) -> list[dict]:
    """One to three limits, some in shadow or partly, some with several costs."""
    made = []
    for number in range(draw(st.integers(1, 3))):
        burst = draw(st.integers(1, 12))
        made.append(
            {
                "name": f"random-{number}",
                "rate": draw(rates),
                "burst": burst,
                "cost": draw(costs(burst)),
                "mode": draw(st.sampled_from(["enforce", "enforce", "shadow"])),
                "enforce": draw(st.sampled_from(["100%", "50%"])),
                "max_wait": draw(st.sampled_from(["0s", "0s", "30s"])),
            }
        )
    return made


def costs(burst: int) -> st.SearchStrategy[object]:
    """One for all requests, or some by path."""
    one = st.integers(1, burst)
    by_path = st.builds(
        lambda number, cost: {"match": {"paths": [f"/{number}"]}, "cost": cost}, st.integers(0, 9), one
    )
    return st.one_of(one, st.lists(by_path, min_size=1, max_size=3))


# Which of the limits a request is charged to, by which terms, and which of three users it comes from.
REQUESTS = st.tuples(st.sets(st.integers(0, 11), min_size=1, max_size=4), st.integers(0, 2))


class StoreContract:
    @pytest.fixture
    def bench(self) -> Bench:
        raise NotImplementedError

    # --- one limit ---

    async def test_burst_of_exactly_burst_at_one_moment_passes(self, bench):
        """And the next is refused: no drift within a batch."""
        (limit,) = configured(bench, {"rate": "15/h", "burst": 15})
        user = new_user()
        decisions = await take_together(bench.store, [[Charge(limit.terms, user)] for _ in range(16)])

        assert [decision.is_admitted for decision in decisions] == [True] * 15 + [False]
        assert [decision.verdicts[0].remaining for decision in decisions] == [*range(14, -1, -1), 0]

    async def test_burst_of_one_second_passes_at_one_moment(self, bench):
        """The default limit, whose token costs 66 666.6 microseconds."""
        (limit,) = configured(bench, {"rate": "15/s"})
        user = new_user()
        decisions = await take_together(bench.store, [[Charge(limit.terms, user)] for _ in range(16)])

        assert [decision.is_admitted for decision in decisions] == [True] * 15 + [False]

    async def test_refused_request_takes_nothing(self, bench):
        """However often it is tried, the token comes back when it was due."""
        (limit,) = configured(bench, {"rate": "2/s", "burst": 1})
        user = new_user()
        await take(bench.store, Charge(limit.terms, user))
        refused = [await take(bench.store, Charge(limit.terms, user)) for _ in range(20)]
        await bench.advance(0.5)

        assert not any(decision.is_admitted for decision in refused)
        assert (await take(bench.store, Charge(limit.terms, user))).is_admitted

    async def test_after_retry_after_the_request_passes_and_only_once(self, bench):
        (limit,) = configured(bench, {"rate": "2/s", "burst": 4, "cost": 3})
        user = new_user()
        await take(bench.store, Charge(limit.terms, user))
        refused = await take(bench.store, Charge(limit.terms, user))
        (verdict,) = refused.refusals
        await bench.advance(verdict.retry_after)

        assert 0.5 < verdict.retry_after <= 1.0
        assert (await take(bench.store, Charge(limit.terms, user))).is_admitted
        assert not (await take(bench.store, Charge(limit.terms, user))).is_admitted

    async def test_bucket_never_holds_more_than_its_burst(self, bench):
        """Who waits long is not paid for it."""
        (limit,) = configured(bench, {"rate": "10/s", "burst": 2})
        user = new_user()
        await take(bench.store, Charge(limit.terms, user))
        await bench.advance(1.0)
        decisions = await take_together(bench.store, [[Charge(limit.terms, user)] for _ in range(3)])

        assert [decision.is_admitted for decision in decisions] == [True, True, False]

    async def test_cost_takes_so_many_tokens(self, bench):
        """What is too little for it stays."""
        (limit,) = configured(bench, {"rate": "1/h", "burst": 10, "cost": 4})
        user = new_user()
        decisions = [await take(bench.store, Charge(limit.terms, user)) for _ in range(4)]

        assert [decision.is_admitted for decision in decisions] == [True, True, False, False]
        assert [decision.verdicts[0].remaining for decision in decisions] == [6, 2, 2, 2]

    async def test_users_have_buckets_of_their_own(self, bench):
        (limit,) = configured(bench, {"rate": "1/h"})
        alice, bob = new_user(), new_user()
        await take(bench.store, Charge(limit.terms, alice))

        assert not (await take(bench.store, Charge(limit.terms, alice))).is_admitted
        assert (await take(bench.store, Charge(limit.terms, bob))).is_admitted

    async def test_decision_is_told_once(self, bench):
        """At once or later, never both."""
        (limit,) = configured(bench, {"rate": "1/h"})
        waiter = Waiting()
        decision = bench.store.take([Charge(limit.terms, new_user())], waiter)
        if decision is None:
            decision = await waiter.decision()
            assert waiter.told == [decision]
        else:
            await asyncio.sleep(0)
            assert waiter.told == []

        assert decision.via == "store"

    # --- several limits ---

    async def test_limits_count_apart(self, bench):
        """Also for the same key."""
        narrow, wide = configured(bench, {"rate": "1/h"}, {"rate": "1/h", "burst": 3})
        user = new_user()
        both = await take(bench.store, Charge(narrow.terms, user), Charge(wide.terms, user))

        assert both.is_admitted
        assert [verdict.remaining for verdict in both.verdicts] == [0, 2]
        assert not (await take(bench.store, Charge(narrow.terms, user))).is_admitted
        assert (await take(bench.store, Charge(wide.terms, user))).is_admitted

    @pytest.mark.parametrize("order", [(0, 1), (1, 0)])
    async def test_refusal_of_one_limit_takes_nothing_from_the_others(self, bench, order):
        """Whichever is asked first."""
        compiled = list(configured(bench, {"rate": "1/h"}, {"rate": "1/h", "burst": 3}))
        user = new_user()
        narrow, wide = compiled
        charges = [Charge(compiled[number].terms, user) for number in order]
        await take(bench.store, Charge(narrow.terms, user))
        refused = [await take(bench.store, *charges) for _ in range(5)]
        after = await take(bench.store, Charge(wide.terms, user))

        assert not any(decision.is_admitted for decision in refused)
        assert [[verdict.limit for verdict in decision.refusals] for decision in refused] == [[narrow]] * 5
        assert after.verdicts[0].remaining == 2

    async def test_requests_of_one_moment_see_each_other(self, bench):
        """Requests with other limits in the same batch share the bucket they have in common."""
        narrow, wide = configured(bench, {"rate": "1/h", "burst": 2}, {"rate": "1/h", "burst": 9})
        user = new_user()
        one, both = [Charge(narrow.terms, user)], [Charge(narrow.terms, user), Charge(wide.terms, user)]
        decisions = await take_together(bench.store, [one, both, one, both, [Charge(wide.terms, user)]])

        assert [decision.is_admitted for decision in decisions] == [True, True, False, False, True]
        assert decisions[-1].verdicts[0].remaining == 7

    # --- one limit, charged twice ---

    async def test_limit_that_is_charged_twice_takes_from_both_buckets_or_from_none(self, bench):
        """A request with two credentials pays with both."""
        (limit,) = configured(bench, {"rate": "1/h", "burst": 3})
        ada, bob = new_user(), new_user()
        await take(bench.store, Charge(limit.terms, ada))
        both = [await take(bench.store, Charge(limit.terms, ada), Charge(limit.terms, bob)) for _ in range(3)]
        alone = await take(bench.store, Charge(limit.terms, bob))

        assert [decision.is_admitted for decision in both] == [True, True, False]
        assert [[verdict.remaining for verdict in decision.verdicts] for decision in both] == [
            [1, 2],
            [0, 1],
            [0, 1],
        ]
        assert [verdict.is_admitted for verdict in both[2].verdicts] == [False, True]
        assert alone.verdicts[0].remaining == 0

    async def test_requests_of_one_moment_see_each_other_whatever_the_order_of_their_charges(self, bench):
        (limit,) = configured(bench, {"rate": "1/h", "burst": 3})
        ada, bob = Charge(limit.terms, new_user()), Charge(limit.terms, new_user())
        decisions = await take_together(bench.store, [[ada, bob], [bob, ada]] * 2)

        assert [decision.is_admitted for decision in decisions] == [True, True, True, False]
        assert [verdict.remaining for verdict in decisions[2].verdicts] == [0, 0]

    # --- shadow ---

    async def test_shadow_limit_never_refuses_a_request(self, bench):
        """It says that it would; what does not fit takes nothing from it."""
        (shadow,) = configured(bench, {"rate": "1/h", "burst": 3, "cost": 2, "mode": "shadow"})
        user = new_user()
        decisions = [await take(bench.store, Charge(shadow.terms, user)) for _ in range(3)]

        assert all(decision.is_admitted for decision in decisions)
        assert [decision.verdicts[0].is_admitted for decision in decisions] == [True, False, False]
        assert [decision.verdicts[0].remaining for decision in decisions] == [1, 1, 1]
        assert not any(decision.refusals for decision in decisions)

    async def test_shadow_refusal_lets_the_enforced_limits_count(self, bench):
        shadow, enforced = configured(bench, {"rate": "1/h", "mode": "shadow"}, {"rate": "1/h", "burst": 5})
        user = new_user()
        decisions = [
            await take(bench.store, Charge(shadow.terms, user), Charge(enforced.terms, user))
            for _ in range(3)
        ]

        assert [decision.verdicts[1].remaining for decision in decisions] == [4, 3, 2]

    async def test_refused_request_takes_nothing_from_a_shadow_limit(self, bench):
        """A shadow limit counts what passed, as it would if it were enforced."""
        shadow, enforced = configured(bench, {"rate": "1/h", "burst": 5, "mode": "shadow"}, {"rate": "1/h"})
        user = new_user()
        decisions = [
            await take(bench.store, Charge(shadow.terms, user), Charge(enforced.terms, user))
            for _ in range(3)
        ]

        assert [decision.is_admitted for decision in decisions] == [True, False, False]
        assert [decision.verdicts[0].remaining for decision in decisions] == [4, 4, 4]

    # --- giving back ---

    async def test_token_that_was_given_back_is_there_at_once(self, bench):
        """Also for who was refused a moment ago."""
        (limit,) = configured(bench, {"rate": "2/h", "burst": 2, "cost_304": 0})
        user, other = new_user(), new_user()
        before = [(await take(bench.store, Charge(limit.terms, user))).is_admitted for _ in range(3)]
        bench.store.give_back([Charge(limit.terms, user)])
        after = [(await take(bench.store, Charge(limit.terms, user))).is_admitted for _ in range(2)]
        others = (await take(bench.store, Charge(limit.terms, other))).verdicts[0].remaining

        assert (before, after, others) == ([True, True, False], [True, False], 1)

    async def test_no_bucket_gets_fuller_than_full(self, bench):
        """However much is given back, and to whom nothing was taken from."""
        (limit,) = configured(bench, {"rate": "9/h", "burst": 3, "cost": 2, "cost_304": 0})
        user = new_user()
        for _ in range(3):
            bench.store.give_back([Charge(limit.terms, user)])
        await take(bench.store, Charge(limit.terms, user))
        for _ in range(3):
            bench.store.give_back([Charge(limit.terms, user)])
        decisions = [await take(bench.store, Charge(limit.terms, user)) for _ in range(2)]

        assert [decision.is_admitted for decision in decisions] == [True, False]
        assert decisions[0].verdicts[0].remaining == 1

    async def test_what_one_limit_gives_back_is_not_the_others(self, bench):
        each = {"rate": "5/h", "cost_304": 0}
        one, two, three = configured(bench, each, each, {**each, "mode": "shadow"})
        charges = [Charge(limit.terms, new_user()) for limit in (one, two, three)]
        await take(bench.store, *charges)
        bench.store.give_back([charges[0], charges[2]])
        decision = await take(bench.store, *charges)

        assert [verdict.remaining for verdict in decision.verdicts] == [4, 3, 4]

    async def test_limit_that_a_reload_took_away_gets_nothing(self, bench):
        (limit,) = configured(bench, {"name": "gone", "rate": "5/h", "cost_304": 0})
        configured(bench, {"name": "other"})

        bench.store.give_back([Charge(limit.terms, new_user())])

    async def test_any_history_of_taking_and_giving_back(self, bench):
        """At one moment, as it were: whole tokens, counted."""

        @settings(max_examples=20, deadline=None, suppress_health_check=SHARED_BENCH)
        @given(st.lists(st.booleans(), max_size=30), st.integers(1, 3))
        def agrees(history, cost):
            asked.append((history, cost))

        asked: list = []
        agrees()
        for history, cost in asked:
            (limit,) = configured(bench, {"rate": "5/d", "burst": 5, "cost": cost, "cost_304": 0})
            user, left, told, expected = new_user(), 5, [], []
            for takes in history:
                if takes:
                    decision = await take(bench.store, Charge(limit.terms, user))
                    left -= cost if left >= cost else 0
                    told.append((decision.is_admitted, decision.verdicts[0].remaining))
                    expected.append((told[-1][0], left))
                else:
                    bench.store.give_back([Charge(limit.terms, user)])
                    left = min(5, left + cost)
            assert told == expected

    # --- moving ---

    async def test_tokens_move_only_while_the_other_bucket_has_some(self, bench):
        """Then they stay taken where they were; a limit in shadow tells no other story."""
        for mode in ("enforce", "shadow"):
            (limit,) = configured(bench, {"rate": "4/h", "burst": 4, "mode": mode})
            charge, other = Charge(limit.terms, new_user()), Charge(limit.terms, new_user())
            for owed in (0, 0, 0, 0, 1, 2, 3):
                decision = await take(bench.store, charge)
                obey(bench.store, Word([], [], [Transfer(other, [charge], decision.verdicts)]))
                assert await debt_becomes(bench.store, charge, owed)

            assert await debt_becomes(bench.store, other, 4)
            assert await debt_becomes(bench.store, charge, 3)

    # --- emptying ---

    async def test_emptied_bucket_refuses_until_its_time_and_no_longer(self, bench):
        """However full it was; and the refusal tells the time that is left."""
        (limit,) = configured(bench, {"rate": "100/s", "burst": 10, "on_upstream_429": "drain"})
        user, other = new_user(), new_user()
        await take(bench.store, Charge(limit.terms, user))
        bench.store.empty([(Charge(limit.terms, user), debt_for(limit, 0.5))])
        refused = await take(bench.store, Charge(limit.terms, user))
        others = await take(bench.store, Charge(limit.terms, other))
        await bench.advance(refused.verdicts[0].retry_after)
        after = await take(bench.store, Charge(limit.terms, user))

        assert not refused.is_admitted
        assert 0.3 < refused.verdicts[0].retry_after <= 0.5
        assert others.is_admitted
        assert after.is_admitted

    async def test_emptying_never_fills(self, bench):
        """A shorter one behind a longer one changes nothing."""
        (limit,) = configured(bench, {"rate": "1/s", "burst": 10, "on_upstream_429": "drain"})
        user = new_user()
        for seconds in (50, 2, 0):
            bench.store.empty([(Charge(limit.terms, user), debt_for(limit, seconds))])
        decision = await take(bench.store, Charge(limit.terms, user))

        assert 49 < decision.verdicts[0].retry_after <= 50

    async def test_emptied_bucket_is_refused_beside_other_limits_too(self, bench):
        """And takes nothing from them."""
        empties, other = configured(bench, {"rate": "5/s", "on_upstream_429": "drain"}, {"rate": "5/h"})
        charges = [Charge(empties.terms, new_user()), Charge(other.terms, new_user())]
        await take(bench.store, *charges)
        bench.store.empty([(charges[0], debt_for(empties, 30))])
        refused = [await take(bench.store, *charges) for _ in range(3)]

        assert [decision.is_admitted for decision in refused] == [False] * 3
        assert 29 < refused[-1].verdicts[0].retry_after <= 30
        assert (await take(bench.store, charges[1])).verdicts[0].remaining == 3

    async def test_reload_keeps_a_emptied_bucket_empty(self, bench):
        (limit,) = configured(bench, {"name": "a", "rate": "5/s", "on_upstream_429": "drain"})
        charge = Charge(limit.terms, new_user())
        bench.store.empty([(charge, debt_for(limit, 30))])
        (again,) = configured(bench, {"name": "a", "rate": "9/s", "on_upstream_429": "drain"})
        kept = await take(bench.store, Charge(again.terms, charge.key))
        (off,) = configured(bench, {"name": "a", "rate": "9/s"})
        let_go = await take(bench.store, Charge(off.terms, charge.key))

        assert 29 < kept.verdicts[0].retry_after <= 30
        assert let_go.verdicts[0].retry_after <= 1 / 9

    async def test_emptying_of_a_limit_that_a_reload_took_away_does_nothing(self, bench):
        (limit,) = configured(bench, {"name": "gone", "on_upstream_429": "drain"})
        configured(bench, {"name": "other"})

        bench.store.empty([(Charge(limit.terms, new_user()), limit.terms.burst_units)])

    # --- reset ---

    async def test_reset_fills_one_bucket(self, bench):
        """At once, and no other; what it is told of it counts buckets that were not full."""
        (limit,) = configured(bench, {"rate": "1/h", "burst": 2})
        ada, bob = new_user(), new_user()
        for user in (ada, ada, ada, bob):
            await take(bench.store, Charge(limit.terms, user))
        counts = [await bench.store.keys.reset(limit, ada) for _ in range(2)]
        after = [
            (await take(bench.store, Charge(limit.terms, user))).verdicts[0].remaining for user in (ada, bob)
        ]

        assert counts == [1, 0]
        assert after == [1, 0]

    async def test_reset_of_a_limit_fills_all_its_buckets(self, bench):
        """And those of no other limit, even where one name begins like another."""
        settings = {"rate": "1/h", "burst": 2}
        per, per_user = configured(bench, settings | {"name": "per"}, settings | {"name": "per-user"})
        users = [new_user() for _ in range(20)]
        for user in users:
            for _ in range(3):
                await take(bench.store, Charge(per.terms, user))
            await take(bench.store, Charge(per_user.terms, user))
        count = await bench.store.keys.reset(per, b"")
        after = [
            await take(bench.store, Charge(per.terms, user), Charge(per_user.terms, user)) for user in users
        ]

        assert count >= 20
        assert [[each.remaining for each in decision.verdicts] for decision in after] == [[1, 0]] * 20

    # --- look ---

    async def test_look_tells_what_the_next_request_would_find(self, bench):
        """And changes nothing, not even for a bucket that is full."""
        (limit,) = configured(bench, {"rate": "60/h", "burst": 3})
        user = new_user()
        seen = [await bench.store.keys.debt(limit.terms, user) for _ in range(2)]
        for _ in range(2):
            await take(bench.store, Charge(limit.terms, user))
        seen += [await bench.store.keys.debt(limit.terms, user) for _ in range(2)]
        after = await take(bench.store, Charge(limit.terms, user))

        minute = limit.terms.interval
        assert seen[:2] == [0, 0]
        assert 1.9 * minute < seen[3] <= seen[2] <= 2 * minute
        assert after.verdicts[0].remaining == 0
        assert await bench.store.keys.debt(limit.terms, user) > 2.9 * minute

    async def test_look_counts_a_bucket_by_the_terms_it_is_asked_for(self, bench):
        """Two of three tokens are gone, whatever the rate; a bucket that was emptied stays so."""
        limit = with_plan(bench, {"rate": "60/h", "burst": 3}, {"rate": "7200/h", "burst": 9})
        plan, own = limit
        user = new_user()
        for _ in range(2):
            await take(bench.store, Charge(own, user))

        assert 1.5 * plan.interval < await bench.store.keys.debt(plan, user) <= 2 * plan.interval

    async def test_look_sees_a_bucket_that_is_closed(self, bench):
        (limit,) = configured(bench, {"name": "shut", "rate": "15/s", "on_upstream_429": "drain"})
        user = new_user()
        await take(bench.store, Charge(limit.terms, user))
        bench.store.empty([(Charge(limit.terms, user), debt_for(limit, 30))])
        await take(bench.store, Charge(limit.terms, new_user()))  # behind what was sent for nobody
        debt = await bench.store.keys.debt(limit.terms, user)
        assert 29 < (debt - limit.terms.burst_units + limit.terms.cost_units) / limit.terms.scale / 1e6 <= 30

    # --- overrides ---

    async def test_blocked_key_is_refused_for_what_is_left(self, bench):
        """At once, alone, and without a token; release lets it pass as if nothing had been."""
        settings = {"rate": "60/h", "burst": 3}
        limit, other = configured(bench, settings, settings)
        ada, bob = new_user(), new_user()
        await bench.store.keys.put_override((limit.name, ada), BLOCK, 600)
        refused = await take(bench.store, Charge(other.terms, bob), Charge(limit.terms, ada))
        beside = await fates(bench.store, limit, bob, 1) + await fates(bench.store, other, ada, 1)
        told = bench.store.keys.override((limit.name, ada))
        released = [await bench.store.keys.release((limit.name, ada)) for _ in range(2)]
        after = await take(bench.store, Charge(other.terms, bob), Charge(limit.terms, ada))

        assert (refused.is_admitted, refused.via) == (False, "block")
        assert [verdict.limit for verdict in refused.refusals] == [limit]
        assert 599 < refused.refusals[0].retry_after <= 600
        assert beside == [True, True]
        assert told is not None and told[0].is_block and 599 < told[1] <= 600
        assert released == [True, False]
        assert [verdict.remaining for verdict in after.verdicts] == [2, 2]
        assert bench.store.keys.override((limit.name, ada)) is None

    async def test_block_ends_by_itself(self, bench):
        (limit,) = configured(bench, {"rate": "60/h", "burst": 3})
        user = new_user()
        await bench.store.keys.put_override((limit.name, user), BLOCK, HOUR)
        during = await fates(bench.store, limit, user, 1)
        await bench.store.keys.put_override((limit.name, user), BLOCK, 0.001)
        await bench.advance(0.1)

        assert during + await fates(bench.store, limit, user, 1) == [False, True]

    @pytest.mark.parametrize("way", [{"mode": "shadow"}, {"enforce": "0%"}, {"enforce": "50%"}])
    async def test_block_is_meant_in_shadow_too(self, bench, way):
        (limit,) = configured(bench, {"rate": "60/h", "burst": 3, **way})
        user = new_user()
        await bench.store.keys.put_override((limit.name, user), BLOCK, HOUR)
        refused = [await take(bench.store, Charge(terms, user)) for terms in limit]

        assert [decision.is_admitted for decision in refused] == [False] * len(refused)
        assert all(3598 < decision.refusals[0].retry_after <= 3600 for decision in refused)

    async def test_grant_gives_another_rate_and_burst(self, bench):
        """The debt stays; whoever was refused passes at once, and nobody else does."""
        (limit,) = configured(bench, {"rate": "1/h", "burst": 2})
        ada, bob = new_user(), new_user()
        before = [await fates(bench.store, limit, user, 3) for user in (ada, bob)]
        await bench.store.keys.put_override((limit.name, ada), grant("1/h", 5), HOUR)
        after = [await fates(bench.store, limit, user, 4) for user in (ada, bob)]
        decision = await take(bench.store, Charge(limit.terms, ada))

        assert before == [[True, True, False]] * 2
        assert after == [[True] * 3 + [False], [False] * 4]
        assert decision.verdicts[0].terms.burst == 5
        assert 3590 < decision.verdicts[0].retry_after <= 3600

    async def test_grant_may_also_slow_down(self, bench):
        (limit,) = configured(bench, {"rate": "100/s"})
        user = new_user()
        await bench.store.keys.put_override((limit.name, user), grant("1/h", 1), HOUR)

        assert await fates(bench.store, limit, user, 3) == [True, False, False]

    async def test_last_override_is_the_one_that_counts(self, bench):
        """However they follow each other; and one release ends it."""
        (limit,) = configured(bench, {"rate": "1/h", "burst": 1})
        user = new_user()
        place = limit.name, user
        seen = []
        for override in (grant("1/h", 2), BLOCK, grant("1/h", 3)):
            await bench.store.keys.put_override(place, override, HOUR)
            seen += await fates(bench.store, limit, user, 1)
        await bench.store.keys.release(place)

        assert seen == [True, False, True]
        assert await fates(bench.store, limit, user, 1) == [False]

    async def test_limit_counts_again_when_a_grant_is_over(self, bench):
        """By its own rate; what refilled faster meanwhile is there."""
        (limit,) = configured(bench, {"rate": "1/h", "burst": 2})
        user = new_user()
        used = await fates(bench.store, limit, user, 3)
        await bench.store.keys.put_override((limit.name, user), grant("50/s", 3), HOUR)
        await bench.advance(0.1)
        used += await fates(bench.store, limit, user, 1)
        await bench.store.keys.put_override((limit.name, user), grant("50/s", 3), 0.001)
        await bench.advance(0.1)
        after = await fates(bench.store, limit, user, 3)

        assert used == [True, True, False, True]
        assert after[0] and not after[2]

    async def test_grant_keeps_costs_and_gives_them_back(self, bench):
        costs = [{"match": {"methods": ["POST"]}, "cost": 3}, {"cost": 1}]
        (limit,) = configured(bench, {"rate": "1/h", "burst": 3, "cost": costs})
        dear, cheap = limit
        user = new_user()
        await bench.store.keys.put_override((limit.name, user), grant("1/h", 6), HOUR)
        first = await take(bench.store, Charge(dear, user))
        second = await take(bench.store, Charge(cheap, user), Charge(cheap, new_user()))
        bench.store.give_back([first.verdicts[0].charge])

        assert [first.verdicts[0].remaining, second.verdicts[0].remaining] == [3, 2]
        assert (await take(bench.store, Charge(dear, user))).verdicts[0].remaining == 2

    async def test_overrides_outlive_a_reload(self, bench):
        """Also one that puts another limit in front, and changes the rate."""
        each = {"name": "kept", "rate": "1/h", "burst": 1}
        (limit,) = configured(bench, each)
        ada, bob = new_user(), new_user()
        await bench.store.keys.put_override((limit.name, ada), BLOCK, HOUR)
        await bench.store.keys.put_override((limit.name, bob), grant("1/h", 3), HOUR)
        used = await fates(bench.store, limit, bob, 1)
        _, limit = configured(bench, {"name": "new"}, each | {"burst": 2})

        assert await fates(bench.store, limit, ada, 1) == [False]
        assert used + await fates(bench.store, limit, bob, 3) == [True] * 3 + [False]

    async def test_override_of_one_limit_is_none_of_another(self, bench):
        """Though both know the client by the same key; nor does it matter that a name begins like another."""
        per, per_user = configured(
            bench, {"name": "per", "rate": "1/h", "burst": 3}, {"name": "per-user", "rate": "1/h", "burst": 3}
        )
        user = new_user()
        await bench.store.keys.put_override((per.name, user), BLOCK, HOUR)
        await bench.store.keys.put_override((per_user.name, user), grant("1/h", 9), HOUR)
        await bench.store.keys.release((per.name, user))

        assert (await take(bench.store, Charge(per.terms, user))).verdicts[0].remaining == 2
        assert (await take(bench.store, Charge(per_user.terms, user))).verdicts[0].remaining == 8

    # --- reload and rest ---

    async def test_reload_keeps_what_was_taken(self, bench):
        """Also when another limit is put in front."""
        (limit,) = configured(bench, {"name": "kept", "rate": "1/h", "burst": 3})
        user = new_user()
        await take(bench.store, Charge(limit.terms, user))
        _, limit = configured(bench, {"name": "new"}, {"name": "kept", "rate": "1/h", "burst": 3})

        assert (await take(bench.store, Charge(limit.terms, user))).verdicts[0].remaining == 1

    async def test_reload_of_the_rate_keeps_the_tokens_that_are_owed(self, bench):
        """Four of four taken; of ten there are six left."""
        (limit,) = configured(bench, {"name": "changed", "rate": "60/h", "burst": 4})
        user = new_user()
        for _ in range(4):
            await take(bench.store, Charge(limit.terms, user))
        (limit,) = configured(bench, {"name": "changed", "rate": "120/h", "burst": 10})
        decisions = [await take(bench.store, Charge(limit.terms, user)) for _ in range(7)]

        assert [decision.is_admitted for decision in decisions] == [True] * 6 + [False]

    @pytest.mark.parametrize(
        ("old", "new", "left"), [("1/h", "8/s", 4), ("8/s", "1/h", 4), ("8/s", "16/s", 8), ("1/d", "1/h", 0)]
    )
    async def test_time_before_a_reload_counts_at_the_higher_rate(self, bench, old, new, left):
        """Since the last token was taken, half a second ago: all stores alike."""
        (limit,) = configured(bench, {"name": "raised", "rate": old, "burst": 20})
        user = new_user()
        for _ in range(20):
            await take(bench.store, Charge(limit.terms, user))
        await bench.advance(0.25)
        (limit,) = configured(bench, {"name": "raised", "rate": new, "burst": 20})
        await bench.advance(0.25)
        decisions = [await take(bench.store, Charge(limit.terms, user)) for _ in range(10)]

        assert left <= sum(decision.is_admitted for decision in decisions) <= left + 2

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ({"rate": "1/d"}, {"rate": "20/s"}),
            ({"rate": "1000/d", "burst": 1000}, {"rate": "20/s"}),
            ({"rate": "1/d"}, {"rate": "1/d", "burst": 5}),
            ({"rate": "500/h", "burst": 500, "cost": 5}, {"rate": "20/s", "burst": 5}),
        ],
        ids=["rate", "rate, and a smaller burst", "burst", "and another cost"],
    )
    async def test_raised_limit_helps_at_once(self, bench, old, new):
        """Who has spent all of the old one is served by the new one, within two seconds."""
        (limit,) = configured(bench, {"name": "raised", **old})
        user = new_user()
        decisions = [
            await take(bench.store, Charge(limit.terms, user))
            for _ in range(limit.terms.burst // limit.terms.cost + 1)
        ]
        (limit,) = configured(bench, {"name": "raised", **new})
        await bench.advance(0.3)

        assert [decision.is_admitted for decision in decisions[-2:]] == [True, False]
        assert (await take(bench.store, Charge(limit.terms, user))).is_admitted

    @pytest.mark.parametrize("rate", ["60/h", "1/d"])
    async def test_lowered_limit_waits_for_no_more_than_an_empty_bucket(self, bench, rate):
        """Whatever was owed of the old one; and what a refusal tells is true."""
        (limit,) = configured(bench, {"name": "lowered", "rate": "1000/s"})
        user = new_user()
        for _ in range(1000):
            await take(bench.store, Charge(limit.terms, user))
        (limit,) = configured(bench, {"name": "lowered", "rate": rate})
        decision = await take(bench.store, Charge(limit.terms, user))
        wait = max(verdict.retry_after for verdict in decision.verdicts)
        await bench.advance(wait)

        assert wait < 0.1
        assert decision.is_admitted or (await take(bench.store, Charge(limit.terms, user))).is_admitted

    async def test_reload_to_a_smaller_burst_gives_nothing(self, bench):
        (limit,) = configured(bench, {"name": "smaller", "rate": "60/h", "burst": 10})
        user = new_user()
        for _ in range(8):
            await take(bench.store, Charge(limit.terms, user))
        (limit,) = configured(bench, {"name": "smaller", "rate": "60/h", "burst": 5})
        refused = await take(bench.store, Charge(limit.terms, user))

        assert not refused.is_admitted
        assert refused.verdicts[0].remaining == 0
        assert refused.verdicts[0].retry_after > 0

    async def test_sweep_forgets_nothing_that_counts(self, bench):
        (limit,) = configured(bench, {"rate": "1/h", "burst": 2})
        user = new_user()
        await take(bench.store, Charge(limit.terms, user))
        for _ in range(5):
            bench.store.sweep()

        assert (await take(bench.store, Charge(limit.terms, user))).verdicts[0].remaining == 0

    async def test_status_shows_no_key(self, bench):
        (limit,) = configured(bench, {"rate": "1/h"})
        user = new_user()
        await take(bench.store, Charge(limit.terms, user))
        status = repr(bench.store.status())

        assert bench.store.is_up
        assert user.decode() not in status
        assert user.hex() not in status

    # --- plans, costs, and limits that are enforced for some ---

    async def test_bucket_keeps_its_debt_when_its_plan_changes(self, bench):
        """In tokens, in both directions; a smaller bucket is empty at most."""
        limit = with_plan(bench, {"rate": "3/d"}, {"rate": "10/d"})
        plan, own = limit
        user = new_user()
        decisions = [await take(bench.store, Charge(own, user)) for _ in range(4)]
        decisions += [await take(bench.store, Charge(plan, user)) for _ in range(8)]
        back = await take(bench.store, Charge(own, user))

        assert [decision.is_admitted for decision in decisions] == [True] * 3 + [False] + [True] * 7 + [False]
        assert decisions[4].verdicts[0].remaining == 6
        assert not back.is_admitted
        assert back.verdicts[0].retry_after <= 86400 / 3

    async def test_plan_has_a_rate_of_its_own(self, bench):
        limit = with_plan(bench, {"rate": "1/h"}, {"rate": "10/s", "burst": 1})
        plan, _ = limit
        user = new_user()
        first = await take(bench.store, Charge(plan, user))
        await bench.advance(0.11)
        second = await take(bench.store, Charge(plan, user))

        assert first.is_admitted
        assert second.is_admitted

    async def test_costs_are_taken_from_one_bucket(self, bench):
        """What does not fit at one cost may at another, whatever was refused before."""
        (limit,) = configured(
            bench, {"rate": "7/d", "cost": [{"match": {"methods": ["POST"]}, "cost": 5}, {"cost": 1}]}
        )
        dear, cheap = limit
        user = new_user()
        decisions = [
            await take(bench.store, Charge(terms, user)) for terms in (dear, dear, cheap, cheap, cheap)
        ]

        assert [decision.is_admitted for decision in decisions] == [True, False, True, True, False]
        assert [decision.verdicts[0].remaining for decision in decisions] == [2, 2, 1, 0, 0]

    async def test_cost_comes_back_as_it_was_taken(self, bench):
        (limit,) = configured(
            bench, {"rate": "7/d", "cost_304": 0, "cost": [{"match": {"methods": ["PUT"]}, "cost": 5}]}
        )
        dear, cheap = limit
        user = new_user()
        await take(bench.store, Charge(dear, user))
        bench.store.give_back([Charge(dear, user)])

        assert (await take(bench.store, Charge(cheap, user))).verdicts[0].remaining == 6

    async def test_limit_in_shadow_for_some_refuses_only_the_others(self, bench):
        (limit,) = configured(bench, {"rate": "1/d", "enforce": "50%"})
        enforced, shadow = limit
        one, other = new_user(), new_user()
        decisions = [await take(bench.store, Charge(enforced, one)) for _ in range(2)]
        decisions += [await take(bench.store, Charge(shadow, other)) for _ in range(2)]

        assert [decision.is_admitted for decision in decisions] == [True, False, True, True]
        assert [decision.verdicts[0].is_admitted for decision in decisions] == [True, False, True, False]

    # --- requests that wait ---

    async def test_requests_wait_in_order_of_arrival_until_the_wait_is_too_long(self, bench):
        """A reservation is debt: each waits for those before it, and who would wait longer is refused."""
        (limit,) = configured(bench, {"rate": "4/m", "burst": 1, "max_wait": "30s"})
        user = new_user()
        decisions = await take_together(bench.store, [[Charge(limit.terms, user)] for _ in range(5)])
        verdicts = [decision.verdicts[0] for decision in decisions]

        assert [decision.is_admitted for decision in decisions] == [True] * 3 + [False] * 2
        waits = [verdict.wait_units / limit.terms.scale / 1e6 for verdict in verdicts[:3]]
        assert waits == pytest.approx([0, 15, 30], abs=1)
        assert verdicts[3].retry_after == pytest.approx(15, abs=1)

    async def test_reservation_that_is_given_back_shortens_the_wait(self, bench):
        (limit,) = configured(bench, {"rate": "4/m", "burst": 1, "max_wait": "30s"})
        charged = Charge(limit.terms, new_user())
        await take_together(bench.store, [[charged]] * 4)
        bench.store.give_back([charged])
        after = [await take(bench.store, charged) for _ in range(2)]

        assert [decision.is_admitted for decision in after] == [True, False]
        assert after[0].verdicts[0].wait_units / limit.terms.scale / 1e6 == pytest.approx(30, abs=1)

    @pytest.mark.parametrize(
        ("new", "wait"),
        [
            ({"max_wait": "0s"}, 60),
            ({"max_wait": "10s"}, 50),
            ({"max_wait": "0s", "burst": 3}, 30),
            ({"max_wait": "0s", "rate": "1/h"}, 60),
        ],
        ids=["none", "shorter", "and a larger burst", "and a lower rate"],
    )
    async def test_reload_to_a_shorter_wait_leaves_those_who_wait_before_newcomers(self, bench, new, wait):
        """Four are ahead, the last one for 45 s; with every further reload too."""
        settings = {"name": "patient", "rate": "4/m", "burst": 1, "max_wait": "45s"}
        (limit,) = configured(bench, settings)
        user = new_user()
        await take_together(bench.store, [[Charge(limit.terms, user)] for _ in range(4)])
        for _ in range(3):
            (limit,) = configured(bench, settings | new)
        await bench.advance(0.3)
        refused = await take(bench.store, Charge(limit.terms, user))

        assert not refused.is_admitted
        assert refused.verdicts[0].retry_after == pytest.approx(wait, abs=1.5)

    @pytest.mark.parametrize("new", [{"max_wait": "0s"}, {"max_wait": "5s", "rate": "1/h"}])
    async def test_who_leaves_after_such_a_reload_gives_back_one_token(self, bench, new):
        """The others keep theirs, and what they wait for comes back as before."""
        settings = {"name": "patient", "rate": "4/m", "burst": 1, "max_wait": "45s"}
        (limit,) = configured(bench, settings)
        user = new_user()
        await take_together(bench.store, [[Charge(limit.terms, user)] for _ in range(4)])
        (limit,) = configured(bench, settings | new)
        await bench.advance(0.3)
        bench.store.give_back([Charge(limit.terms, user)])
        refused = await take(bench.store, Charge(limit.terms, user))

        assert not refused.is_admitted
        assert refused.verdicts[0].retry_after == pytest.approx(45, abs=1.5)

    async def test_wait_of_before_bounds_debts_until_nobody_waits_by_it(self, bench):
        """A raised limit helps at once then, as it does where nobody waited."""
        (limit,) = configured(bench, {"name": "once", "rate": "1/s", "burst": 2, "max_wait": "1s"})
        (limit,) = configured(bench, {"name": "once", "rate": "1/s", "burst": 2})
        bound = limit.terms.most_units
        await bench.advance(1.2)
        (limit,) = configured(bench, {"name": "once", "rate": "1/s", "burst": 2})

        assert bound == 3 * limit.terms.interval
        assert limit.terms.most_units == limit.terms.burst_units

    async def test_refusal_of_one_limit_reserves_nothing_with_another(self, bench):
        patient, strict = configured(
            bench, {"rate": "4/m", "burst": 1, "max_wait": "30s"}, {"rate": "1/d", "name": "strict"}
        )
        user = new_user()
        both = [Charge(patient.terms, user), Charge(strict.terms, user)]
        decisions = await take_together(bench.store, [both] * 3)
        alone = await take(bench.store, both[0])

        assert [decision.is_admitted for decision in decisions] == [True, False, False]
        assert alone.verdicts[0].wait_units / patient.terms.scale / 1e6 == pytest.approx(15, abs=1)

    async def test_emptied_bucket_lets_wait_who_would_fit_in_time(self, bench):
        (limit,) = configured(
            bench, {"rate": "4/m", "burst": 1, "max_wait": "20s", "on_upstream_429": "drain"}
        )
        near, far = Charge(limit.terms, new_user()), Charge(limit.terms, new_user())
        bench.store.empty([(near, debt_for(limit, 10)), (far, debt_for(limit, 40))])
        soon, late = await take(bench.store, near), await take(bench.store, far)

        assert soon.is_admitted
        assert soon.verdicts[0].wait_units / limit.terms.scale / 1e6 == pytest.approx(10, abs=1)
        assert not late.is_admitted
        assert late.verdicts[0].retry_after == pytest.approx(20, abs=1)

    # --- any history ---

    @given(limit_settings(st.sampled_from(["1/d", "4/m"])), st.lists(REQUESTS, max_size=30))
    @settings(max_examples=40, deadline=None, suppress_health_check=SHARED_BENCH)
    async def test_any_history_agrees_with_the_model(self, bench, each, requests):
        """One moment, some limits, some users: as if each request came alone. Half of them come together."""
        compiled = list(configured(bench, *each))
        users = [new_user() for _ in range(3)]
        charged = [charges_of(compiled, users, numbers, user) for numbers, user in requests]
        model = Model()
        expected = [short(model.take(charges, 0)) for charges in charged]
        half = len(charged) // 2
        decisions = [await take(bench.store, *charges) for charges in charged[:half]]
        decisions += await take_together(bench.store, charged[half:])

        assert [short(as_told(decision)) for decision in decisions] == expected


def charges_of(compiled, users, numbers, user):
    chosen = {number % len(compiled): number // len(compiled) for number in sorted(numbers)}
    every = {number: [*compiled[number]] for number in chosen}
    return [
        Charge(every[number][which % len(every[number])], users[user])
        for number, which in sorted(chosen.items())
    ]


def short(told):
    """Without moments, which differ by what the clock went on meanwhile."""
    is_admitted, verdicts = told
    return is_admitted, [verdict[:4] for verdict in verdicts]
