"""The smallest rate and burst that would have done, against trying them all one by one."""

import random
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.loader import loads
from proxy.limiter.memory import MemoryStore
from proxy.policy.decision import Charge
from proxy.policy.limits import compile_limits
from proxy.tuning import arrivals as arrivals_module
from proxy.tuning import whatif
from proxy.tuning.arrivals import ArrivalTimes
from proxy.tuning.whatif import Bucket, Overrun, Shape, refused


def arrivals_of(pairs):
    arrivals = ArrivalTimes()
    for number, at in sorted(pairs, key=lambda pair: pair[1]):
        arrivals.add(number, at)
    arrivals.end()
    return arrivals


def refuses_nobody(arrivals, shape):
    with closing(Overrun(arrivals, shape)) as overrun:
        return whatif.refuses_nobody(arrivals, shape, overrun)


def refuses_at_most(arrivals, shape, most, nobody):
    with closing(Overrun(arrivals, shape)) as overrun:
        return whatif.refuses_at_most(arrivals, shape, most, nobody, overrun)


def least(arrivals, shape, most):
    """As whatif has it: the rate in proportion, then the burst, then the rate."""

    def does(count, burst):
        return refused(arrivals, shape, Bucket(count, burst)) <= most

    count = 1
    while not does(count, shape.burst_for(count)):
        count += 1
    burst = shape.burst_for(count)
    while burst > shape.cost and does(count, burst - 1):
        burst -= 1
    while count > 1 and does(count - 1, burst):
        count -= 1
    return Bucket(count, burst)


PAIRS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3_000_000)), min_size=1, max_size=60)
CROWDS = st.lists(
    st.tuples(st.integers(0, 2), st.integers(0, 40).map(lambda n: n * 50_000)), min_size=1, max_size=60
)
SHAPES = st.builds(
    Shape,
    count=st.integers(1, 40),
    period_us=st.sampled_from([1_000_000, 60_000_000]),
    burst=st.integers(2, 60),
    cost=st.integers(1, 2),
)


@settings(max_examples=300, deadline=None)
@given(PAIRS | CROWDS, SHAPES)
def test_smallest_bucket_that_refuses_nobody_is_found(pairs, shape):
    arrivals = arrivals_of(pairs)

    assert refuses_nobody(arrivals, shape) == least(arrivals, shape, 0)


@settings(max_examples=300, deadline=None)
@given(PAIRS | CROWDS, SHAPES, st.integers(0, 12))
def test_smallest_bucket_that_refuses_few_is_found(pairs, shape, most):
    """Of requests of one cost, for which more of either never refuses more."""
    arrivals = arrivals_of(pairs)
    nobody = refuses_nobody(arrivals, shape)

    assert refuses_at_most(arrivals, shape, most, nobody) == least(arrivals, shape, most)


@settings(max_examples=200, deadline=None)
@given(PAIRS | CROWDS, SHAPES)
def test_less_of_either_refuses_somebody(pairs, shape):
    arrivals = arrivals_of(pairs)
    found = refuses_nobody(arrivals, shape)

    assert refused(arrivals, shape, found) == 0
    if found.count > 1:
        assert refused(arrivals, shape, Bucket(found.count - 1, found.burst))
    if found.burst > shape.cost:
        assert refused(arrivals, shape, Bucket(found.count, found.burst - 1))


@settings(max_examples=100, deadline=None)
@given(
    PAIRS | CROWDS, st.sampled_from(["3/s", "7/m", "40/s", "1000/h"]), st.integers(2, 9), st.integers(1, 2)
)
def test_what_would_be_refused_is_what_the_store_refuses(pairs, rate, burst, cost):
    """One truth: the arithmetic is that of the store that the gateway decides by."""
    text = f'upstream: {{servers: ["http://a"]}}\nlimits: [{{name: a, rate: {rate}, burst: {burst}, cost: {cost}}}]'
    limits = compile_limits(loads(text, "f", {}).limits, b"")
    (limit,) = limits
    now = 0
    store = MemoryStore(lambda: now)
    store.configure(limits)
    count = 0
    for number, at in sorted(pairs, key=lambda pair: pair[1]):
        now = at
        count += not store.take([Charge(limit.terms, bytes([number]) * 16)], None).is_admitted

    shape = Shape(limit.terms.count, limit.terms.period_us, limit.terms.burst, limit.terms.cost)
    assert refused(arrivals_of(pairs), shape, Bucket(limit.terms.count, limit.terms.burst)) == count


def test_arrivals_beyond_memory_are_the_same(monkeypatch):
    """They go through a temporary file, as often as they are asked for."""
    random.seed(2)
    pairs = [(random.randrange(5), random.randrange(10_000_000)) for _ in range(2000)]
    shape = Shape(15, 1_000_000, 15, 1)
    held = arrivals_of(pairs)
    monkeypatch.setattr(arrivals_module, "HELD", 300)
    put_away = arrivals_of(pairs)

    assert (put_away.count, put_away.keys) == (held.count, held.keys) == (2000, 5)
    assert refuses_nobody(put_away, shape) == refuses_nobody(held, shape)
    assert refuses_at_most(put_away, shape, 2, Bucket(500, 500)) == refuses_at_most(
        held, shape, 2, Bucket(500, 500)
    )
    put_away.close()


@pytest.mark.parametrize("count", [1, 1000])
def test_requests_at_one_moment_need_a_burst(count):
    arrivals = arrivals_of([(0, 5)] * count)

    assert refuses_nobody(arrivals, Shape(15, 1_000_000, 30, 1)) == Bucket(1, count)


def test_requests_that_no_rate_could_admit_get_the_highest_there_is():
    """All at one moment, with a burst that stays small whatever the rate."""
    count = whatif._fitting(10**30, 0, 1, 1_000_000, lambda _: 1)

    assert count == whatif.COUNT_MAX
