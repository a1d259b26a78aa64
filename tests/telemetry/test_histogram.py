from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.histogram import NOTED_MAX, Histogram

numbers = st.floats(min_value=0, max_value=1e6)


def test_counts_a_value_on_a_bound_below_it():
    """`le` means less or equal."""
    histogram = Histogram((1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)

    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 7.5


def test_notes_are_counted_before_they_are_many():
    """However seldom somebody scrapes."""
    histogram = Histogram((1.0,))
    for _ in range(NOTED_MAX * 3 + 1):
        histogram.observe(0.5)

    assert histogram.noted == [0.5]
    assert histogram.counts == [NOTED_MAX * 3 + 1, 0]


@given(st.lists(numbers), st.lists(numbers, min_size=1, unique=True).map(sorted))
def test_counts_as_one_by_one_would(values, bounds):
    """The running count at a bound is the number of values at or below it, and none is lost."""
    histogram = Histogram(bounds)
    for value in values:
        histogram.observe(value)

    running = list(accumulate(histogram.counts))
    assert running[:-1] == [sum(value <= bound for value in values) for bound in bounds]
    assert running[-1] == len(values)
