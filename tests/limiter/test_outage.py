"""Decisions without Redis: what they tell of a replica's share, and what is given back of it. More is in test_cache.py."""

from __future__ import annotations

import pytest

from proxy.limiter.book import Book
from proxy.limiter.cache import TermsCache
from proxy.limiter.outage import Outage, decide, give_back
from proxy.limiter.records import Names
from tests.limiter.asking import bucket, charge, limit_of, no_slots

NOW_US = 5_000_000_000


def cache_of(**settings) -> TermsCache:
    terms = limit_of(**settings).terms
    return TermsCache(terms, Book(terms, Names("weir"), 1000), no_slots())


def test_who_is_admitted_by_a_share_need_not_come_back() -> None:
    cache = cache_of(rate="10/s")
    admitted, *_, refused = [
        decide([cache], [charge(cache.limit)], Outage(NOW_US, 10)).verdicts[0] for _ in range(3)
    ]

    assert (admitted.is_admitted, admitted.retry_after) == (True, 0.0)
    assert (refused.is_admitted, refused.retry_after) == (False, 1.0)


def test_turn_in_a_queue_comes_when_the_share_has_a_token() -> None:
    """One of ten replicas: a token comes back there once a second."""
    cache = cache_of(rate="10/s", max_wait="5s")
    request = [charge(cache.limit)]
    decisions = [decide([cache], request, Outage(NOW_US, 10)) for _ in range(7)]
    waits = [decision.verdicts[0].wait_units / cache.terms.scale / 1e6 for decision in decisions]

    assert [decision.is_admitted for decision in decisions] == [True] * 6 + [False]
    assert waits[:6] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize("way", ["allow", "deny"])
def test_nothing_is_given_back_of_what_took_nothing(way: str) -> None:
    """Where Redis being away allows or denies all, no token was taken here, so none comes back."""
    cache = cache_of(rate="10/s", on_store_error=way)
    cache.verdict(charge(cache.limit), 5 * cache.terms.interval, NOW_US)
    give_back([cache], [charge(cache.limit)], Outage(NOW_US, 1))

    assert cache.book.local_debt(bucket("ada"), NOW_US) == pytest.approx(5 * cache.terms.interval, abs=10)
    assert not cache.book.local
