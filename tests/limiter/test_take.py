"""take.lua in a real Redis, on a clock of the test's own: exact to the unit, all or nothing, and nothing written in vain.

pytestmark = pytest.mark.unmeasured

The script is run as it is, but for two places: TIME is replaced by an argument, and buckets outlive the test's clock.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limiter import scripts
from proxy.limiter.batch import SCRIPT
from proxy.limiter.cache import Caches
from proxy.limiter.records import TAG_CALLS, Names, pack_count, pack_head, shard_of
from proxy.policy.decision import Charge
from tests.limiter.asking import charge, limit_of, limits_of, no_slots
from tests.policy.model import US, Model, as_told

if TYPE_CHECKING:
    from proxy.limiter.operations import Operation
    from proxy.policy.decision import Decision
    from proxy.policy.limits import Limit
    from proxy.policy.terms import Terms
    from tests.support.redis_servers import Redis

NOW_US = 1_795_000_000_000_000  # a day in November 2026
OPEN_END = NOW_US + 10**12
TAG = 7 * TAG_CALLS + 1


class Script:
    """The script with its clock as an argument."""

    def __init__(self, redis: Redis, script: scripts.Script = SCRIPT) -> None:
        source = script.source.decode()
        timed = source.replace("local time = call('TIME')", "local time = {ARGV[2], ARGV[3]}")
        lasting = re.sub(r"'PX', [^\n]*\)\n", "'PX', 600000)\n", timed)
        assert timed != source
        assert lasting != timed
        self.redis = redis
        self._client = redis.client()
        self._run = self._client.register_script(lasting)
        self.real = self._client.register_script(source)
        self._client.flushall()

    def take(
        self,
        requests: list[list[Charge]],
        now_us: int,
        *,
        give_back: bool = False,
        deadline: int = OPEN_END,
        again_us: int = 0,
        tag: int = TAG,
        alike_us: int | None = None,
    ) -> list[Decision] | None:
        """The decisions of one batch; None if it came too late.

        `alike_us`: until when all replicas are known to have been alike; by default until now.
        """
        operations = [operation_of(charges, give_back=give_back) for charges in requests]
        plan = pack_head(deadline, tag, again_us, now_us if alike_us is None else alike_us)
        for record, run in groupby([operation.record for operation in operations]):
            plan += pack_count(len(list(run))) + record
        answers = self._run(
            keys=keys_of(requests), args=[plan, now_us // US, now_us % US], client=self._client
        )
        assert answers[-1] == now_us
        if len(answers) == 1:
            return None
        assert answers[-2] == 0
        at, decisions = 0, []
        for operation, charges in zip(operations, requests, strict=True):
            decisions.append(operation.decision(charges, answers, at, 0))
            at += operation.width
        return decisions

    def keys(self) -> list[bytes | str]:
        return self._client.keys("weir:*")

    def values(self, keys: list[bytes | str]) -> list[Any]:
        return self._client.mget(keys) if keys else []


def operation_of(charges: list[Charge], *, give_back: bool = False) -> Operation:
    return _operation(tuple([charge.terms for charge in charges]), give_back)


@lru_cache(64)
def _operation(terms: tuple[Terms, ...], give_back: bool) -> Operation:
    """It does not depend on the keys."""
    caches = Caches(Names("weir"), no_slots())
    if give_back:
        return caches.of(terms[0]).give_back
    return caches.take([Charge(each, b"") for each in terms])


def keys_of(requests: list[list[Charge]]) -> list[bytes]:
    names = Names("weir")
    return [
        names.bucket(charge.limit.name, shard_of(charge.key), charge.key)
        for charges in requests
        for charge in charges
    ]


@pytest.fixture
def script(shared_redis: Redis) -> Script:
    return Script(shared_redis)


def admitted(decisions: list[Decision]) -> list[bool]:
    return [decision.is_admitted for decision in decisions]


@pytest.mark.parametrize("rate", ["15/s", "7/s", "97/s", "1000/m", "100001/h", "3/d"])
def test_burst_at_one_moment_passes_whole(script: Script, rate: str) -> None:
    """Not one less by drift, not one more."""
    limit = limit_of(rate, burst=50)
    decisions = script.take([[charge(limit)] for _ in range(51)], NOW_US)

    assert admitted(decisions) == [True] * 50 + [False]


def test_minute_at_the_rate_is_exact_to_the_token(script: Script) -> None:
    """15/s asked every millisecond for a minute: the burst and 900, each refill at its very microsecond."""
    limit = limit_of("15/s")
    total = 0
    for second in range(60):
        batches = [
            script.take([[charge(limit)]] * 2, NOW_US + second * US + ms * 1000) for ms in range(0, 1000, 20)
        ]
        total += sum(len([each for each in decisions or [] if each.is_admitted]) for decisions in batches)

    assert total == 15 + 60 * 15 - 1  # the last moment is 20 ms short of the minute


def test_token_returns_at_its_microsecond(script: Script) -> None:
    """At 15/s the first token is there after 66 667 microseconds, the second after 133 334, the third after 200 000."""
    limit = limit_of("15/s")
    one = [[charge(limit)]]
    script.take(one * 15, NOW_US)
    moments = [
        us
        for us in (66_666, 66_667, 133_333, 133_334, 199_999, 200_000)
        if admitted(script.take(one, NOW_US + us))[0]
    ]

    assert moments == [66_667, 133_334, 200_000]


def test_refusal_writes_nothing(script: Script, shared_redis: Redis) -> None:
    """Not the bucket, and not when it expires."""
    limit = limit_of("15/s")
    script.take([[charge(limit)] for _ in range(15)], NOW_US)
    (key,) = script.keys()
    before, writes = shared_redis.ask("GET", key), commands(shared_redis, "set")
    script.take([[charge(limit)] for _ in range(20)], NOW_US + 1)

    assert shared_redis.ask("GET", key) == before
    assert commands(shared_redis, "set") == writes


def test_key_read_and_written_once_a_batch(script: Script, shared_redis: Redis) -> None:
    """However many of its requests come together."""
    limit = limit_of("15/s")
    take = operation_of([charge(limit)])
    reads, writes = commands(shared_redis, "get"), commands(shared_redis, "set")
    plan = pack_head(OPEN_END, TAG, 0, 1) + pack_count(12) + take.record
    script._run(keys=keys_of([[charge(limit)]] * 12), args=[plan, NOW_US // US, 0])

    assert commands(shared_redis, "get") - reads == 1
    assert commands(shared_redis, "set") - writes == 1


def test_late_batch_takes_nothing(script: Script) -> None:
    """A Redis that was frozen must not charge for requests that were answered long ago."""
    limit = limit_of("15/s")

    assert script.take([[charge(limit)]], NOW_US, deadline=NOW_US - 1) is None
    assert script.keys() == []
    assert admitted(script.take([[charge(limit)]], NOW_US, deadline=NOW_US)) == [True]


def test_clock_that_went_back_locks_nobody_out(script: Script) -> None:
    """The bucket is taken for empty, not for an hour of debt."""
    limit = limit_of("15/s")
    script.take([[charge(limit)]] * 15, NOW_US)
    back = NOW_US - 3600 * US
    decisions = [admitted(script.take([[charge(limit)]], back + us))[0] for us in (0, 66_667)]

    assert decisions == [False, True]


def test_tokens_given_back_are_there_again(script: Script) -> None:
    """And a bucket that is full by that is no key any more."""
    limit = limit_of("15/s")
    script.take([[charge(limit)]] * 2, NOW_US)
    script.take([[charge(limit)]], NOW_US, give_back=True)
    left = script.take([[charge(limit)]], NOW_US)
    for _ in range(3):
        script.take([[charge(limit)]], NOW_US, give_back=True)

    assert left[0].verdicts[0].remaining == 13
    assert script.keys() == []


def test_key_lives_until_the_bucket_is_full(shared_redis: Redis) -> None:
    """PX is the time to full, rounded up by less than 2 ms."""
    script = Script(shared_redis)
    limit = limit_of("15/s")
    plan = pack_head(9e15, TAG, 0, 1) + pack_count(3) + operation_of([charge(limit)]).record
    script.real(keys=keys_of([[charge(limit)]] * 3), args=[plan])
    (key,) = script.keys()

    assert 150 < shared_redis.ask("PTTL", key) <= 202


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Limit], list[tuple[int, list[list[Charge]]]]]:
    """Some limits, and batches of requests with the microseconds between them."""
    limits = []
    for number in range(draw(st.integers(1, 3))):
        burst = draw(st.integers(1, 20))
        limits.append(
            {
                "name": f"limit-{number}",
                "rate": draw(st.sampled_from(["15/s", "7/s", "1/s", "999/s", "90/m", "1013/h"])),
                "burst": burst,
                "cost": draw(st.integers(1, min(burst, 3))),
                "mode": draw(st.sampled_from(["enforce", "enforce", "shadow"])),
            }
        )
    compiled = list(limits_of(*limits))
    request = st.lists(st.sampled_from(compiled), min_size=1, max_size=3, unique=True)
    batches = []
    for _ in range(draw(st.integers(1, 12))):
        requests = [
            [charge(limit, user) for limit in charged]
            for charged, user in draw(st.lists(st.tuples(request, st.integers(0, 1)), min_size=1, max_size=8))
        ]
        batches.append((draw(st.integers(0, 400_000)), requests))
    return compiled, batches


@given(histories())
@settings(max_examples=150, deadline=None)
def test_any_history_is_the_models(shared_redis: Redis, history: Any) -> None:
    """Every verdict, every remainder and every moment: no rounding at all."""
    _, batches = history
    script, model, now = Script(shared_redis), Model(), NOW_US
    for pause, requests in batches:
        now += pause
        decisions = script.take(requests, now)

        assert [as_told(decision) for decision in decisions] == [
            model.take(charges, now) for charges in requests
        ]


LONG_WAY = scripts.Script("call.lua", "bucket.lua", "take.lua")


@given(histories())
@settings(max_examples=100, deadline=None)
def test_short_way_of_plain_calls_is_the_long_one(shared_redis: Redis, history: Any) -> None:
    """The same answers, and the same bytes in the same keys."""
    _, batches = history
    outcomes = []
    for source in (SCRIPT, LONG_WAY):
        script, now, told = Script(shared_redis, source), NOW_US, []
        for pause, requests in batches:
            now += pause
            told += [as_told(decision) for decision in script.take(requests, now) or []]
        keys = sorted(script.keys())
        outcomes.append((told, keys, script.values(keys)))

    assert outcomes[0] == outcomes[1]


def commands(redis: Redis, name: str) -> int:
    """How often a command was called, also by scripts."""
    return redis.client().info("commandstats").get(f"cmdstat_{name}", {"calls": 0})["calls"]
