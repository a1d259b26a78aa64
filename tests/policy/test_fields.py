from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy import fields as limit_fields
from proxy.policy.decision import LOCAL, Charge, Decision
from proxy.policy.fields import DRAFT10, fields, policy_lines, refusal_by_another, retry_after
from proxy.policy.gcra import US
from proxy.policy.slots import SlotVerdict
from tests.policy.heads import limit, slot_limit, verdict_of

TOKEN = 200_000  # units of a token at 15/s


def slots(under_way, **more):
    """Of three."""
    return SlotVerdict(Charge(slot_limit().terms, b"k" * 16), under_way, fits=True, **more)


def decision(*verdicts):
    return Decision(
        all(verdict.is_admitted or verdict.limit.is_shadow for verdict in verdicts), list(verdicts)
    )


def test_admitted_request_is_told_what_is_left():
    """IETF draft 10: quota and window, tokens left, seconds to the next."""
    told = fields(decision(verdict_of(limit(), True, TOKEN)), "draft10")

    assert told == b'RateLimit-Policy: "per-user";q=15;w=1\r\nRateLimit: "per-user";r=14;t=1\r\n'


def test_refused_request_has_nothing_left_and_is_told_when_to_come_back():
    """Also with some tokens left, when they are too few for its cost. `t` is Retry-After."""
    refused = decision(verdict_of(limit(rate="15/m", cost=5), False, 12 * 4_000_000))

    assert (
        fields(refused, "draft10")
        == b'RateLimit-Policy: "per-user";q=15;w=60\r\nRateLimit: "per-user";r=0;t=8\r\n'
    )
    assert retry_after(refused) == 8


@given(st.integers(1, 10**6), st.sampled_from("smhd"), st.integers(1, 1000), st.data())
def test_tokens_and_seconds_that_are_told_agree(count, period, burst, data):
    """When the seconds are over there is a token more; a second before there was none, but for a full bucket."""
    terms = limit(rate=f"{count}/{period}", burst=burst).terms
    debt = data.draw(st.integers(0, 2 * terms.burst_units))
    told = fields(decision(verdict_of(terms.limit, True, debt)), "draft10")
    left, seconds = (int(text) for text in re.search(rb";r=(\d+);t=(\d+)", told).groups())
    back = terms.scale * US

    assert left == max(terms.burst_units - debt, 0) // terms.interval
    assert terms.burst_units - debt + seconds * back >= (left + 1) * terms.interval or debt == 0
    assert terms.burst_units - debt + (seconds - 1) * back < (left + 1) * terms.interval


def test_bucket_that_owes_more_than_its_burst_waits_for_its_first_token():
    """After a reload to a smaller burst: 60 tokens owed of 15, at 15 a second."""
    told = fields(decision(verdict_of(limit(), True, 60 * TOKEN)), "draft10")

    assert told.endswith(b";r=0;t=4\r\n")


def test_all_enforced_limits_are_shown():
    """Shadow limits are nobody's business."""
    shadow = verdict_of(limit("shadow", mode="shadow"), False, 15 * TOKEN)
    hourly = verdict_of(limit("hourly", rate="1000/h"), True, 0)
    told = fields(decision(verdict_of(limit(), True, TOKEN), shadow, hourly), "draft10")

    assert told == (
        b'RateLimit-Policy: "per-user";q=15;w=1, "hourly";q=1000;w=3600\r\n'
        b'RateLimit: "per-user";r=14;t=1, "hourly";r=1000;t=1\r\n'
    )


def test_slots_are_told_without_a_time():
    """Nobody knows when one comes back. Their unit is one of the draft's."""
    told = fields(decision(slots(2)), "draft10")

    assert told == b'RateLimit-Policy: "at-once";q=3;qu="concurrent-requests"\r\nRateLimit: "at-once";r=1\r\n'


def test_slots_that_nobody_counted_are_not_told():
    """Without the store; what else is known is."""
    told = fields(
        Decision(True, [slots(0, is_known=False), verdict_of(limit(), True, TOKEN)], LOCAL), "draft10"
    )

    assert told == b'RateLimit-Policy: "per-user";q=15;w=1\r\nRateLimit: "per-user";r=14;t=1\r\n'


def test_request_that_waits_is_told_of_the_first_token_behind_its_turn():
    """Three tokens beyond the burst: a fifth of a second to its turn, and one token more."""
    told = fields(decision(verdict_of(limit(rate="15/m", max_wait="20s"), True, 18 * 4_000_000)), "draft10")

    assert told == b'RateLimit-Policy: "per-user";q=15;w=60\r\nRateLimit: "per-user";r=0;t=16\r\n'


@pytest.mark.parametrize("dialect", ["draft10", "legacy", "off"])
def test_shadow_limits_alone_show_nothing(dialect):
    assert fields(decision(verdict_of(limit(mode="shadow"), True, 0)), dialect) == b""


def test_dialect_off_shows_nothing():
    assert fields(decision(verdict_of(limit(), True, TOKEN)), "off") == b""


@pytest.mark.parametrize(
    ("rate", "burst", "policy"),
    [
        ("15/s", 15, b"q=15;w=1"),
        ("15/s", 30, b"q=30;w=2"),
        ("15/s", 31, b"q=31;w=3"),
        ("15/s", 1, b"q=1;w=1"),
        ("1/d", 1, b"q=1;w=86400"),
        ("90/m", 10, b"q=10;w=7"),
    ],
)
def test_policy_is_the_burst_and_the_time_that_fills_it(rate, burst, policy):
    """So that what is left is never more than the quota shown."""
    assert (
        policy_lines([limit(rate=rate, burst=burst).terms])
        == b'RateLimit-Policy: "per-user";' + policy + b"\r\n"
    )


def test_policy_of_no_limit_is_no_line():
    assert policy_lines([]) == policy_lines([limit(mode="shadow").terms]) == b""


@pytest.mark.parametrize(
    ("rate", "debt_tokens", "seconds"),
    [("15/s", 15, 1), ("1/s", 1, 1), ("1/m", 1, 60), ("1/d", 1, 86400), ("7/m", 7, 9)],
)
def test_retry_after_is_whole_seconds_rounded_up(rate, debt_tokens, seconds):
    """8.57 s are 9; never 0."""
    one = limit(rate=rate)

    assert retry_after(decision(verdict_of(one, False, debt_tokens * one.terms.interval))) == seconds


def test_longest_wait_counts():
    slow, quick = limit("slow", rate="1/m"), limit("quick", rate="1/s")
    refused = decision(
        verdict_of(quick, False, quick.terms.burst_units), verdict_of(slow, False, slow.terms.burst_units)
    )

    assert retry_after(refused) == 60


def test_shadow_refusal_makes_nobody_wait():
    slow = limit("slow", rate="1/d", mode="shadow")
    quick = limit("quick", rate="1/s")
    refused = decision(
        verdict_of(slow, False, slow.terms.burst_units), verdict_of(quick, False, quick.terms.burst_units)
    )

    assert retry_after(refused) == 1


def test_refusal_that_no_bucket_explains_asks_for_a_second():
    """A store that is down refuses without a debt."""
    assert retry_after(Decision(False, [])) == 1
    assert retry_after(decision(verdict_of(limit(), False, 0))) == 1


def test_legacy_shows_the_limit_nearest_exhaustion():
    """By the part of its burst that is spent; seconds from now."""
    day = limit("day", rate="1000/d")
    told = fields(
        decision(verdict_of(limit(), True, 5 * TOKEN), verdict_of(day, True, 900 * day.terms.interval)),
        "legacy",
    )

    assert told == b"X-RateLimit-Limit: 1000\r\nX-RateLimit-Remaining: 100\r\nX-RateLimit-Reset: 87\r\n"


def test_legacy_shows_a_refusal_first():
    """The one that takes longest."""
    spent = verdict_of(limit("spent"), True, 15 * TOKEN)
    quick = verdict_of(limit("quick"), False, 15 * TOKEN)
    day = limit("day", rate="24/d")
    told = fields(decision(spent, quick, verdict_of(day, False, 24 * day.terms.interval)), "legacy")

    assert told == b"X-RateLimit-Limit: 24\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 3600\r\n"


def test_remembered_texts_are_bounded():
    """A burst of a million has a million texts."""
    big = limit(rate="1000000/s")
    for number in range(2 * limit_fields.TEXTS_KNOWN):
        fields(decision(verdict_of(big, True, number)), "draft10")

    assert limit_fields._draft10_lines.cache_info().currsize <= limit_fields.TEXTS_KNOWN


def test_text_of_another_limit_of_the_same_name_is_not_remembered():
    """After a reload with another rate."""
    before = fields(decision(verdict_of(limit(rate="15/s"), True, 0)), "draft10")
    after = fields(decision(verdict_of(limit(rate="15/m"), True, 0)), "draft10")

    assert b"w=1\r\n" in before
    assert b"w=60\r\n" in after


def test_refusal_for_another_reason_says_nothing_of_when_to_come_back():
    """A drain says that itself."""
    decision = Decision(False, [verdict_of(limit(), False, 20 * 200_000)])
    lines, violated = refusal_by_another(decision, DRAFT10)

    assert b"RateLimit:" in lines
    assert b"Retry-After" not in lines
    assert violated == ()
