"""Queues of who waits for a token: turns come when the store said, whoever leaves, and whatever is asked."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy import faults
from proxy.limiter.memory import MemoryStore
from proxy.limiter.queues import WaitingRoom
from proxy.policy.decision import Charge, unspent
from tests.policy.heads import limits
from tests.support.memory import MemoryLoop

LIMITS = [
    {"name": "one", "rate": "2/s", "burst": 2, "max_wait": "9s"},
    {"name": "two", "rate": "1/s", "burst": 3, "max_wait": "7s"},
]
USERS = [b"a" * 16, b"b" * 16]
# Somebody comes, charged to some of the limits; the n-th of those who wait leaves; time goes by.
STEPS = st.one_of(
    st.tuples(st.just("comes"), st.sampled_from([(0,), (1,), (0, 1)]), st.integers(0, 1)),
    st.tuples(st.just("leaves"), st.integers(0, 30), st.just(0)),
    st.tuples(st.just("passes"), st.integers(1, 3_000), st.just(0)),
)


class Waiter:
    def __init__(self, loop, passed, charges):
        self.charges = charges
        self._loop, self._passed = loop, passed

    def turn_came(self, waited):
        self._passed.append((self._loop.time(), self))

    def turn_is_too_late(self, waited):
        raise AssertionError


async def play(steps):
    """Who passed, and when."""
    loop = asyncio.get_running_loop()
    store, room = MemoryStore(lambda: round(loop.time() * 1e6)), WaitingRoom(loop.time)
    compiled = limits(*LIMITS)
    store.configure(compiled)
    every = list(compiled)
    passed, waiting = [], {}
    for kind, what, user in steps:
        waiting = {waiter: decision for waiter, decision in waiting.items() if waiter in room._places}
        if kind == "passes":
            await asyncio.sleep(what / 1000)
        elif kind == "leaves" and waiting:
            waiter = list(waiting)[what % len(waiting)]
            room.leave(waiter)
            store.give_back(unspent(waiting[waiter]))
        elif kind == "comes":
            waiter = Waiter(loop, passed, [Charge(every[number].terms, USERS[user]) for number in what])
            decision = store.take(waiter.charges, waiter)
            if decision.is_admitted and decision.waits:
                assert room.enter(waiter, decision, decision.waits) is None
                waiting[waiter] = decision
            elif decision.is_admitted:
                waiter.turn_came(0)
    await asyncio.sleep(30)
    assert not len(room)
    assert set(room.waiting.values()) <= {0}
    assert not room._queues
    return passed


@pytest.mark.moved
@given(st.lists(STEPS, max_size=60))
@settings(max_examples=150)
def test_whatever_happens_the_limits_hold(steps):
    """Nobody is left waiting, and of requests of one limit no more pass in any time than its rate allows."""
    with asyncio.Runner(loop_factory=MemoryLoop) as runner:
        passed = runner.run(play([(kind, what, user) for kind, what, user in steps if what != (0, 1)]))

    for number, (rate, burst) in enumerate([(2, 2), (1, 3)]):
        for user in USERS:
            moments = [
                at
                for at, waiter in passed
                if waiter.charges[0].terms.name == LIMITS[number]["name"] and waiter.charges[0].key == user
            ]
            for first, began in enumerate(moments):
                for count, ended in enumerate(moments[first:], 1):
                    assert count <= burst + rate * (ended - began + 0.002) + 1e-6


@pytest.mark.moved
@given(st.lists(STEPS, max_size=60))
@settings(max_examples=100)
def test_nobody_is_left_waiting_for_several_limits(steps):
    with asyncio.Runner(loop_factory=MemoryLoop) as runner:
        runner.run(play(steps))


@pytest.mark.moved
async def test_whoever_leaves_under_anothers_end_is_told_nothing_more():
    """The process ends: the first that is told takes another along, as a connection does that they shared."""
    loop = asyncio.get_running_loop()
    room, told = WaitingRoom(loop.time), []
    store = MemoryStore(lambda: round(loop.time() * 1e6))
    compiled = limits({"name": "one", "rate": "1/s", "burst": 1, "max_wait": "20s"})
    store.configure(compiled)
    (limit,) = compiled

    class Companion:
        def turn_is_too_late(self, waited):
            told.append(self)
            for other in waiting:
                if other is not self:
                    room.leave(other)

    waiting = [Companion() for _ in range(3)]
    for number in range(-1, 3):
        decision = store.take([Charge(limit.terms, USERS[0])], None)
        if number >= 0:
            assert room.enter(waiting[number], decision, decision.waits) is None
    room.end_at(loop.time())

    assert told == waiting[:1]
    assert not len(room)


@pytest.mark.moved
async def test_who_waits_for_two_buckets_passes_when_both_have_a_token():
    """At the later of the turns. In the first queue its place is free from the earlier one on."""
    loop = asyncio.get_running_loop()
    store, room, passed = MemoryStore(lambda: round(loop.time() * 1e6)), WaitingRoom(loop.time), []
    compiled = limits(
        {"name": "soon", "rate": "1/s", "burst": 1, "max_wait": "9s"},
        {"name": "late", "rate": "30/m", "burst": 1, "max_wait": "9s"},
    )
    store.configure(compiled)
    charges = [Charge(limit.terms, USERS[0]) for limit in compiled]
    begun = loop.time()
    store.take(charges, None)
    waiter = Waiter(loop, passed, charges)
    decision = store.take(charges, waiter)
    room.enter(waiter, decision, decision.waits)
    await asyncio.sleep(1.5)
    between = dict(room.waiting)
    await asyncio.sleep(2)

    assert between == {"soon": 0, "late": 1}
    assert [(round(at - begun, 2), who) for at, who in passed] == [(2.0, waiter)]
    assert not len(room)


@pytest.mark.moved
async def test_process_that_ends_keeps_nobody_whose_turn_comes_too_late():
    """Who comes then is told at once; it waits for what comes in time."""
    loop = asyncio.get_running_loop()
    store, room, passed = MemoryStore(lambda: round(loop.time() * 1e6)), WaitingRoom(loop.time), []
    compiled = limits({"name": "one", "rate": "1/s", "burst": 1, "max_wait": "20s"})
    store.configure(compiled)
    (limit,) = compiled
    room.end_at(loop.time() + 1.5)
    told = []
    for _ in range(3):
        waiter = Waiter(loop, passed, [Charge(limit.terms, USERS[0])])
        decision = store.take(waiter.charges, waiter)
        if decision.waits:
            told.append(room.enter(waiter, decision, decision.waits))
    await asyncio.sleep(5)

    assert told == [None, faults.DRAINING]
    assert len(passed) == 1


@pytest.mark.moved
async def test_leaver_of_a_thousand_costs_no_walk():
    """Whoever leaves, in whatever order, those behind are not touched one by one."""
    loop = asyncio.get_running_loop()
    room = WaitingRoom(loop.time)
    store = MemoryStore(lambda: round(loop.time() * 1e6))
    compiled = limits({"name": "one", "rate": "100/s", "burst": 1, "max_wait": "20s"})
    store.configure(compiled)
    (limit,) = compiled
    waiters = [Waiter(loop, [], [Charge(limit.terms, USERS[0])]) for _ in range(1500)]
    for waiter in waiters:
        decision = store.take(waiter.charges, waiter)
        if decision.waits:
            room.enter(waiter, decision, decision.waits)
    (queue,) = room._queues.values()
    last = queue.last_turn
    for waiter in waiters[1:1400]:
        room.leave(waiter)

    assert queue.last_turn == pytest.approx(last - 1399 / 100, abs=1e-3)
    assert len(room) == 100
    for waiter in waiters[1400:]:
        room.leave(waiter)
    assert not room._queues
