"""A server's standing: when it is ejected and for how long, when checks turn it, how it comes back."""

from __future__ import annotations

import pytest

from proxy.policy.standing import EJECTED, LEAST_SHARE, RETURNING, SERVING, UNHEALTHY, Standing, Trust

TRUST = Trust(failures=3, first=10.0, longest=60.0, slow_start=0.0, rise=2, fall=3)


def failed(standing, times):
    return [standing.failed() for _ in range(times)]


def test_failures_in_a_row_eject():
    standing = Standing(TRUST)
    assert failed(standing, 2) == [False, False]
    standing.answered()
    assert failed(standing, 3) == [False, False, True]
    assert standing.eject(now=100.0) == 10.0
    assert (standing.is_fit, standing.state(100.0)) == (False, EJECTED)
    assert failed(standing, 5) == [False] * 5  # it is out already


def test_ejection_that_was_not_granted_is_asked_for_again():
    """Half of the servers were out."""
    standing = Standing(TRUST)
    assert failed(standing, 4) == [False, False, True, True]


def test_ejection_ends_by_itself():
    standing = Standing(TRUST)
    assert not standing.returns(0.0)
    failed(standing, 3)
    standing.eject(100.0)
    assert not standing.returns(109.9)
    assert standing.returns(110.0)
    assert standing.is_fit
    assert not standing.returns(110.1)


def test_one_failure_after_its_return_is_enough_and_it_is_out_for_longer_each_time():
    """Up to the longest time."""
    standing, now, lasted = Standing(TRUST), 0.0, []
    failed(standing, 2)
    for _ in range(5):
        assert standing.failed()
        lasted.append(standing.eject(now))
        now += lasted[-1]
        assert standing.returns(now)
    assert lasted == [10.0, 20.0, 40.0, 60.0, 60.0]


@pytest.mark.parametrize(("well_for", "seconds"), [(9.0, 20.0), (11.0, 10.0)])
def test_server_that_was_well_for_as_long_begins_anew(well_for, seconds):
    standing = Standing(TRUST)
    failed(standing, 3)
    standing.eject(0.0)
    standing.returns(10.0)
    standing.answered()
    assert failed(standing, 3) == [False, False, True]
    assert standing.eject(10.0 + well_for) == seconds


def test_nothing_ejects_when_it_is_switched_off():
    assert not any(failed(Standing(TRUST._replace(failures=0)), 100))


def test_checks_in_a_row_turn_it():
    """Three that fail, then two that pass; what comes between starts the count again."""
    standing = Standing(TRUST)
    found = [standing.checked(0.0, is_well=well) for well in (False, False, True, False, False, False)]
    assert found == [False, False, False, False, False, True]
    assert (standing.is_fit, standing.state(0.0)) == (False, UNHEALTHY)
    found = [standing.checked(0.0, is_well=well) for well in (True, False, True, True)]
    assert found == [False, False, False, True]
    assert standing.is_fit


def test_first_ejection_after_bad_health_lasts_as_long_as_any_first():
    standing = Standing(TRUST._replace(fall=1, rise=1))
    standing.checked(5.0, is_well=False)
    standing.checked(5.0, is_well=True)
    failed(standing, 3)
    assert standing.eject(5.0) == 10.0


def test_server_that_is_back_gets_its_share_step_by_step():
    standing = Standing(TRUST._replace(slow_start=20.0))
    assert standing.share(0.0) == 1.0  # from the start
    failed(standing, 3)
    standing.eject(0.0)
    standing.returns(10.0)
    assert standing.share(10.0) == LEAST_SHARE
    assert standing.state(10.0) == RETURNING
    assert standing.share(20.0) == 0.5
    assert standing.share(30.0) == 1.0
    assert standing.state(30.0) == SERVING


def test_return_at_once_without_slow_start():
    standing = Standing(TRUST)
    failed(standing, 3)
    standing.eject(0.0)
    standing.returns(10.0)
    assert standing.share(10.0) == 1.0
