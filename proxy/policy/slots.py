"""Slots of limits on concurrency: a request that is admitted holds one until it ends.

Each comes back exactly once, however the request ends: whoever takes it from the decision gives it back to
the store. Knows nothing of how slots are kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.policy.decision import Verdict

if TYPE_CHECKING:
    from proxy.policy.decision import Charge, Decision


# What the place where slots are kept takes one for that is held.
UNTOLD: Final = "untold"  # nothing: it was decided without that place
TOLD: Final = "told"  # it is held, as it was told at `told_us`
DOUBTED: Final = "doubted"  # perhaps it is: a word was lost, or the place is another one


class Slot:
    """One that is held."""

    __slots__ = ("charge", "number", "state", "told_us")

    def __init__(self, charge: Charge, number: int) -> None:
        self.charge = charge
        self.number = number  # tells requests of a process apart
        self.state = UNTOLD
        self.told_us = 0  # the last time

    def tell(self, now_us: int) -> None:
        self.state, self.told_us = TOLD, now_us

    def __repr__(self) -> str:
        return f"Slot({self.charge.terms.name}, {self.number})"


class SlotVerdict(Verdict):
    """A unit of its debt is a slot (`Tariff.of_slots`): one is missing for each request that is under way."""

    __slots__ = ("_is_known", "slot")

    def __init__(self, charge: Charge, under_way: int, *, fits: bool, is_known: bool = True) -> None:
        super().__init__(charge, fits, under_way)
        self.slot: Slot | None = None
        self._is_known = is_known

    @property
    def is_known(self) -> bool:
        """The store was asked how many there are."""
        return self._is_known


def holds_slots(decision: Decision) -> bool:
    return any(isinstance(verdict, SlotVerdict) and verdict.slot is not None for verdict in decision.verdicts)


def slots_of(decision: Decision) -> list[Slot]:
    """Those that its request holds; from now on it does not."""
    found = []
    for verdict in decision.verdicts:
        if isinstance(verdict, SlotVerdict) and verdict.slot is not None:
            found.append(verdict.slot)
            verdict.slot = None
    return found
