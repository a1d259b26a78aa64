"""Slots of limits on concurrency: what a verdict tells of them, and that each is handed over once."""

from __future__ import annotations

import pytest

from proxy.policy.decision import Charge, Decision
from proxy.policy.slots import TOLD, UNTOLD, Slot, SlotVerdict, holds_slots, slots_of
from tests.policy.heads import limit, slot_limit, verdict_of


def held(name="at-once", number=1):
    """The verdict of a request that holds a slot."""
    charge = Charge(slot_limit(name).terms, b"k" * 16)
    verdict = SlotVerdict(charge, 1, fits=True)
    verdict.slot = Slot(charge, number)
    return verdict


@pytest.mark.parametrize(
    ("under_way", "fits", "remaining", "retry_after"),
    [(1, True, 2, 0.0), (3, True, 0, 0.0), (3, False, 0, 1e-6), (5, False, 0, 3e-6)],
)
def test_verdict_tells_how_many_slots_are_left(under_way, fits, remaining, retry_after):
    """Of three. When one comes back nobody knows: the least there is to say is a microsecond each."""
    verdict = SlotVerdict(Charge(slot_limit().terms, b"k" * 16), under_way, fits=fits)

    assert (verdict.is_admitted, verdict.debt, verdict.remaining) == (fits, under_way, remaining)
    assert verdict.retry_after == pytest.approx(retry_after)
    assert verdict.slot is None
    assert verdict.is_known


def test_verdict_without_the_store_may_know_nothing():
    assert not SlotVerdict(Charge(slot_limit().terms, b"k" * 16), 0, fits=True, is_known=False).is_known


def test_slots_of_a_decision_are_handed_over_once():
    """Those that are held: not of a limit on rates, and not of one in shadow that was full."""
    first, second = held("a", 1), held("b", 1)
    full = SlotVerdict(Charge(slot_limit("c", mode="shadow").terms, b"k" * 16), 3, fits=False)
    decision = Decision(True, [first, verdict_of(limit(), True, 0), second, full])
    slots = [first.slot, second.slot]

    assert holds_slots(decision)
    assert slots_of(decision) == slots
    assert slots_of(decision) == []
    assert not holds_slots(decision)


def test_slot_says_whose_it_is():
    """And that the store was not yet told of it."""
    slot = held(number=7).slot

    assert (slot.state, slot.told_us) == (UNTOLD, 0)
    assert repr(slot) == "Slot(at-once, 7)"


def test_slot_knows_when_the_store_was_told_of_it():
    slot = held().slot
    slot.tell(17)

    assert (slot.state, slot.told_us) == (TOLD, 17)
