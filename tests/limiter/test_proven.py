"""What the service has vouched for: in bounds here, shared through a real Redis."""

from __future__ import annotations

from time import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limiter.proven import CALLS_MAX, KEYS_OF_A_CALL, Proven, Sharing
from proxy.limiter.records import Names
from proxy.limiter.trouble import TroubleError
from tests.limiter.asking import bucket, limits_of, store_at
from tests.support.patience import until

LIMIT = {"name": "a", "rate": "9/h", "key": ["header:X-Key"], "unproven": {"rate": "60/s"}}


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(2, 20))
def test_newest_are_known_and_no_more_than_allowed(numbers, most):
    proven = Proven(most)
    for number in numbers:
        proven.add(bucket(number))
    newest = list(dict.fromkeys(reversed(numbers)))[: most // 2]

    assert len(proven) <= most + 1
    assert all(bucket(number) in proven for number in newest)


def test_news_that_are_not_told_yet_are_bounded():
    """Redis is away, and everybody is new."""
    proven = Proven(2)
    for number in range(5):
        proven.add(bucket(number))

    assert len(proven.news()) == 2


def test_what_is_new_is_told_in_pieces_and_once():
    proven = Proven(10_000)
    for number in range(KEYS_OF_A_CALL + 7):
        proven.add(bucket(number))
    proven.learn([bucket("other")])
    first = proven.news()
    proven.told(first)
    rest = proven.news()
    proven.told(rest)

    assert (len(first), len(rest), proven.news()) == (KEYS_OF_A_CALL, 7, [])


async def test_replicas_and_those_that_start_later_know_what_one_has_learnt(redis):
    """Two or three calls of Redis each."""
    count = 2 * KEYS_OF_A_CALL
    limits = limits_of(LIMIT)
    async with store_at(redis.url, limits) as one, store_at(redis.url, limits) as two:
        for number in range(count):
            one.proven.add(bucket(number))
        await until(lambda: len(two.proven) == count, "the other has read them")
    async with store_at(redis.url, limits) as late:
        assert len(late.proven) == count
        assert bucket(count - 1) in late.proven


async def test_redis_keeps_the_newest_only(redis):
    limits = limits_of(LIMIT)
    async with store_at(redis.url, limits, max_keys=20) as one:
        for number in range(20):
            one.proven.add(bucket(number))
        await until(lambda: not one.proven.news(), "they are told")
        one.proven.add(bucket("new"))
        await until(lambda: not one.proven.news(), "and the new one")
    async with store_at(redis.url, limits) as late:
        assert len(late.proven) == 20
        assert bucket("new") in late.proven


async def test_redis_that_has_lost_them_is_told_again(redis):
    limits = limits_of(LIMIT)
    async with store_at(redis.url, limits) as one:
        for number in range(9):
            one.proven.add(bucket(number))
        await until(lambda: not one.proven.news(), "they are told")
        redis.client().flushall()
        await until(lambda: redis.client().zcard("weir:2:{0}:proven") == 9, "they are there again")


async def test_what_strangers_put_there_is_passed_over(redis):
    client, now_us = redis.client(), time() * 1e6 + 500_000
    client.set("weir:2:{0}:proven", "x")
    limits = limits_of(LIMIT)
    async with store_at(redis.url, limits) as one:
        client.zadd("weir:2:{0}:proven", {"short": now_us, "x" * 17: float("inf"), bucket("ada"): now_us})
        one.proven.add(bucket("bob"))
        await until(lambda: bucket("ada") in one.proven, "what is theirs is read")
        assert one.is_up
        assert len(one.proven) == 2


async def test_store_whose_limits_trust_everybody_shares_nothing(redis):
    async with store_at(redis.url, limits_of({"name": "a", "rate": "9/h"})):
        pass

    assert redis.client().keys("*proven*") == []


class Told:
    """A link that answers each call alike; with `more`, something new is learnt under each."""

    def __init__(self, reply: object, more: Proven | None = None) -> None:
        self.name, self.shards = "here", [0]
        self.calls = 0
        self._reply = reply
        self._more = more

    async def ask_for(self, data: bytes) -> object:  # noqa: ARG002 - whatever it is
        self.calls += 1
        if self._more is not None:
            self._more.add(bucket(self.calls))
        return self._reply


async def test_beat_ends_though_there_is_always_something_new():
    """The rest goes with the next one."""
    proven = Proven(10_000)
    sharing = Sharing(proven, Names("weir"))
    sharing.is_wanted = True
    link = Told([0, 1, 1, 1, []], proven)
    await sharing.share(link)

    assert link.calls == CALLS_MAX
    assert proven.news()


@pytest.mark.parametrize("reply", [[], [0, 1, 1, 1], b"OK"], ids=["nothing", "too little", "a text"])
async def test_what_is_no_answer_to_it_is_told(reply):
    sharing = Sharing(Proven(10), Names("weir"))
    sharing.is_wanted = True
    with pytest.raises(TroubleError, match="does not answer as Redis does"):
        await sharing.share(Told(reply))
