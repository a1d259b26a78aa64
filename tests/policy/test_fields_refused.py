"""The lines of a refusal."""

from __future__ import annotations

import pytest

from proxy.policy.decision import LOCAL, Decision
from proxy.policy.fields import refusal
from tests.policy.heads import limit, verdict_of

TOKEN = 200_000  # units of a token at 15/s


@pytest.mark.parametrize(
    ("dialect", "lines"),
    [
        ("draft10", b'RateLimit-Policy: "per-user";q=15;w=1\r\nRateLimit: "per-user";r=0;t=1\r\n'),
        ("legacy", b"X-RateLimit-Limit: 15\r\nX-RateLimit-Remaining: 0\r\nX-RateLimit-Reset: 1\r\n"),
        ("off", b""),
    ],
)
def test_refusal_of_one_limit_says_when_to_come_back(dialect, lines):
    refused = Decision(False, [verdict_of(limit(), False, 15 * TOKEN)])

    assert refusal(refused, dialect) == (lines + b"Retry-After: 1\r\n", ("per-user",))


def test_refusal_of_several_names_those_that_refused():
    day = limit(name="day", rate="60/m")
    refused = Decision(
        False, [verdict_of(limit(), False, 15 * TOKEN), verdict_of(day, True, day.terms.interval)]
    )
    lines, names = refusal(refused, "draft10")

    assert names == ("per-user",)
    assert b"Retry-After: 1\r\n" in lines
    assert b'"day";q=60;w=60' in lines


def test_refusal_without_the_store_is_told_as_far_as_it_is_known():
    refused = Decision(False, [verdict_of(limit(), False, 15 * TOKEN)], LOCAL)

    assert refusal(refused, "draft10")[1] == ("per-user",)
