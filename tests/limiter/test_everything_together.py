"""One history of everything that limits can do, in memory, in Redis and in a cluster, against one reference.

Requests are charged to several limits at once: rates with plans, costs and waiting, and slots. They end, give tokens
back, and meanwhile the config is reloaded and Redis goes away and comes back. Tokens come back so slowly that none
does within a test: the reference counts them whole, and knows nothing of time.
"""

from __future__ import annotations

import asyncio
import random
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.config.settings import Settings
from proxy.limiter.memory import MemoryStore
from proxy.policy.decision import LOCAL, STORE, Charge
from proxy.policy.limits import compile_limits
from proxy.policy.slots import slots_of
from tests.limiter.asking import ask, ask_all, limits_of, store_at
from tests.limiter.contract import new_user
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from proxy.limiter.store import Store
    from proxy.policy.decision import Decision
    from proxy.policy.limits import Limits
    from proxy.policy.terms import Terms
    from tests.support.redis_servers import Redis

NAMES = ("first", "second", "slots", "more-slots")
USERS = 3


# --- the reference ---


class Reference:
    """How one would write it down: tokens that are owed, and how many requests hold a slot."""

    def __init__(self) -> None:
        self.owed: dict[tuple[str, bytes], int] = {}
        self.held: dict[tuple[str, bytes], int] = {}

    def take(self, charges: Sequence[Charge]) -> tuple[bool, list[tuple[bool, int]]]:
        """Whether it is admitted; of each charge whether it fits, and what is left."""
        fits = [self._fits(charge) for charge in charges]
        is_admitted = all(fit or charge.terms.is_shadow for fit, charge in zip(fits, charges, strict=True))
        for fit, charge in zip(fits, charges, strict=True):
            if is_admitted and fit:
                self._put(charge)
        return is_admitted, [
            (fit, max(0, most(charge.terms) - self._used(charge)))
            for fit, charge in zip(fits, charges, strict=True)
        ]

    def _fits(self, charge: Charge) -> bool:
        terms = charge.terms
        return self._used(charge) + (1 if terms.slots else terms.cost) <= most(terms) + ahead(terms)

    def _used(self, charge: Charge) -> int:
        """A bucket whose plan or burst has become smaller owes no more than can be owed."""
        place, terms = (charge.terms.name, charge.key), charge.terms
        if terms.slots:
            return self.held.get(place, 0)
        return min(self.owed.get(place, 0), most(terms) + ahead(terms))

    def _put(self, charge: Charge) -> None:
        place, terms = (charge.terms.name, charge.key), charge.terms
        if terms.slots:
            self.held[place] = self.held.get(place, 0) + 1
        else:
            self.owed[place] = self._used(charge) + terms.cost

    def give_back(self, charge: Charge) -> None:
        self.owed[charge.terms.name, charge.key] = max(0, self._used(charge) - charge.terms.cost)

    def end(self, places: Sequence[tuple[str, bytes]]) -> None:
        for place in places:
            self.held[place] -= 1


def most(terms: Terms) -> int:
    return terms.slots or terms.burst


def ahead(terms: Terms) -> int:
    """Tokens that a request may wait for."""
    return terms.limit.max_wait_us * terms.count // terms.period_us if not terms.slots else 0


# --- histories ---


def a_rate(draw: Callable[[Sequence[Any]], Any], name: str) -> dict[str, Any]:
    """Refilled by a token an hour at most, so that waiting for two or three takes as many hours."""
    burst = draw([3, 5, 8])
    dear = [{"match": {"paths": ["/dear"]}, "cost": draw([2, 3])}, {"cost": 1}]
    return {
        "name": name,
        "rate": draw(["1/h", "1/d"]),
        "burst": burst,
        "cost": draw([1, 2, dear]),
        "cost_304": 0,
        "max_wait": "0s",
        "mode": draw(["enforce", "enforce", "enforce", "shadow"]),
        "enforce": draw(["100%", "100%", "50%"]),
        "plans": draw([[], ["bought"]]),
    }


def a_config(draw: Callable[[Sequence[Any]], Any], *, has_plan: bool | None) -> Limits:
    """Always the same limits by name, in another order, with other numbers.

    If it is said who `has_plan`, buckets stay as large as they are: what is owed beyond a smaller one is
    forgotten by an outage.
    """
    first, second = a_rate(draw, "first"), a_rate(draw, "second")
    # A minute is all that may be waited for: a token in 30 s, of which two may be owed.
    second |= {"rate": "2/m", "burst": draw([3, 6]), "max_wait": draw(["0s", "1m"]), "plans": []}
    plan = {"name": "bought", "rate": draw(["1/h", "2/h"]), "burst": draw([3, 4, 12])}
    if has_plan is not None:
        first |= {"rate": "1/h", "burst": 8, "plans": ["bought"] * has_plan}
        second |= {"burst": 6, "max_wait": "1m"}
        plan |= {"rate": "1/h", "burst": 4}
    limits = [
        first,
        second,
        {"name": "slots", "concurrency": draw([1, 2, 4]), "mode": draw(["enforce", "enforce", "shadow"])},
        {"name": "more-slots", "concurrency": draw([2, 3])},
    ]
    if draw([True, False]):
        limits.insert(0, {"name": "new", "rate": "1/h"})
    made = Settings.model_validate(
        {
            "upstream": {"servers": ["http://a"]},
            "plans": [plan],
            "limits": [{"key": ["const"]} | each for each in limits],
        }
    )
    return compile_limits(made.limits, b"secret", plans=made.plan_keys)


# Tokens that come back while Redis is away do not reach it: docs/limits.md.
WITHOUT_REDIS = ("take", "take", "take", "take", "together", "end", "end", "reload")
STEPS = ("take", "take", "take", "take", "together", "end", "end", "back", "reload")


class History:
    """Steps of a store, each of which the reference takes too."""

    def __init__(
        self, store: Store, draw: Callable[[Sequence[Any]], Any], *, users_change: bool = True
    ) -> None:
        """`users_change`: from one request to the next, a user may have another plan or be enforced for."""
        self.store = store
        self.users_change = users_change
        self.draw = draw
        self.reference = Reference()
        has_plan = None if users_change else draw([True, False])
        self.configs = [a_config(draw, has_plan=has_plan) for _ in range(3)]
        self.users = [new_user() for _ in range(USERS)]
        self.spent: list[Charge] = []  # what may still be given back
        self.running: list[tuple[Decision, list[tuple[str, bytes]]]] = []
        self.told: list[str] = []
        self.reload()

    def reload(self) -> None:
        self.limits = self.draw(self.configs)
        self.store.configure(self.limits)
        self.spent.clear()  # by terms that are no more
        self.told.append("reload")

    def charges(self) -> list[Charge]:
        """To one or several of the limits; each by any of its terms that differ in plan or cost."""
        wanted = [name for name in NAMES if self.draw([True, False])] or [self.draw(NAMES)]
        user = self.draw(self.users)
        by_name = {limit.name: [*limit] for limit in self.limits}
        if not self.users_change:
            by_name = {name: self.terms_of(user, every) for name, every in by_name.items()}
        return [Charge(self.draw(by_name[name]), user) for name in wanted]

    def terms_of(self, user: bytes, every: list[Terms]) -> list[Terms]:
        """Always the same, but for the cost."""
        is_first = user == self.users[0]
        found = [terms for terms in every if bool(terms.plan) == is_first] or every
        return [terms for terms in found if terms.is_shadow == is_first] or found

    async def step(self, word: str) -> None:
        if word == "take":
            charges = self.charges()
            self.compare(charges, await ask(self.store, *charges))
        elif word == "together":
            requests = [self.charges() for _ in range(self.draw([2, 5]))]
            for charges, decision in zip(requests, await ask_all(self.store, requests), strict=True):
                self.compare(charges, decision)
        elif word == "end" and self.running:
            decision, places = self.running.pop(self.draw(range(len(self.running))))
            self.store.vacate(slots_of(decision))
            await asyncio.sleep(0)
            self.reference.end(places)
        elif word == "back" and self.spent:
            charge = self.spent.pop(self.draw(range(len(self.spent))))
            self.store.give_back([charge])
            await asyncio.sleep(0)
            self.reference.give_back(charge)
            self.told.append(f"given back: {charge}")
        elif word == "reload":
            self.reload()

    def compare(self, charges: list[Charge], decision: Decision) -> None:
        is_admitted, verdicts = self.reference.take(charges)
        self.told.append(f"{[charge.terms for charge in charges]}: {decision}, {verdicts}")
        story = "\n".join(self.told)
        assert decision.is_admitted == is_admitted, story
        if decision.via == STORE:
            # Of a bucket that refills faster than its new rate, a refusal tells when there is room.
            told = [(v.is_admitted, v.remaining if v.is_admitted else None) for v in decision.verdicts]
            assert told == [(fit, left if fit else None) for fit, left in verdicts], story
        if not is_admitted:
            return
        fits = [charge for charge, (fit, _) in zip(charges, verdicts, strict=True) if fit]
        self.running.append(
            (decision, [(charge.terms.name, charge.key) for charge in fits if charge.terms.slots])
        )
        if decision.via != LOCAL:
            self.spent += [charge for charge in fits if not charge.terms.slots]

    async def end(self) -> None:
        for decision, _ in self.running:
            self.store.vacate(slots_of(decision))
        await asyncio.sleep(0)
        assert not self.store.held.slots


@asynccontextmanager
async def _in_memory(_: pytest.FixtureRequest) -> AsyncIterator[Store]:
    yield MemoryStore(lambda: 1)


@asynccontextmanager
async def _in_redis(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    redis: Redis = request.getfixturevalue("shared_redis")
    async with store_at(redis.url, limits_of(), caches_denials=False) as store:
        yield store


@asynccontextmanager
async def _in_cluster(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    nodes: list[Redis] = request.getfixturevalue("nodes")
    url = "redis+cluster://" + ",".join(node.address for node in nodes)
    async with store_at(url, limits_of(), caches_denials=False) as store:
        yield store


AT = {"memory": _in_memory, "redis": _in_redis, "cluster": _in_cluster}


@pytest.fixture(
    params=[pytest.param(name, marks=() if name == "memory" else pytest.mark.real) for name in AT]
)
async def store(request: pytest.FixtureRequest) -> AsyncIterator[Store]:
    async with AT[request.param](request) as store:
        yield store


@given(st.integers(0, 2**32), st.lists(st.sampled_from(STEPS), max_size=40))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_history_is_the_reference(store: Store, seed: int, steps: list[str]) -> None:
    """Every admission, and of every limit whether the charge fits and what is left."""
    history = History(store, random.Random(seed).choice)
    for word in steps:
        await history.step(word)
    await history.end()


@pytest.mark.parametrize("seed", range(6))
async def test_outages_change_nothing_where_one_weir_counts(redis: Redis, seed: int) -> None:
    """Redis is frozen again and again: who is admitted meanwhile, and after it, is the same.

    A user whose plan changes meanwhile has a bucket by either: that is not known here.
    """
    chosen = random.Random(seed)
    async with store_at(redis.url, limits_of(), timeout=0.1) as store:
        history = History(store, chosen.choice, users_change=False)
        for _ in range(3):
            for _ in range(15):
                await history.step(chosen.choice(WITHOUT_REDIS))
            redis.freeze()
            try:
                for _ in range(15):
                    await history.step(chosen.choice(WITHOUT_REDIS))
            finally:
                redis.thaw()
            await until(lambda: store.is_up, "redis is asked again")
        await history.end()
