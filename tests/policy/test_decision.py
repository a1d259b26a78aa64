from __future__ import annotations

import pytest

from proxy import faults
from proxy.policy.decision import Charge, Decision, Verdict, spared, unspent
from proxy.policy.slots import SlotVerdict
from tests.policy.heads import limit, limits, slot_limit, verdict_of


def test_admitted_verdict_says_what_is_left():
    """After 11 of 15 tokens: 4 left."""
    verdict = verdict_of(limit(), True, 11 * 200_000)

    assert (verdict.remaining, verdict.retry_after) == (4, 0.0)
    assert repr(verdict) == "Verdict(per-user, admitted, 4 of 15 left)"


def test_refused_verdict_says_when_its_cost_fits():
    """A cost of 5, 3 tokens and a half there: a tenth of a second for one and a half more."""
    verdict = verdict_of(limit(cost=5), False, 23 * 100_000)

    assert verdict.remaining == 3
    assert verdict.retry_after == pytest.approx(0.1)
    assert repr(verdict) == "Verdict(per-user, refused for 0.100000 s, 3 of 15 left)"


def test_full_bucket_has_all_its_tokens():
    assert verdict_of(limit(), True, 0).remaining == 15


def test_refusals_are_those_of_enforced_limits():
    """A shadow limit never stands in the way."""
    shadow = verdict_of(limit("shadow", mode="shadow"), False, 3_000_000)
    refused = verdict_of(limit("a"), False, 3_000_000)
    admitted = verdict_of(limit("b"), True, 0)
    decision = Decision(False, [shadow, refused, admitted])

    assert decision.refusals == [refused]
    assert decision.fault is faults.LIMITED
    assert decision.via == "store"
    assert repr(decision).startswith(
        "Decision(refused via store, [Verdict(shadow, refused for 0.066667 s, 0 of 15 left)"
    )


# --- what a 304 gets back ---


def decided(*settings, via="store"):
    made = limits(*settings)
    charges = [Charge(limit.terms, b"k" * 16) for limit in made]
    verdicts = [
        Verdict(charge, not charge.terms.is_shadow, 2 * charge.terms.cost_units) for charge in charges
    ]
    return charges, Decision(True, verdicts, via)


def test_charges_of_limits_that_say_so_are_spared():
    """And told of: what was not taken is not given back."""
    free = {"rate": "9/h", "cost_304": 0}
    charges, decision = decided(
        {"name": "a", **free}, {"name": "b", "rate": "9/h"}, {"name": "c", **free, "mode": "shadow"}
    )

    assert spared(decision) == [charges[0]]
    assert [verdict.remaining for verdict in decision.verdicts] == [8, 7, 7]


def test_debt_of_a_spared_charge_is_never_below_nothing():
    charges, decision = decided({"name": "a", "rate": "9/h", "cost_304": 0})
    for _ in range(3):
        spared(decision)

    assert decision.verdicts[0].debt == 0


def test_what_was_decided_without_the_store_is_not_spared():
    charges, decision = decided({"name": "a", "rate": "9/h", "cost_304": 0}, via="local")

    assert spared(decision) == []
    assert decision.verdicts[0].remaining == 7


def test_slot_comes_back_when_its_request_ends_and_not_before():
    """Not as a token does, for want of a server."""
    (charge,), decision = decided({"name": "a", "rate": "9/h"})
    slots = SlotVerdict(Charge(slot_limit().terms, b"k" * 16), 2, fits=True)
    decision.verdicts.append(slots)

    assert unspent(decision) == [charge]
    assert slots.debt == 2
