"""What is known of buckets, what is spent of them without Redis, and what is told to Redis afterwards."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.config.units import parse_rate
from proxy.limiter.book import Book
from proxy.limiter.cache import BELIEVED_US, SEVERAL_MAX, Caches, TermsCache
from proxy.limiter.outage import Outage, give_back
from proxy.limiter.outage import decide as decide_without_redis
from proxy.limiter.overrides import Override
from proxy.limiter.records import Names, packer
from proxy.policy.decision import Charge
from tests.limiter.asking import bucket, charge, limit_of, limits_of, no_slots
from tests.limiter.contract import debt_for

NOW_US = 5_000_000_000
INTERVAL = 200_000  # of 15/s, at 3 units a microsecond
ADA = bucket("ada")


def cache_of(rate: str = "15/s", **settings) -> TermsCache:
    terms = limit_of(rate, **settings).terms
    return TermsCache(terms, Book(terms, Names("weir"), 1000), no_slots())


def decide(cache: TermsCache, now_us: int = NOW_US, replicas: int = 1):
    return decide_without_redis([cache], [charge(cache.limit)], Outage(now_us, replicas))


def spend(cache: TermsCache, count: int, now_us: int = NOW_US, replicas: int = 1) -> int:
    return sum(decide(cache, now_us, replicas).is_admitted for _ in range(count))


def settled(cache: TermsCache, now_us: int = NOW_US, replicas: int = 1) -> tuple[float, float]:
    """What settle.lua is told: the debt that is known, and what was spent."""
    _, _, _, _, known, spent, *_ = packer("SETTLED").unpack(cache.book.settle(ADA, now_us, replicas))
    return known, spent


def about(units: int) -> object:
    """What is known is kept in whole microseconds, rounded down."""
    return pytest.approx(units, abs=3)


def test_answer_is_known_from_the_moment_the_question_was_sent() -> None:
    """Redis took it later, so the bucket is full later: a denial never outlives Redis's own."""
    cache = cache_of()
    verdict = cache.verdict(charge(cache.limit), 15 * INTERVAL, NOW_US)

    assert verdict.is_admitted
    assert cache.known.get(ADA) == NOW_US + 1_000_000
    assert not cache.known_verdict(charge(cache.limit), NOW_US).is_admitted
    assert not cache.known_verdict(charge(cache.limit), NOW_US + 66_666).is_admitted
    assert cache.known_verdict(charge(cache.limit), NOW_US + 66_667).is_admitted


@pytest.mark.parametrize(
    ("rate", "settings", "doubted"),
    [
        ("1/h", {}, True),
        ("29/m", {}, True),
        ("1/s", {"burst": 9, "cost": 3}, True),
        ("60/m", {}, False),
        ("15/s", {}, False),
    ],
)
def test_denial_is_believed_as_long_as_no_token_can_have_been_given_back_unseen(
    rate: str, settings: dict[str, int], doubted: bool
) -> None:
    """Counted from the last answer. Where a token takes no longer, it is there before it is doubted."""
    cache = cache_of(rate, **settings)
    full = cache.terms.burst_units
    of = charge(cache.limit)

    def is_denied(now_us: int) -> bool:
        told = cache.denial(of, NOW_US + full // cache.terms.scale, now_us) is not None
        assert cache.known_verdict(of, now_us).is_admitted is not told
        return told

    cache.take.decision([of], [full], 0, NOW_US)
    denied = [is_denied(NOW_US), is_denied(NOW_US + BELIEVED_US - 1), is_denied(NOW_US + BELIEVED_US)]
    cache.take.decision([of], [-1 - full], 0, NOW_US + BELIEVED_US)

    assert denied == ([True, True, False] if doubted else [True, False, False])
    assert not doubted or cache.known_verdict(of, NOW_US + 2 * BELIEVED_US - 1).is_admitted is False


def test_what_was_told_is_forgotten() -> None:
    """A table of it is bounded in time, and in number."""
    cache = cache_of("1/h")
    for number in range(2000):
        cache.take.decision([Charge(cache.terms, bucket(number))], [-1], 0, NOW_US)
    bounded = len(cache._told)
    for second in range(1, 6):
        cache.sweep(NOW_US + second * 1_000_000)

    assert 500 <= bounded <= 1000
    assert len(cache._told) == 0


def test_refusal_carries_the_debt_as_it_stands() -> None:
    verdict = cache_of().verdict(charge(limit_of()), -1 - 15 * INTERVAL, NOW_US)

    assert (verdict.is_admitted, verdict.remaining, round(verdict.retry_after, 4)) == (False, 0, 0.0667)


def test_local_bucket_goes_on_from_what_is_known() -> None:
    """No new burst for an outage."""
    cache = cache_of()
    cache.verdict(charge(cache.limit), 12 * INTERVAL, NOW_US)

    assert spend(cache, 10) == 3


def test_local_bucket_refills_at_the_limits_rate() -> None:
    cache = cache_of()
    spend(cache, 15)

    assert [spend(cache, 1, NOW_US + us) for us in (66_666, 66_667, 66_668)] == [0, 1, 0]


def test_replicas_share_the_limit() -> None:
    """Three replicas: a third of the burst each, then a third of the rate."""
    cache = cache_of()

    assert spend(cache, 15, replicas=3) == 5
    assert spend(cache, 99, NOW_US + 1_000_000, replicas=3) == 5
    assert decide(cache, NOW_US + 1_000_000, replicas=3).verdicts[0].retry_after == 0.2


def test_one_request_at_a_time_passes_however_many_replicas_there_are() -> None:
    """Else nobody would pass; its price is paid in full."""
    cache = cache_of("2/s")

    assert spend(cache, 5, replicas=10) == 1
    assert [spend(cache, 1, NOW_US + us, replicas=10) for us in (4_999_999, 5_000_000)] == [0, 1]


def test_refused_locally_takes_nothing_from_any_limit() -> None:
    wide, narrow = cache_of(name="wide"), cache_of(name="narrow", burst=1)
    request = [charge(wide.limit), charge(narrow.limit)]
    decisions = [decide_without_redis([wide, narrow], request, Outage(NOW_US, 1)) for _ in range(3)]

    assert [decision.is_admitted for decision in decisions] == [True, False, False]
    assert [decision.verdicts[0].remaining for decision in decisions] == [14, 14, 14]


def test_given_back_locally_is_there_again() -> None:
    cache = cache_of()
    spend(cache, 2)
    give_back([cache], [charge(cache.limit)], Outage(NOW_US, 1))

    assert decide(cache).verdicts[0].remaining == 13


def test_what_was_spent_is_told_apart_from_what_was_known() -> None:
    """The one is added to what Redis has, the other is what it must have at least."""
    cache = cache_of()
    cache.verdict(charge(cache.limit), 4 * INTERVAL, NOW_US)
    spend(cache, 3)

    assert settled(cache) == (about(4 * INTERVAL), 3 * INTERVAL)


def test_share_is_told_in_whole_tokens() -> None:
    """Each replica tells what passed through it, whatever a token weighed there."""
    cache = cache_of()
    spend(cache, 2, replicas=4)

    assert settled(cache, replicas=4) == (0, 2 * INTERVAL)


def test_settled_bucket_is_known_with_what_was_spent() -> None:
    """If Redis goes again before it has heard, nothing is given away."""
    cache = cache_of()
    spend(cache, 10)
    cache.book.settle(ADA, NOW_US, 1)

    assert spend(cache, 10) == 5
    assert settled(cache) == (about(10 * INTERVAL), 5 * INTERVAL)


def test_full_bucket_need_not_be_told() -> None:
    cache = cache_of()
    spend(cache, 5)

    assert cache.book.settle(ADA, NOW_US + 400_000, 1) == b""


@given(st.lists(st.tuples(st.integers(0, 100_000), st.booleans()), max_size=60), st.integers(1, 4))
def test_flapping_gives_nothing_away(steps, replicas) -> None:
    """However often Redis goes and comes: what passes stays within the burst and the rate."""
    cache = cache_of()
    now, passed = NOW_US, 0
    for pause, goes_back in steps:
        now += pause
        passed += decide(cache, now, replicas).is_admitted
        if goes_back:
            cache.book.settle(ADA, now, replicas)

    assert passed <= 15 + (now - NOW_US) * 15 / 1e6


def test_rate_that_changes_keeps_the_tokens_that_are_owed() -> None:
    """A reload in an outage: fifteen of fifteen spent, of thirty there are fifteen left."""
    old, new = cache_of(), cache_of("30/s")
    spend(old, 15)
    new.book.inherit(old.book, NOW_US, is_certain=True)

    assert spend(new, 99, NOW_US) == 15
    assert spend(new, 99, NOW_US + 500_000) == 15


def test_raised_rate_helps_in_an_outage_too() -> None:
    """A day of debt is a token, and none is emptier than empty."""
    old, new, narrow = cache_of("5/d"), cache_of("10/s"), cache_of("10/s", burst=1)
    spend(old, 5)
    for cache in (new, narrow):
        cache.book.inherit(old.book, NOW_US, is_certain=True)

    assert spend(new, 99, NOW_US) == 5
    assert spend(narrow, 99, NOW_US + 100_000) == 1


def test_closed_bucket_stays_closed_for_as_long_after_a_reload() -> None:
    old, new = (cache_of(rate, on_upstream_429="drain") for rate in ("15/s", "60/s"))
    limit = old.limit
    old.book.empty(
        ADA, limit.terms.burst_units - limit.terms.cost_units + 30_000_000 * limit.terms.scale, NOW_US
    )
    new.book.inherit(old.book, NOW_US, is_certain=True)

    assert 29.9 < decide(new).verdicts[0].retry_after <= 30


def test_what_is_spent_here_counts_beside_what_redis_says_later() -> None:
    """A reply came too late, so one request was decided here; the next reply knows nothing of its token."""
    cache = cache_of()
    cache.verdict(charge(cache.limit), 3 * INTERVAL, NOW_US)
    spend(cache, 1)
    cache.verdict(charge(cache.limit), 5 * INTERVAL, NOW_US)

    assert cache.book.local_debt(ADA, NOW_US) == about(6 * INTERVAL)
    assert settled(cache) == (about(5 * INTERVAL), about(INTERVAL))


def test_reload_forgets_nothing_that_an_outage_needs() -> None:
    """While Redis answers, what was known before a reload refuses nobody; without Redis it is owed."""
    old, new = cache_of(), cache_of()
    old.verdict(charge(old.limit), 15 * INTERVAL, NOW_US)
    new.book.inherit(old.book, NOW_US, is_certain=False)

    assert new.known_verdict(charge(new.limit), NOW_US).is_admitted
    assert spend(new, 1) == 0
    assert settled(new) == (about(15 * INTERVAL), 0)


def test_lowered_rate_locks_nobody_out_after_a_reload() -> None:
    """What was owed comes back as fast as before: not one token in a day."""
    old, new = cache_of(), cache_of("1/d")
    old.verdict(charge(old.limit), 15 * INTERVAL, NOW_US)
    new.book.inherit(old.book, NOW_US, is_certain=False)

    assert spend(new, 1, NOW_US + 1_000_000) == 1


def test_grants_own_book_goes_with_it() -> None:
    """Who is charged by it again begins with what Redis says."""
    limits = limits_of({"name": "per-user", "rate": "1/h", "burst": 2})
    (limit,) = limits
    caches = Caches(Names("weir"), no_slots())
    caches.configure(limits, 1000, NOW_US, is_certain=False)
    granted = Override(0, parse_rate("9/h"), 9).granted(limit.terms)
    pair = [charge(limit), Charge(granted, ADA)]
    take = caches.take(pair)
    books = len([*caches.books])
    caches.unlearn_terms(granted)
    caches.unlearn_terms(granted)

    assert len([*caches.books]) == books - 1
    assert [*caches.by_terms] == [limit.terms]
    assert caches.take(pair) is not take


def test_memory_of_limits_that_are_charged_together_is_bounded() -> None:
    """Plans and grants have terms of their own, and any of them may come together."""
    limits = limits_of(*[{"name": f"limit-{number}", "rate": "1/s"} for number in range(65)])
    caches = Caches(Names("weir"), no_slots())
    caches.configure(limits, 1000, NOW_US, is_certain=False)
    pairs = [[charge(one), charge(other)] for one in limits for other in limits]
    for pair in pairs:
        caches.take(pair)

    assert len(pairs) > SEVERAL_MAX
    assert len(caches._several) <= SEVERAL_MAX


def test_bucket_of_a_shadow_limit_is_emptied_though_it_has_no_leases() -> None:
    """`lease` is for limits that refuse; one in shadow mode may carry it."""
    limits = limits_of(
        {"name": "per-user", "rate": "1000/s", "lease": 50, "on_upstream_429": "drain", "mode": "shadow"}
    )
    (limit,) = limits
    caches = Caches(Names("weir"), no_slots())
    caches.configure(limits, 1000, NOW_US, is_certain=False)
    cache = caches.empty(charge(limit), debt_for(limit, 20), NOW_US)

    assert cache is not None
    assert not cache.known_verdict(charge(limit), NOW_US + 19_000_000).is_admitted
    assert cache.known_verdict(charge(limit), NOW_US + 21_000_000).is_admitted


def test_bucket_that_came_over_from_before_a_reload_is_doubted_too() -> None:
    """A grant changes its rate, and what was known of it refuses nobody: in an outage it begins full."""
    old, new = cache_of("15/h"), cache_of("15/h")
    spend(old, 15)
    old.verdict(charge(old.limit), 15 * old.terms.interval, NOW_US)
    new.book.inherit(old.book, NOW_US, is_certain=True)
    new.book.doubt_known(ADA)

    assert new.known_verdict(charge(new.limit), NOW_US).is_admitted


def test_what_redis_said_after_a_reload_is_newer_than_what_comes_over() -> None:
    """Somebody was reset meanwhile: the debt of before the reload does not come back."""
    old, new = cache_of("15/h"), cache_of("15/h")
    old.verdict(charge(old.limit), 15 * old.terms.interval, NOW_US)
    new.book.inherit(old.book, NOW_US, is_certain=True)
    new.verdict(charge(new.limit), new.terms.interval, NOW_US)

    assert spend(new, 99) == 14


def test_bucket_that_is_closed_in_an_outage_has_no_tokens_left() -> None:
    """What was spent here before is a part of that, and nobody waits for it a second time."""
    cache = cache_of(on_upstream_429="drain")
    spend(cache, 1)
    cache.book.empty(ADA, cache.terms.burst_units, NOW_US)

    assert decide(cache).verdicts[0].retry_after == pytest.approx(1 / 15, abs=0.001)


def test_reset_reaches_what_is_still_of_before_a_reload() -> None:
    old, new = cache_of("15/h"), cache_of("15/h")
    spend(old, 15)
    new.book.inherit(old.book, NOW_US, is_certain=True)
    new.book.forget(ADA)

    assert spend(new, 99) == 15


def test_leases_that_nobody_uses_are_swept_with_all_else() -> None:
    cache = cache_of("100/s", lease=5)
    assert cache.leases is not None
    assert [cache.leases.is_wanted(ADA, now_us) for now_us in (1, 2)] == [False, True]
    cache.sweep(NOW_US)

    assert cache.leases._asked_us == {}
