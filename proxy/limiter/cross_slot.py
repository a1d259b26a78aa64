"""A request whose limits live in different slots of a cluster: no script reaches them all at once.

They are taken place by place, in the order of the limits, and given back when a later one refuses.
Between the two, others may be refused for a token that comes back: the price of a cluster
(docs/limits.md). Places with nothing but shadow limits come last, since they cannot refuse. Knows nothing
of connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limiter.records import shard_of
from proxy.policy.decision import LOCAL, Decision
from proxy.policy.slots import slots_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.keeping import Keeping
    from proxy.limiter.one_place import OnePlace
    from proxy.limiter.store import Waiter
    from proxy.policy.decision import Charge, Verdict

    Part = list[Charge]


class CrossSlot:
    """Such a request. Waits for one place after the other."""

    def __init__(
        self, one_place: OnePlace, keeping: Keeping, charges: Sequence[Charge], waiter: Waiter
    ) -> None:
        self._one_place = one_place
        self._keeping = keeping
        self._charges = charges
        self._waiter = waiter
        self._parts = _by_place(charges)
        self._decisions: list[tuple[Part, Decision]] = []

    def begin(self) -> Decision | None:
        """The decision, if no place need be asked."""
        one_place = self._one_place
        denial = one_place.denial([charge for charge in self._charges if not one_place.is_down([charge])])
        return denial if denial is not None else self._go_on()

    def decided(self, decision: Decision) -> None:
        """One place's answer."""
        outcome = self._note(self._parts.pop(0), decision) or self._go_on()
        if outcome is not None:
            self._waiter.decided(outcome)

    def _go_on(self) -> Decision | None:
        one_place = self._one_place
        while self._parts:
            part = self._parts[0]
            if not one_place.is_down(part):
                one_place.ask(part, self)
                return None
            outcome = self._note(self._parts.pop(0), one_place.decide_locally(part))
            if outcome is not None:
                return outcome
        return self._whole(self._decisions[-1][1])

    def _note(self, part: Part, decision: Decision) -> Decision | None:
        """The decision, if this place refuses."""
        self._decisions.append((part, decision))
        if decision.is_admitted:
            return None
        for taken, earlier in self._decisions[:-1]:
            self._give_back(taken, earlier)
        unasked = [charge for part in self._parts for charge in part]
        return self._whole(decision, self._one_place.known_refusals(unasked))

    def _give_back(self, part: Part, decision: Decision) -> None:
        if slots := slots_of(decision):
            self._keeping.vacate(slots)
        taken = []
        for charge, verdict in zip(part, decision.verdicts, strict=True):
            if verdict.is_admitted and not charge.terms.slots:
                taken.append(charge)
                verdict.debt = max(verdict.debt - charge.terms.cost_units, 0)
        if not taken:
            return
        if decision.via == LOCAL:
            self._one_place.give_back_locally(taken)
        else:
            self._one_place.give_back(taken)

    def _whole(self, last: Decision, known: Sequence[Verdict] = ()) -> Decision:
        """All verdicts there are, in the order of the limits; how it came about is told of the last.

        Where nobody was asked any more, it is told who is known to refuse too.
        """
        found = {verdict.charge: verdict for verdict in known}
        for part, decision in self._decisions:
            found.update(zip(part, decision.verdicts, strict=True))
        verdicts = [found[charge] for charge in self._charges if charge in found]
        return Decision(last.is_admitted, verdicts, last.via, last.fault)


def _by_place(charges: Sequence[Charge]) -> list[Part]:
    places: dict[int, Part] = {}
    for charge in charges:
        places.setdefault(shard_of(charge.key), []).append(charge)
    return sorted(places.values(), key=lambda part: all(charge.terms.is_shadow for charge in part))
