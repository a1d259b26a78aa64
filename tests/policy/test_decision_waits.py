"""What a decision says of requests that wait, of several buckets of one limit, and of tokens that come back."""

from __future__ import annotations

from proxy.policy.decision import Decision, has_neighbours, unspent
from tests.policy.heads import limit, verdict_of

TOKEN = 200_000  # units of a token at 15/s


def test_request_within_the_burst_need_not_wait():
    """Alone or beside another limit."""
    patient = verdict_of(limit(max_wait="1s"), True, 15 * TOKEN)

    assert Decision(True, [patient]).waits == []
    assert Decision(True, [patient, verdict_of(limit(name="b"), True, TOKEN)]).waits == []


def test_request_beyond_the_burst_waits_for_what_is_missing():
    patient = verdict_of(limit(max_wait="1s"), True, 17 * TOKEN)

    assert Decision(True, [patient]).waits == [patient]
    assert patient.wait_units == 2 * TOKEN


def test_nobody_waits_for_a_shadow():
    shadow = verdict_of(limit(max_wait="1s", mode="shadow"), True, 17 * TOKEN)

    assert Decision(True, [shadow]).waits == []


def test_shadow_tells_for_how_long_it_would_have_had_it_wait():
    """The longest of its buckets; not of what it would refuse, nor of a limit that is enforced."""
    watched = limit("watched", max_wait="2s", mode="shadow")
    verdicts = [
        verdict_of(watched, True, 18 * TOKEN),
        verdict_of(watched, True, 17 * TOKEN),
        verdict_of(limit("near", max_wait="2s", mode="shadow"), True, 15 * TOKEN),
        verdict_of(limit("full", max_wait="2s", mode="shadow"), False, 45 * TOKEN),
        verdict_of(limit("enforced", max_wait="2s"), True, 17 * TOKEN),
    ]

    assert Decision(True, verdicts).would_wait == [("watched", 0.2)]


def test_request_that_cannot_wait_is_refused_by_those_it_would_have_waited_for():
    patient, other = (
        verdict_of(limit(max_wait="1s"), True, 17 * TOKEN),
        verdict_of(limit(name="b"), True, TOKEN),
    )
    decision = Decision(True, [patient, other])
    decision.turn_down(decision.waits)

    assert not decision.is_admitted
    assert decision.refusals == [patient]


def test_of_several_buckets_of_a_limit_the_worst_is_told():
    """Of refusals the longest; else that which is nearest exhaustion."""
    per_user = limit()
    light, heavy = verdict_of(per_user, True, TOKEN), verdict_of(per_user, True, 9 * TOKEN)
    long, short = verdict_of(per_user, False, 20 * TOKEN), verdict_of(per_user, False, 16 * TOKEN)
    other = verdict_of(limit(name="b"), True, TOKEN)

    assert has_neighbours([light, heavy, other])
    assert not has_neighbours([light, other])
    assert Decision(True, [light, heavy, other]).told == [heavy, other]
    assert Decision(False, [heavy, short, long, other]).told == [long, other]
    assert Decision(True, [heavy, light]).told == [heavy]
    assert Decision(True, [light, other]).told == [light, other]


def test_request_that_reached_nobody_gets_all_its_tokens_back():
    verdict = verdict_of(limit(), True, 3 * TOKEN)
    charge = verdict.charge

    assert unspent(Decision(True, [verdict])) == [charge]
    assert verdict.debt == 2 * TOKEN
    assert verdict.is_known
    assert charge.limit is verdict.limit
    assert repr(charge) == f"Charge(per-user, {charge.key.hex()})"
