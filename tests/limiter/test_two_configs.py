"""Two configs share a bucket for a while, as in a rolling update: what each sees, and what both admit together.

pytestmark = pytest.mark.unmeasured

The script runs in a real Redis on a clock of the test's own.
"""

from __future__ import annotations

from fractions import Fraction
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limiter.memory import MemoryStore
from proxy.limiter.records import TAG_CALLS, UNITS_MAX, Names, shard_of
from tests.limiter.asking import charge, limits_of
from tests.limiter.test_take import NOW_US, TAG, Script
from tests.policy.model import US

if TYPE_CHECKING:
    from proxy.policy.limits import Limit
    from tests.support.redis_servers import Redis

RATES = ["1/s", "2/s", "15/s", "7/s", "100/s", "90/m", "1013/h", "3/d", "1/d"]
CONFIGS = st.builds(
    lambda rate, burst: {"name": "shared", "rate": rate, "burst": burst},
    st.sampled_from(RATES),
    st.integers(1, 30),
)


def limit_with(**settings: Any) -> Limit:
    return next(iter(limits_of({"name": "shared"} | settings)))


@pytest.fixture
def script(shared_redis: Redis) -> Script:
    return Script(shared_redis)


def admitted(
    script: Script, limit: Limit, now_us: int, times: int = 1, *, alike_us: int = 0, tag: int = TAG
) -> int:
    decisions = script.take([[charge(limit)]] * times, now_us, alike_us=alike_us, tag=tag)
    return sum(decision.is_admitted for decision in decisions)


def test_smaller_burst_wipes_no_debts_of_the_larger(script: Script) -> None:
    """However often it looks, and whoever is admitted between."""
    large, small = limit_with(rate="1/s", burst=100), limit_with(rate="1/s", burst=10)
    total = 0
    for second in range(5):
        for limit in (large, small, large, small):
            total += admitted(script, limit, NOW_US + second * US, 101)

    assert total == 100 + 4


def test_slower_rate_slows_nobody_else_down(script: Script) -> None:
    """Two replicas of the old config still refuse while those of the new one admit at their rate."""
    old, new = limit_with(rate="1/d", burst=5), limit_with(rate="10/s", burst=10)
    admitted(script, old, NOW_US, 5)
    taken = [
        (admitted(script, old, NOW_US + ms * 1000), admitted(script, new, NOW_US + ms * 1000, 3))
        for ms in range(1000, 4000, 100)
    ]

    assert 29 <= sum(new for _, new in taken) <= 40
    assert sum(old for old, _ in taken) <= 3


def test_who_has_spent_the_old_burst_is_served_by_a_raised_rate_at_once(script: Script) -> None:
    """Time since the last charge counts at the new rate, as soon as one replica has it."""
    old, new = limit_with(rate="5/d", burst=5), limit_with(rate="20/s", burst=20)
    admitted(script, old, NOW_US, 5)

    assert admitted(script, old, NOW_US + 3600 * US) == 0
    assert admitted(script, new, NOW_US + 3600 * US, 21) == 20


def test_debt_beyond_a_burst_is_forgotten_when_all_count_alike(script: Script) -> None:
    """Not before: a config of which nobody lives any more locks nobody out."""
    old, new = limit_with(rate="1000/h", burst=1000), limit_with(rate="10/s", burst=10)
    admitted(script, old, NOW_US, 1000)
    early = admitted(script, new, NOW_US + US)
    late = admitted(script, new, NOW_US + US, alike_us=NOW_US)

    assert (early, late) == (0, 1)


def test_debt_of_who_has_begun_since_is_not_cut_down(script: Script) -> None:
    """All were alike when they last said so; then a replica with a larger burst began, and spent it."""
    old, new = limit_with(rate="1/s", burst=10), limit_with(rate="1/s", burst=100)
    other = TAG + TAG_CALLS
    total = admitted(script, new, NOW_US, 101, tag=other)
    for second in range(1, 4):
        total += admitted(script, old, NOW_US + second * US, 5, alike_us=NOW_US - 1)
        total += admitted(script, new, NOW_US + second * US, 101, tag=other)
    told = script.take([[charge(old)]], NOW_US + 3 * US, alike_us=NOW_US - 1)

    assert total == 100 + 3
    assert told
    assert told[0].verdicts[0].retry_after == 1.0, "within a second it is known what this debt is"


@pytest.mark.parametrize("alike_us", [0, NOW_US - 1], ids=["heard of", "not heard of yet"])
def test_token_that_the_smaller_limit_gives_back_closes_no_bucket_of_the_larger(
    alike_us: int, script: Script
) -> None:
    """It was taken before the larger one had spent the rest; what is owed is one token less, for both."""
    old = limit_with(rate="1/s", burst=10, cost_304=0, on_upstream_429="drain")
    new = limit_with(rate="1/s", burst=100)
    admitted(script, new, NOW_US, 100, tag=TAG + TAG_CALLS)
    script.take([[charge(old)]], NOW_US, give_back=True, alike_us=alike_us)
    small = admitted(script, old, NOW_US + US, 3, alike_us=alike_us)
    large = admitted(script, new, NOW_US + US, 101, tag=TAG + TAG_CALLS)

    assert (small, large) == (0, 2)


def test_own_debt_of_a_plan_or_a_grant_is_cut_down_at_once(script: Script) -> None:
    """Nobody else has written it since: it is an empty bucket by the limit's own burst."""
    own, granted = limit_with(rate="1/d", burst=2), limit_with(rate="1/d", burst=100)
    admitted(script, granted, NOW_US, 100)
    refused = script.take([[charge(own)]], NOW_US, alike_us=NOW_US - US)
    assert refused

    assert refused[0].verdicts[0].retry_after == 86400.0


def test_refusal_of_a_lowered_rate_is_told_as_it_will_be(script: Script) -> None:
    """The bucket still fills at the rate it was written at; who waits as told is served."""
    old, new = limit_with(rate="1000/s", burst=1000), limit_with(rate="1/h", burst=2)
    admitted(script, old, NOW_US, 1000)
    decisions = script.take([[charge(new)]], NOW_US + US // 2, alike_us=0)
    assert decisions
    (refused,) = decisions
    (verdict,) = refused.verdicts
    wait_us = -(-verdict.retry_units // new.terms.scale)

    assert not refused.is_admitted
    assert wait_us == 500_000 - 1000
    assert admitted(script, new, NOW_US + US // 2 + wait_us - 1) == 0
    assert admitted(script, new, NOW_US + US // 2 + wait_us) == 1


@given(
    st.lists(CONFIGS, min_size=2, max_size=2),
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 700_000), st.integers(1, 12)), max_size=25),
)
@settings(max_examples=150, deadline=None)
def test_no_more_is_admitted_than_the_larger_of_both_allows(
    shared_redis: Redis, configs: list[dict[str, Any]], asked: list[tuple[int, int, int]]
) -> None:
    """In no part of the time; where one has the larger burst and the other the higher rate, than these two."""
    one, other = (limit_with(**config) for config in configs)
    script, now, passed = Script(shared_redis), NOW_US, []
    for which, pause, times in asked:
        now += pause
        limit = (one, other)[which]
        passed += [now] * admitted(script, limit, now, times)
    burst, rate = (
        max(one.terms.burst, other.terms.burst),
        max(
            Fraction(one.terms.count, one.terms.period_us), Fraction(other.terms.count, other.terms.period_us)
        ),
    )

    for first, begin in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + rate * (passed[last] - begin)


@given(
    st.lists(CONFIGS, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2_000_000), st.integers(1, 5)), max_size=20),
)
@settings(max_examples=150, deadline=None)
def test_any_reloads_mean_the_same_in_memory(
    shared_redis: Redis, configs: list[dict[str, Any]], asked: list[tuple[int, int, int]]
) -> None:
    """Every verdict and every debt, to a millionth of a token: raised, lowered and back, in whatever order."""
    limits = [limits_of(config) for config in configs]
    script, now = Script(shared_redis), NOW_US
    memory = MemoryStore(clock_us=lambda: now)
    for which, pause, times in asked:
        now += pause
        compiled = limits[which % len(limits)]
        (limit,) = compiled
        memory.configure(compiled)
        in_memory = [memory.take([charge(limit)], None) for _ in range(times)]
        in_redis = script.take([[charge(limit)]] * times, now)

        assert [decision.is_admitted for decision in in_redis] == [each.is_admitted for each in in_memory]
        for told, right in zip(in_redis, in_memory, strict=True):
            assert abs(told.verdicts[0].debt - right.verdicts[0].debt) <= max(
                limit.terms.interval // 10**6, 1
            )


@given(st.integers(0, UNITS_MAX), st.sampled_from(RATES), st.sampled_from(RATES))
@settings(max_examples=100, deadline=None)
def test_no_debt_grows_beyond_what_can_be_counted(shared_redis: Redis, debt: int, old: str, new: str) -> None:
    """Whatever is owed at one rate, at another it is a whole number, and the bucket opens."""
    writer, reader = limit_with(rate=old), limit_with(rate=new)
    key = charge(reader).key
    name = Names("weir").bucket("shared", shard_of(key), key)
    script = Script(shared_redis)
    record = b"".join(
        number.to_bytes(size, "little")
        for number, size in (
            (NOW_US, 7),
            (debt, 7),
            (writer.terms.interval, 5),
            (writer.terms.scale, 4),
            (0, 5),
        )
    )
    shared_redis.client().set(name, record)
    mixed, alike = (script.take([[charge(reader)]], NOW_US, alike_us=each) for each in (0, NOW_US))
    assert mixed
    assert alike

    for decision in (*mixed, *alike):
        assert 0 <= decision.verdicts[0].debt <= UNITS_MAX
    assert alike[0].verdicts[0].retry_after <= reader.terms.period_us / US / reader.terms.count + 0.001
