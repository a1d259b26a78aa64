"""Requests of logs in the order in which they began."""

import random

from hypothesis import given
from hypothesis import strategies as st

from proxy.tuning import order
from proxy.tuning.order import BATCH, LEAP_US, LEAPERS, WINDOW_US, Ordered, merged

NOW = 1_767_225_600_000_000


def batches(items, size=100):
    return [items[start : start + size] for start in range(0, len(items), size)]


def told(moments):
    return [(moment, number) for number, moment in enumerate(moments)]


def flat(pieces):
    return [item for piece in pieces for item in piece]


def test_lines_written_at_their_end_are_put_where_they_began():
    random.seed(3)
    began = sorted(random.randrange(NOW, NOW + 600_000_000) for _ in range(3 * BATCH))
    written = sorted(told(began), key=lambda item: item[0] + random.randrange(WINDOW_US))
    ordered = Ordered(batches(written))

    assert flat(ordered) == sorted(written)
    assert ordered.late == 0


def test_same_moment_keeps_the_order_of_the_log():
    items = [(NOW, number) for number in range(1000)]

    assert flat(Ordered(batches(items))) == items


def test_what_goes_back_in_time_is_left_out():
    """An hour, a year, to 1970."""
    moments = [NOW + number * 1000 for number in range(1000)]
    for at, back in ((300, 3_600_000_000), (500, 31_536_000_000_000), (700, NOW)):
        moments[at] -= back
    ordered = Ordered(batches(told(moments)))

    assert len(flat(ordered)) == 997
    assert ordered.late == 3


def test_moment_far_ahead_hides_nothing_that_follows():
    """Be it the first of all."""
    moments = [NOW + number * 1000 for number in range(1000)]
    for at in (0, 500, 501, 999):
        moments[at] += 2 * LEAP_US
    ordered = Ordered(batches(told(moments)))

    assert [item for item in flat(ordered) if item[0] > NOW + LEAP_US] == [(moments[999], 999)]
    assert ordered.late == 3  # the last one has nobody behind it that tells otherwise


def test_log_that_pauses_for_a_week_goes_on():
    moments = [NOW + number for number in range(200)]
    moments += [NOW + 7 * LEAP_US + number for number in range(LEAPERS + 1)]
    ordered = Ordered(batches(told(moments)))

    assert len(flat(ordered)) == len(moments)
    assert ordered.late == 0


def test_sparse_log_of_weeks_is_whole():
    moments = [NOW + number * 3_600_000_000 for number in range(1000)]
    ordered = Ordered(batches(told(moments)))

    assert flat(ordered) == told(moments)


def test_what_is_held_is_bounded(monkeypatch):
    monkeypatch.setattr(order, "HELD_MAX", 1000)
    monkeypatch.setattr(order, "BATCH", 100)
    pieces = list(Ordered(batches(told(range(NOW, NOW + 5000)))))

    assert sum(map(len, pieces)) == 5000
    assert len(pieces) > 5


@given(st.lists(st.lists(st.integers(NOW, NOW + 100), max_size=40), max_size=4), st.integers(1, 7))
def test_several_logs_become_one(logs, size):
    logs = [[(moment, (number, moment)) for moment in sorted(log)] for number, log in enumerate(logs)]
    pieces = list(merged([Ordered(batches(log, size)) for log in logs]))

    assert flat(pieces) == sorted(flat(pieces), key=lambda item: item[0])
    assert sorted(flat(pieces)) == sorted(flat(logs))


def test_rotated_logs_may_come_in_any_order():
    old, new = told(range(NOW, NOW + 500)), told(range(NOW + 500, NOW + 900))

    assert flat(merged([Ordered(batches(new)), Ordered(batches(old))])) == old + new
