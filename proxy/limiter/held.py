"""The slots that requests of this process hold, of all limits on concurrency (policy/slots.py).

A slot is held from the decision that admits its request until the request ends, whatever a reload does to its
limit meanwhile. Bounded by the requests under way. Knows nothing of requests, and no clock.
"""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING

from proxy.policy.slots import Slot

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.policy.decision import Charge


class HeldSlots:
    __slots__ = ("_by_bucket", "_numbers", "by_limit", "slots")

    def __init__(self) -> None:
        self.slots: set[Slot] = set()
        self.by_limit: dict[str, int] = {}  # how many, by the limit's name
        self._by_bucket: dict[tuple[str, bytes], int] = {}
        self._numbers = count()

    def configure(self, limits: Iterable[str]) -> None:
        """Shows limits from zero; those that are gone, as long as one of their slots is held."""
        named = {name: self.by_limit.get(name, 0) for name in limits}
        self.by_limit = {name: held for name, held in self.by_limit.items() if held} | named

    def count(self, limit: str, key: bytes) -> int:
        """Slots of one bucket."""
        return self._by_bucket.get((limit, key), 0)

    def new_number(self) -> int:
        """The number of a request."""
        return next(self._numbers)

    def take(self, charge: Charge) -> Slot:
        """One more, decided here."""
        slot = Slot(charge, self.new_number())
        self.hold(slot)
        return slot

    def hold(self, slot: Slot) -> None:
        name, key = slot.charge.terms.name, slot.charge.key
        self.slots.add(slot)
        self.by_limit[name] = self.by_limit.get(name, 0) + 1
        self._by_bucket[name, key] = self._by_bucket.get((name, key), 0) + 1

    def let_go(self, slot: Slot) -> bool:
        """Whether it was held; of another store than this, it was not."""
        if slot not in self.slots:
            return False
        self.slots.remove(slot)
        name, key = slot.charge.terms.name, slot.charge.key
        self.by_limit[name] -= 1
        left = self._by_bucket[name, key] - 1
        if left:
            self._by_bucket[name, key] = left
        else:
            del self._by_bucket[name, key]
        return True
