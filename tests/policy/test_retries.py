from __future__ import annotations

import pytest

from proxy.policy.retries import RetryBudget


def spent(budget: RetryBudget) -> int:
    count = 0
    while budget.spend():
        count += 1
    return count


@pytest.fixture
def empty() -> RetryBudget:
    budget = RetryBudget()
    budget.refill(100.0, 5_000)
    spent(budget)
    return budget


@pytest.mark.parametrize(
    ("seconds", "requests", "retries"),
    [(1.0, 0, 10), (1.0, 1_000, 210), (0.5, 1_000, 205), (3.0, 10, 32), (30.0, 0, 100), (20.0, 1_000, 200)],
    ids=["none asked", "a fifth", "in half a second", "few", "at rest", "at rest after traffic"],
)
def test_it_is_a_fifth_of_the_requests_and_ten_a_second(empty, seconds, requests, retries):
    """What ten seconds earn is the most that is kept."""
    empty.refill(100.0 + seconds, 5_000 + requests)

    assert spent(empty) == retries


def test_the_first_requests_may_be_retried_too():
    assert spent(RetryBudget()) == 100


def test_what_was_not_spent_fades(empty):
    """A busy hour gives a quiet one no storm."""
    empty.refill(101.0, 105_000)
    empty.refill(102.0, 105_000)

    assert spent(empty) == 100


def test_a_clock_that_stands_still_gives_nothing(empty):
    empty.refill(100.0, 9_000)
    empty.refill(99.0, 9_000)

    assert spent(empty) == 0


@pytest.mark.parametrize(
    ("method", "length", "repeats"),
    [(b"GET", 0, True), (b"PUT", 0, True), (b"PUT", 1, False), (b"POST", 0, False)],
)
def test_only_what_may_be_done_twice_and_has_no_body_is_sent_again(method, length, repeats):
    budget = RetryBudget()

    assert budget.repeats(method, length) is repeats


def test_nothing_is_sent_again_when_the_budget_is_spent(empty):
    assert not empty.repeats(b"GET", 0)
