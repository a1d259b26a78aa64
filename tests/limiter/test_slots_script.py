"""slots.lua and take.lua in a real Redis, on a clock of the test's own: holders that die, and clocks that move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limiter.keeping import Telltale
from proxy.limiter.records import (
    HOLD,
    RENEW,
    SLOT_LIFE_US,
    VACATE,
    charge_record,
    pack_count,
    pack_head,
    pack_holder,
    pack_operation,
)
from proxy.policy.slots import Slot
from tests.limiter.asking import charge, limit_of, limits_of, no_slots
from tests.limiter.test_take import NOW_US, OPEN_END, TAG, US, Script

if TYPE_CHECKING:
    from proxy.policy.decision import Charge
    from tests.support.redis_servers import Redis

SECOND = US


class Timed:
    """Slots, each word to Redis at a moment of the test's."""

    def __init__(self, redis: Redis) -> None:
        self._script = Script(redis)
        self.now_us = NOW_US

    def take(self, charges: list[Charge], number: int, *, again_us: int = 0) -> list[int]:
        """The answers, for one charge after the other."""
        records = b"".join(
            charge_record(each.terms, each.terms.cost_units, each.terms.ceiling_units) for each in charges
        )
        record = pack_operation(HOLD, len(charges)) + records + pack_holder(1, number)
        return self._run([_name(each) for each in charges], record, again_us)

    def tell(self, kind: int, of: Charge, number: int) -> None:
        self._run([_name(of)], Telltale(_KEEPING, kind, Slot(of, number)).record)

    def _run(self, keys: list[bytes], record: bytes, again_us: int = 0) -> list[int]:
        plan = pack_head(OPEN_END + 10**13, TAG, again_us, 1) + pack_count(1) + record
        *answers, foreign, now_us = self._script._run(
            keys=keys, args=[plan, self.now_us // US, self.now_us % US]
        )
        assert (foreign, now_us) == (0, self.now_us)
        return answers


_KEEPING = no_slots()
_KEEPING._process = 1


def _name(of: Charge) -> bytes:
    kind = b"slots" if of.terms.slots else b"tokens"
    return b"weir:%b:%b" % (kind, of.key)


@pytest.fixture
def redis_slots(shared_redis: Redis) -> Timed:
    return Timed(shared_redis)


def at_once(slots: int) -> Charge:
    (limit,) = limits_of({"name": "at-once", "concurrency": slots})
    return charge(limit)


def test_holder_that_says_nothing_is_dead_after_its_time_and_not_before(redis_slots: Timed) -> None:
    of = at_once(1)
    assert redis_slots.take([of], 1) == [1]
    redis_slots.now_us += SLOT_LIFE_US - 1
    assert redis_slots.take([of], 2) == [-2]
    redis_slots.now_us += 1
    assert redis_slots.take([of], 3) == [1]


def test_holder_that_is_renewed_lives(redis_slots: Timed) -> None:
    of = at_once(1)
    redis_slots.take([of], 1)
    for _ in range(10):
        redis_slots.now_us += SLOT_LIFE_US - 1
        redis_slots.tell(RENEW, of, 1)
    assert redis_slots.take([of], 2) == [-2]
    redis_slots.tell(VACATE, of, 1)
    redis_slots.tell(VACATE, of, 1)
    assert redis_slots.take([of], 2) == [1]


def test_clock_that_goes_back_keeps_the_dead_for_one_life(redis_slots: Timed) -> None:
    """From the first refusal on; those that live are renewed."""
    of = at_once(1)
    redis_slots.take([of], 1)
    redis_slots.now_us -= 3600 * SECOND
    assert redis_slots.take([of], 2) == [-2]
    redis_slots.now_us += SLOT_LIFE_US
    assert redis_slots.take([of], 3) == [1]


def test_take_that_comes_again_is_one_take(redis_slots: Timed) -> None:
    """Of the slot and of the tokens beside it; what was refused is asked anew."""
    of, limit = at_once(2), limit_of("5/h")
    both = [of, charge(limit)]
    interval = limit.terms.interval
    first = redis_slots.take(both, 1)
    redis_slots.now_us += 1000
    assert redis_slots.take(both, 1, again_us=NOW_US - SECOND)[0] == first[0] == 1
    (held, debt) = redis_slots.take(both, 2)

    assert held == 2
    assert abs(debt - 2 * interval) < interval / 10, "three takes, of which one was a repetition"


def test_take_that_found_no_slot_finds_none_when_it_comes_again(redis_slots: Timed) -> None:
    """Whatever others of its process have been charged meanwhile: who holds no slot was not admitted."""
    of, limit = at_once(1), limit_of("5/h")
    both = [of, charge(limit)]
    redis_slots.take(both, 1)
    redis_slots.now_us += 1000
    refused = redis_slots.take(both, 2)
    redis_slots.now_us += 1000
    again = redis_slots.take(both, 2, again_us=NOW_US - SECOND)

    assert refused[0] == again[0] == -2
    assert abs(again[1] - limit.terms.interval) < limit.terms.interval / 10, "it takes no token either"


def test_take_that_a_full_shadow_let_pass_is_charged_once(redis_slots: Timed) -> None:
    """It holds no slot, and is known by the tokens that it took."""
    (shadow,) = limits_of({"name": "watched", "concurrency": 1, "mode": "shadow"})
    limit = limit_of("5/h")
    both = [charge(shadow), charge(limit)]
    redis_slots.take([charge(shadow)], 1)
    first = redis_slots.take(both, 2)
    redis_slots.now_us += 1000
    again = redis_slots.take(both, 2, again_us=NOW_US - SECOND)

    assert first[0] == again[0] == -2
    assert abs(again[1] - limit.terms.interval) < limit.terms.interval / 10, "a repetition takes nothing"


WORDS = st.tuples(
    st.sampled_from([HOLD, HOLD, HOLD, RENEW, VACATE, 0]), st.integers(0, 5), st.integers(-9, 9)
)


@given(slots=st.integers(1, 3), words=st.lists(WORDS, max_size=30))
@settings(max_examples=150, deadline=None)
def test_any_history_agrees_with_the_model(shared_redis: Redis, slots: int, words: list) -> None:
    """Takes, renewals, vacations and a clock that goes both ways; who is not renewed has died."""
    timed = Timed(shared_redis)
    of = at_once(slots)
    until: dict[int, int] = {}  # by holder
    number = 100
    for kind, which, seconds in words:
        if kind == 0:
            timed.now_us += seconds * SECOND
            continue
        held = [holder for holder in until if until[holder] > timed.now_us]
        ends = timed.now_us + SLOT_LIFE_US
        if kind == HOLD:
            number += 1
            until = {holder: until[holder] for holder in held}
            if len(held) < slots:
                assert timed.take([of], number) == [len(held) + 1]
                until[number] = ends
            else:
                assert timed.take([of], number) == [-1 - len(held)]
                until = {holder: min(moment, ends) for holder, moment in until.items()}
        elif held:
            holder = held[which % len(held)]
            timed.tell(kind, of, holder)
            if kind == RENEW:
                until = {each: until[each] for each in held} | {holder: ends}
            else:
                del until[holder]
