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


@given(st.integers(0, 10**12), st.integers(1, 1000))
def test_seconds_are_rounded_up(units, scale):
    seconds = gcra.whole_seconds(units, scale)

    assert seconds - 1 < Fraction(units, scale * 10**6) <= seconds


@pytest.mark.parametrize(
    ("debt", "left"), [(0, 15), (1, 14), (200_000, 14), (15 * 200_000, 0), (20 * 200_000, 0)]
)
def test_remaining_tokens_are_whole(debt, left):
    """Also after a reload to a smaller burst: 20 tokens owed of 15."""
    assert gcra.remaining(debt, 15 * 200_000, 200_000) == left


INTERVALS = st.integers(1, 86_400_000_000)


@given(st.integers(0, 10**15), INTERVALS, INTERVALS)
def test_converted_debt_is_as_many_tokens(debt, interval, new_interval):
    """A change of the rate gives nothing: at most one unit too much, never too little."""
    converted = gcra.converted(debt, interval, new_interval)

    assert 0 <= converted - Fraction(debt * new_interval, interval) < 1


# --- a bucket that is read at another rate than it was written at ---

SLOW, FAST = gcra.RefillRate(4, 1), gcra.RefillRate(1, 1)  # a token in 4 us, a token in each
AMPLE = 10**9


def bucket_of(debt, since_us, rate):
    bucket = gcra.TokenBucket()
    bucket.debt, bucket.since_us, bucket.rate = debt, since_us, rate
    return bucket


def tokens(bucket, now_us, rate, most=AMPLE, room=AMPLE):
    return Fraction(bucket.debt_at(now_us, rate, most * rate.interval, room * rate.interval), rate.interval)


@pytest.mark.parametrize("reader", [SLOW, FAST])
@pytest.mark.parametrize("writer", [SLOW, FAST])
def test_what_came_back_counts_at_the_higher_rate(writer, reader):
    """Whoever reads: 20 tokens owed, less one a microsecond if either is fast."""
    bucket = bucket_of(20 * writer.interval, 100, writer)
    a_us = Fraction(1, 4) if writer is reader is SLOW else 1

    assert [tokens(bucket, 100 + us, reader) for us in (0, 8, 19, 80, 99)] == [
        max(20 - us * a_us, 0) for us in (0, 8, 19, 80, 99)
    ]


def test_debt_is_no_more_than_there_may_be_when_it_was_written():
    """After a reload to a smaller burst: what was more than empty is empty, from then on."""
    bucket = bucket_of(100 * SLOW.interval, 0, SLOW)

    assert [tokens(bucket, us, SLOW, most=10) for us in (0, 8, 40)] == [10, 8, 0]
    assert [tokens(bucket, us, FAST, most=10) for us in (0, 8, 10)] == [10, 2, 0]


def test_closed_bucket_opens_at_its_moment_for_every_rate():
    """And before it there is no room for the next charge, however small the debt is."""
    bucket = bucket_of(3 * SLOW.interval, 1000, SLOW)
    for reader in (SLOW, FAST):
        room = 9 * reader.interval
        debt = bucket.debt_at(900, reader, AMPLE, room)

        assert Fraction(debt - room, reader.scale) == 100
        assert bucket.debt_at(1000, reader, AMPLE, room) == 3 * reader.interval


@given(st.integers(0, 400), st.integers(0, 100))
def test_refusal_tells_the_moment_at_which_there_is_room(us, room):
    """Also of a bucket that fills faster than the limit's own rate says."""
    bucket = bucket_of(300, 0, FAST)
    units = room * SLOW.interval
    debt = bucket.debt_at(us, SLOW, AMPLE, units)
    wait_us = max(bucket.told_debt(debt, units, SLOW, us) - units, 0)  # one unit a microsecond

    assert bucket.debt_at(us + wait_us, SLOW, AMPLE, units) <= units
    assert not wait_us or bucket.debt_at(us + wait_us - 1, SLOW, AMPLE, units) > units


def test_debt_told_at_a_lower_rate_than_its_bucket_fills_by_is_shorter():
    """A plan was taken away: the bucket still fills at the higher rate until the refusal ends."""
    bucket = bucket_of(400, 0, FAST)

    assert bucket.told_debt(400, 0, SLOW, 0) == 100 * SLOW.scale
    assert bucket.told_debt(400, 0, FAST, 0) == 400
    assert bucket_of(400, 5, FAST).told_debt(400, 0, SLOW, 0) == 400  # closed until then


def test_bucket_is_full_when_its_debt_has_come_back():
    assert bucket_of(7, 1000, gcra.RefillRate(1, 3)).full_at_us == 1003
    assert repr(SLOW) == "RefillRate(1 of 4 a us)"
