"""How long a 429 of the service empties buckets, and which of them."""

from __future__ import annotations

import pytest

from proxy.policy.decision import Charge, Decision, Verdict
from proxy.policy.upstream_429 import emptied, moved, retry_after_us
from tests.policy.heads import limits

NOON = 1_795_435_200.0  # Mon, 23 Nov 2026 12:00:00 GMT
EMPTIES = {"rate": "15/s", "on_upstream_429": "drain"}


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (b"7", 7),
        (b" 07 ", 7),
        (b"0", 0),
        (b"60", 60),
        (b"61", 60),
        (b"1000000000000", 60),
        (b"9" * 60_000, 60),
        (b"0" * 60_000, 0),
        (b"Mon, 23 Nov 2026 12:00:07 GMT", 7),
        (b"Mon, 23 Nov 2026 11:59:07 GMT", 0),
        (b"Mon, 23 Nov 2099 12:00:00 GMT", 60),
        (b"Mon, 01 Jan 0001 00:00:00 GMT", 0),
        (b"", None),
        (b"-5", None),
        (b"+5", None),
        (b"1.5", None),
        (b"1e3", None),
        (b"5, 7", None),
        (b"soon", None),
        (b"\xb2", None),
        (b"Mon, 23 Nov 2026 12:00:07 CET", None),
        (b"Mon, 31 Feb 2026 12:00:07 GMT", None),
        (b"\xffon, 23 Nov 2026 12:00:07 GMT", None),
    ],
)
def test_retry_after_is_read_and_believed_for_a_minute(said, seconds):
    us = retry_after_us({b"retry-after": said}, NOON)

    assert us == (None if seconds is None else seconds * 1_000_000)


def test_date_counts_from_that_of_the_answer():
    """The service's clock may be an hour wrong."""
    fields = {b"retry-after": b"Mon, 23 Nov 2026 13:00:09 GMT", b"date": b"Mon, 23 Nov 2026 13:00:00 GMT"}

    assert retry_after_us(fields, NOON) == 9_000_000
    assert retry_after_us(fields | {b"date": b"today"}, NOON) == 60_000_000
    assert retry_after_us({}, NOON) is None


def of(*each, admits=True):
    charges = [Charge(limit.terms, b"x" * 16) for limit in limits(*each)]
    return charges, Decision(
        True, [Verdict(charge, admits, charge.limit.terms.cost_units) for charge in charges]
    )


@pytest.mark.parametrize(
    ("each", "wait_us", "seconds"),
    [
        (EMPTIES, 10_000_000, 10),
        (EMPTIES | {"cost": 5}, 10_000_000, 10),
        (EMPTIES, 0, 0),
        (EMPTIES, None, 1),
        (EMPTIES | {"rate": "9/m"}, None, 60),
        (EMPTIES | {"rate": "9/d"}, None, 60),
        (EMPTIES | {"rate": "9/d"}, 1_000_000, 1),
    ],
)
def test_same_request_fits_when_the_time_is_over(each, wait_us, seconds):
    """Without a time, after a period of the rate, a minute at most; a bucket that is emptier stays so."""
    charges, decision = of(each)
    ((charge, debt),) = emptied(decision, wait_us)
    limit = charge.limit

    assert (
        debt + limit.terms.cost_units - limit.terms.burst_units
    ) / limit.terms.scale / 1e6 == pytest.approx(seconds)
    assert debt <= limit.terms.most_units
    assert decision.verdicts[0].debt == max(debt, limit.terms.cost_units)


def test_only_buckets_that_admitted_are_emptied():
    """No limit that ignores, none that only watches."""
    charges, decision = of(EMPTIES, EMPTIES | {"on_upstream_429": "ignore"}, EMPTIES | {"mode": "shadow"})

    assert [charge for charge, _ in emptied(decision, 0)] == charges[:1]
    charges, decision = of(EMPTIES, admits=False)
    assert emptied(decision, 0) == []


@pytest.mark.parametrize("later", [EMPTIES, EMPTIES | {"rate": "90/m", "burst": 3}, EMPTIES | {"cost": 2}])
def test_bucket_is_emptied_for_as_long_by_the_terms_of_a_later_config(later):
    _, decision = of(EMPTIES)
    ((charge, debt),) = emptied(decision, 7_000_000)
    (limit,) = limits(later)
    renewed, moved_debt = moved(charge, debt, Charge(limit.terms, charge.key))

    assert (renewed.terms, renewed.key) == (limit.terms, charge.key)
    assert moved_debt == limit.terms.burst_units - limit.terms.cost_units + 7_000_000 * limit.terms.scale
