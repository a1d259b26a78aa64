"""What is counted of each key, in bounds."""

import random
from collections import Counter

import pytest

from proxy.tuning import tally as tally_module
from proxy.tuning.arrivals import ArrivalTimes
from proxy.tuning.distinct import Distinct
from proxy.tuning.load import STEPS, Load, Step
from proxy.tuning.tally import Limited, Tally


class Said:
    """A verdict."""

    def __init__(self, is_admitted, debt=0):
        self.is_admitted = is_admitted
        self.debt = debt


def tally():
    return Tally(None, ArrivalTimes(), Load())


def key(number):
    return random.Random(number).randbytes(16)


def test_runs_of_refusals_are_counted_by_key():
    seen = tally()
    for at, (number, word) in enumerate(
        [(1, "-"), (1, "-"), (2, "-"), (1, "+"), (1, "-"), (2, "+"), (3, "+")]
    ):
        seen.count(key(number), f"k{number}", Said(word == "+"), at)
    seen.end(7)

    assert seen.limited() == [Limited("k1", 4, 3, 2), Limited("k2", 2, 1, 1)]
    assert seen.busiest(2) == [Limited("k1", 4, 3, 2), Limited("k2", 2, 1, 1)]
    assert (seen.keys, seen.charges, seen.refusals, seen.is_estimate) == (3, 7, 4, False)
    assert [list(numbers) for numbers, _ in seen.arrivals.chunks()] == [[0, 0, 1, 0, 0, 1, 2]]


def test_keys_are_held_in_bounds(monkeypatch):
    """Those that were refused longer than the others; how many there were is about right."""
    monkeypatch.setattr(tally_module, "KEYS_MAX", 400)
    seen = tally()
    for number in range(20_000):
        seen.count(key(number), f"k{number}", Said(number != 5), number)
        seen.count(key("busy"), "busy", Said(is_admitted=True), number)

    assert len(seen._keys) + len(seen._old) <= 400
    assert seen._numbers <= 600  # of arrivals: those of forgotten keys are used again
    assert seen.limited() == [Limited("k5", 1, 1, 1)]
    assert seen.busiest(1) == [Limited("busy", 20_000, 0, 0)]
    assert seen.is_estimate
    assert abs(seen.keys - 20_001) < 600


@pytest.mark.parametrize("count", [0, 1, 100, 10_000, 200_000])
def test_distinct_hashes_are_estimated(count):
    distinct = Distinct()
    random.seed(count)
    for _ in range(count):
        digest = random.randbytes(16)
        distinct.add(digest)
        distinct.add(digest)

    assert abs(distinct.estimate() - count) <= count * 0.03


def test_load_is_told_in_steps():
    seen = tally()
    for at, debt in ((0, 1), (999_999, 7), (1_000_000, 3), (5_500_000, 2)):
        seen.count(key(1), "k", Said(debt != 3, debt), at)
    seen.end(5_500_000)

    none = Step(0, 0, 0)
    assert seen.load.steps == [Step(2, 0, 7), Step(1, 1, 3), none, none, none, Step(1, 0, 2)]


def test_steps_of_a_long_log_grow():
    """No request is lost, however long it is."""
    random.seed(4)
    moments = sorted(random.randrange(10_000_000_000_000) for _ in range(5000))
    seen = tally()
    for at in moments:
        seen.count(key(1), "k", Said(is_admitted=True), at)
    seen.end(moments[-1])

    load = seen.load
    assert STEPS // 2 < len(load.steps) <= STEPS
    expected = Counter(at // load.step_us for at in moments)
    assert [step.requests for step in load.steps] == [expected[number] for number in range(len(load.steps))]


def test_crowd_that_is_refused_is_held_in_bounds_too(monkeypatch):
    """There is no room for all that were refused: the oldest are forgotten like the others."""
    monkeypatch.setattr(tally_module, "KEYS_MAX", 400)
    seen = tally()
    for number in range(2_000):
        seen.count(key(number), f"k{number}", Said(is_admitted=False), number)

    assert len(seen._keys) + len(seen._old) <= 400
    assert seen.is_estimate
    assert seen.refusals == 2_000
