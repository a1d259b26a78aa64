from __future__ import annotations

from proxy.contract.ration import Ration


def test_a_burst_passes_then_so_many_a_second():
    """Three at once, two a second from there."""
    ration = Ration(2.0, 3)

    assert [ration.admits(10.0) for _ in range(5)] == [True, True, True, False, False]
    assert [ration.admits(10.5) for _ in range(2)] == [True, False]
    assert [ration.admits(100.0) for _ in range(4)] == [True, True, True, False]


def test_what_was_passed_over_is_told_once():
    """The next line that is written can say how many are missing before it."""
    ration = Ration(1.0, 1)
    admitted = [ration.admits(5.0) for _ in range(4)]

    assert admitted == [True, False, False, False]
    assert ration.take_passed_over() == 3
    assert ration.take_passed_over() == 0


def test_it_is_full_after_a_rest():
    """So that who was passed over last is told of too."""
    ration = Ration(2.0, 4)
    for _ in range(6):
        ration.admits(5.0)

    assert [ration.is_full(now) for now in (5.0, 6.9, 7.0)] == [False, False, True]


def test_a_clock_that_steps_back_gives_nothing():
    """Nor does it take anything."""
    ration = Ration(1.0, 2)
    admitted = [ration.admits(now) for now in (50.0, 10.0, 10.5, 49.0, 50.5, 51.0)]

    assert admitted == [True, True, False, False, False, True]
