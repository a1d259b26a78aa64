from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy import gcra

COUNTS = st.integers(1, 10**9)
PERIODS = st.sampled_from([1_000_000, 60_000_000, 3_600_000_000, 86_400_000_000])


@pytest.mark.parametrize(
    ("count", "period_us", "reduced"),
    [
        (15, 1_000_000, (200_000, 3)),
        (1, 1_000_000, (1_000_000, 1)),
        (7, 60_000_000, (60_000_000, 7)),
        (1_000_000, 1_000_000, (1, 1)),
        (3_000_000, 1_000_000, (1, 3)),
        (5000, 86_400_000_000, (17_280_000, 1)),
    ],
)
def test_rate_is_two_whole_numbers(count, period_us, reduced):
    """15 a second is 200 000 units a token and 3 units a microsecond."""
    assert gcra.reduced(count, period_us) == reduced


@given(COUNTS, PERIODS)
def test_reduced_rate_is_the_rate(count, period_us):
    """In one period exactly `count` tokens come back."""
    interval, scale = gcra.reduced(count, period_us)

    assert scale * period_us == count * interval


@given(COUNTS, PERIODS, st.integers(1, 1000), st.data())
def test_remaining_tokens_and_the_wait_for_one_more_agree(count, period_us, burst, data):
    """Once the wait is over there is one token more, and a unit before that there is not."""
    interval, scale = gcra.reduced(count, period_us)
    units = burst * interval
    debt = data.draw(st.integers(1, units))
    left = gcra.remaining(debt, units, interval)
    wait = gcra.next_token(debt, units, interval)

    assert left == (units - debt) // interval
    assert gcra.remaining(debt - wait, units, interval) == left + 1
    assert gcra.remaining(debt - wait + 1, units, interval) == left
    assert (
        gcra.whole_seconds(wait, scale) - 1 < Fraction(wait, scale * 10**6) <= gcra.whole_seconds(wait, scale)
    )


def test_full_bucket_waits_for_nothing():
    assert gcra.next_token(0, 15 * 200_000, 200_000) == 0
    assert gcra.remaining(0, 15 * 200_000, 200_000) == 15


def test_bucket_that_owes_more_than_its_burst_waits_for_its_first_token():
    """After a reload to a smaller burst: 20 tokens owed of 15."""
    debt, units, interval = 20 * 200_000, 15 * 200_000, 200_000

    assert gcra.remaining(debt, units, interval) == 0
    assert gcra.next_token(debt, units, interval) == 6 * 200_000


@given(st.integers(0, 10**18), COUNTS, COUNTS)
def test_rescaled_moment_is_the_same_and_never_earlier(full_at, scale, new_scale):
    """A change of the rate gives nothing: at most one unit too late, never too early."""
    moment = gcra.rescaled(full_at, scale, new_scale)

    assert 0 <= moment - Fraction(full_at * new_scale, scale) < 1
