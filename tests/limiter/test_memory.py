from __future__ import annotations

import subprocess
import sys
from time import monotonic_ns

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limiter.memory import MemoryStore, monotonic_us
from proxy.policy.decision import Charge
from tests.limiter.contract import (
    REQUESTS,
    StoreContract,
    charges_of,
    configured,
    debt_for,
    limit_settings,
    new_user,
)
from tests.policy.model import Model, as_told

US = 1_000_000
MINUTE_US = 60 * US


class MemoryBench:
    """A memory store on a clock that stands still."""

    def __init__(self, now_us=0, **bounds):
        self.now_us = now_us
        self.store = MemoryStore(lambda: self.now_us, **bounds)

    async def advance(self, seconds):
        self.now_us += -int(-seconds * US // 1)

    def take(self, *charges):
        return self.store.take(charges, None)

    def admits(self, limit, key):
        return self.take(Charge(limit.terms, key)).is_admitted


class TestMemoryStore(StoreContract):
    @pytest.fixture
    def bench(self):
        return MemoryBench()


class TestMemoryStoreLateInTime(StoreContract):
    """The same after a hundred years of uptime."""

    @pytest.fixture
    def bench(self):
        return MemoryBench(now_us=100 * 365 * 86400 * US + 1)


STEPS_US = st.one_of(
    st.just(0),
    st.integers(0, 10),
    st.integers(0, 2 * US),
    st.integers(0, 200 * 86400 * US),
    st.sampled_from([66_666, 66_667, 66_668, US, MINUTE_US, 60 * MINUTE_US]),
)
# A minute of the highest can be counted exactly: a config with a higher one may be refused.
RATES = st.tuples(st.one_of(st.integers(1, 60), st.integers(1, 10**8)), st.sampled_from("smhd")).map(
    lambda rate: f"{rate[0]}/{rate[1]}"
)


@given(limit_settings(RATES), st.lists(st.tuples(STEPS_US, REQUESTS, st.booleans()), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_history_in_time_agrees_with_the_model(each, history):
    """To the unit: verdicts, tokens left, waits, whatever time goes by and whenever it is swept."""
    bench = MemoryBench()
    compiled = list(configured(bench, *each))
    users = [new_user() for _ in range(3)]
    model = Model()
    for step_us, (numbers, user), is_swept in history:
        bench.now_us += step_us
        charges = charges_of(compiled, users, numbers, user)
        if is_swept:
            bench.store.sweep()

        assert as_told(bench.take(*charges)) == model.take(charges, bench.now_us)


def test_minute_under_constant_demand_admits_rate_and_burst():
    """15 * 60 + 15, to the token; and every window of the minute holds its own bound."""
    bench = MemoryBench()
    (limit,) = configured(bench, {"rate": "15/s"})
    admitted = []
    for bench.now_us in range(0, MINUTE_US + 1, 10_000):
        if bench.admits(limit, b"k"):
            admitted.append(bench.now_us)

    assert len(admitted) == 15 * 60 + 15
    for first, start in enumerate(admitted):
        for number, end in enumerate(admitted[first:], 1):
            assert number <= 15 + (end - start) * 15 // US


def test_token_is_there_at_its_moment_and_not_before():
    """A third of a microsecond is rounded towards the limit."""
    bench = MemoryBench()
    (limit,) = configured(bench, {"rate": "15/s"})
    for _ in range(15):
        bench.admits(limit, b"k")
    bench.now_us = 66_666
    early = bench.admits(limit, b"k")
    bench.now_us = 66_667

    assert not early
    assert bench.admits(limit, b"k")


def test_clock_that_goes_back_gives_nothing():
    """And it breaks nothing: who was refused is refused, who is new is served."""
    bench = MemoryBench(now_us=3600 * US)
    (limit,) = configured(bench, {"rate": "15/s"})
    for _ in range(15):
        bench.admits(limit, b"k")
    bench.now_us = 0
    bench.store.sweep()

    assert not bench.admits(limit, b"k")
    assert bench.take(Charge(limit.terms, b"k")).verdicts[0].remaining == 0
    assert [bench.admits(limit, b"new") for _ in range(16)] == [True] * 15 + [False]
    bench.now_us = 3600 * US
    bench.store.sweep()
    assert not bench.admits(limit, b"k")
    assert bench.admits(limit, b"new")


def test_limit_that_was_removed_is_forgotten():
    bench = MemoryBench()
    (limit,) = configured(bench, {"name": "a", "rate": "1/h"})
    bench.admits(limit, b"k")
    configured(bench, {"name": "b"})
    (limit,) = configured(bench, {"name": "a", "rate": "1/h"})

    assert bench.admits(limit, b"k")


@given(st.integers(1, 10**9), st.integers(1, 10**9), st.integers(0, 10**12), st.integers(0, 10**9))
@settings(deadline=None)
def test_reload_keeps_what_is_missing_but_no_bucket_is_emptier_than_empty(before, after, now_us, later_us):
    """It is full when it would have been, or when an empty one is full at the new rate, whichever comes first."""
    bench = MemoryBench(now_us)
    (limit,) = configured(bench, {"name": "a", "rate": f"{before}/d", "burst": 1})
    bench.admits(limit, b"k")
    quicker = max(before, after)  # of the two times to a full bucket, the shorter
    full_at = bench.now_us - -86400 * US // quicker
    (limit,) = configured(bench, {"name": "a", "rate": f"{after}/d", "burst": 1})
    bench.now_us += later_us

    assert bench.admits(limit, b"k") == (bench.now_us >= full_at)


def test_eviction_of_one_limit_is_survived_by_another():
    """Each limit has a table of its own."""
    bench = MemoryBench(max_keys=10)
    flooded, calm = configured(bench, {"name": "flooded", "rate": "1/h"}, {"name": "calm", "rate": "1/h"})
    bench.admits(calm, b"k")
    for number in range(100):
        bench.admits(flooded, b"%d" % number)

    assert not bench.admits(calm, b"k")


def test_flood_of_keys_stays_within_bounds_and_is_counted():
    """100 000 users who come once: those that are forgotten before they are full again are evictions."""
    bench = MemoryBench(max_keys=1000)
    (limit,) = configured(bench, {"name": "a", "rate": "1/h"})
    for number in range(100_000):
        bench.take(Charge(limit.terms, b"%d" % number))
        assert bench.store.status()["keys"]["a"] <= 1000 if number % 100 == 0 else True
    status = bench.store.status()

    assert status["keys"]["a"] <= 1000
    assert status["evictions"]["a"] == 100_000 - status["keys"]["a"]


def test_flood_over_several_limits_stays_within_bounds():
    """On the way of several limits too, and with users who are refused."""
    bench = MemoryBench(max_keys=100)
    first, second = configured(bench, {"name": "a", "rate": "1/h"}, {"name": "b", "rate": "1/h"})
    for number in range(5000):
        key = b"%d" % (number // 2)
        bench.take(Charge(first.terms, key), Charge(second.terms, key))
        bench.take(Charge(first.terms, b"%d" % (number % 70)))
        keys = bench.store.status()["keys"]
        assert isinstance(keys, dict) and max(keys.values()) <= 100


def test_request_that_one_limit_refuses_leaves_no_trace_in_another():
    """Who is refused by address cannot fill the table of users."""
    bench = MemoryBench()
    address, user = configured(bench, {"name": "address", "rate": "1/h"}, {"name": "user"})
    bench.admits(address, b"k")
    for number in range(100):
        bench.take(Charge(address.terms, b"k"), Charge(user.terms, b"%d" % number))

    assert bench.store.status()["keys"] == {"address": 1, "user": 0}


def test_user_who_keeps_asking_is_not_evicted():
    """A flood of others does not fill the bucket of one who is refused all the time."""
    bench = MemoryBench(max_keys=100)
    (limit,) = configured(bench, {"rate": "1/h"})
    bench.admits(limit, b"k")
    for number in range(1000):
        bench.admits(limit, b"%d" % number)
        if number % 10 == 0:
            assert not bench.admits(limit, b"k")


def test_one_key_is_enough_of_a_bound():
    bench = MemoryBench(max_keys=1)
    (limit,) = configured(bench, {"name": "a", "rate": "1/h"})
    for number in range(10):
        bench.admits(limit, b"%d" % number)

    assert not bench.admits(limit, b"9")
    assert bench.store.status()["keys"]["a"] <= 2  # one of each generation


def test_bound_follows_at_the_next_reload():
    bench = MemoryBench(max_keys=1000)
    (limit,) = limits = configured(bench, {"name": "a", "rate": "1/h"})
    bench.store.max_keys = 10
    bench.store.configure(limits)
    for number in range(100):
        bench.admits(limit, b"%d" % number)

    assert bench.store.status()["keys"]["a"] <= 10


def test_full_buckets_are_forgotten_and_no_eviction():
    """The next sweep after the last of them is full again leaves nothing."""
    bench = MemoryBench()
    (limit,) = configured(bench, {"name": "a", "rate": "15/s"})
    for number in range(1000):
        bench.admits(limit, b"%d" % number)
    bench.store.sweep()
    before = bench.store.status()
    bench.now_us += 66_667
    bench.store.sweep()
    after = bench.store.status()

    assert before == {
        "kind": "memory",
        "keys": {"a": 1000},
        "in_flight": {},
        "evictions": {"a": 0},
        "proven": 0,
    }
    assert after == {"kind": "memory", "keys": {"a": 0}, "in_flight": {}, "evictions": {"a": 0}, "proven": 0}


def test_old_debt_is_paid_at_the_new_pace():
    """A client that bought more does not wait for an hour; what it owed is not forgotten either."""
    bench = MemoryBench()
    (limit,) = configured(bench, {"name": "a", "rate": "15/h"})
    before = [bench.admits(limit, b"k") for _ in range(16)]
    (limit,) = configured(bench, {"name": "a", "rate": "15/s"})
    at_once = bench.admits(limit, b"k")
    bench.now_us += 66_667
    later = [bench.admits(limit, b"k") for _ in range(2)]
    bench.now_us += 2 * US
    bench.store.sweep()

    assert before == [True] * 15 + [False]
    assert not at_once
    assert later == [True, False]
    assert bench.store.status()["keys"] == {"a": 0}


@pytest.mark.parametrize(("old", "new"), [("1/h", "7/h"), ("7/h", "1/h")])
def test_reload_to_another_rate_forgets_no_bucket_early(old, new):
    """Seven owed, and half an hour later three and a half, by the higher of the two rates."""
    bench = MemoryBench()
    (limit,) = configured(bench, {"name": "a", "rate": old, "burst": 7})
    for _ in range(7):
        bench.admits(limit, b"k")
    bench.store.sweep()
    (limit,) = configured(bench, {"name": "a", "rate": new, "burst": 7})
    bench.now_us += 1800 * US
    bench.store.sweep()

    assert [bench.admits(limit, b"k") for _ in range(8)].count(True) == 3


def test_token_that_comes_back_to_a_closed_bucket_opens_it_earlier():
    """The service had its clients wait for twenty seconds; one of them was answered 304."""
    bench = MemoryBench()
    (limit,) = configured(bench, {"rate": "1/s", "burst": 5, "on_upstream_429": "drain"})
    charge = Charge(limit.terms, b"k")
    bench.store.empty([(charge, debt_for(limit, 20))])
    bench.store.give_back([charge])
    bench.now_us = 19 * US - 1
    early = bench.admits(limit, b"k")
    bench.now_us = 19 * US

    assert not early
    assert bench.admits(limit, b"k")


def test_one_charge_takes_the_short_way(monkeypatch):
    """The store's hot path; its verdicts are those of the long way."""
    bench = MemoryBench()
    (limit,) = configured(bench, {})
    monkeypatch.setattr(MemoryStore, "_take_all", None)

    assert bench.admits(limit, b"k")


def test_clock_counts_microseconds():
    assert abs(monotonic_us() - monotonic_ns() // 1000) < US


async def test_memory_is_always_up():
    """There is nothing to connect to; after the end nothing is left."""
    bench = MemoryBench()
    (limit,) = configured(bench, {"name": "a"})
    await bench.store.start()
    bench.admits(limit, b"k")
    await bench.store.close()

    assert bench.store.is_up
    assert bench.store.status()["keys"] == {}


async def test_many_buckets_that_are_full_again_are_dropped():
    """They are looked at some at a time; none of them is an eviction."""
    bench = MemoryBench(max_keys=20_000)
    (limit,) = configured(bench, {"name": "a", "rate": "60/m"})
    for number in range(10_001):
        bench.admits(limit, number.to_bytes(16, "big"))
    for _ in range(10):
        await bench.advance(60)
        bench.store.sweep()

    assert bench.store.status()["keys"] == {"a": 0}
    assert bench.store.status()["evictions"] == {"a": 0}


def test_start_without_redis_does_not_load_its_client():
    """It would be a tenth of a worker's memory at rest, and a sixth of its start."""
    code = (
        "import sys, proxy.runtime.run, proxy.runtime.worker; print({'redis', 'hiredis'} & set(sys.modules))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert found.stdout.strip() == "set()"
