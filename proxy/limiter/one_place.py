"""A request, or a part of one, whose buckets live in one place: what is known of them, what is asked there,
and what is decided without Redis.

A place is what one call may reach: a shard, or in a lone server all of them. Knows nothing of connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limiter.store import NOBODY
from proxy.policy.decision import DENIAL_CACHE, Decision

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.cache import Caches
    from proxy.limiter.dispatcher import Dispatcher
    from proxy.limiter.store import Waiter
    from proxy.policy.decision import Charge, Verdict


class OnePlace:
    """`caches_denials` may be changed at any time."""

    def __init__(self, dispatcher: Dispatcher, caches: Caches, *, caches_denials: bool) -> None:
        self.caches_denials = caches_denials
        self._dispatcher = dispatcher
        self._caches = caches

    def take(self, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        """The decision, if it is known at once; else None, and `waiter` gets it later."""
        if self.is_down(charges):
            return self.decide_locally(charges)
        denial = self.denial(charges)
        if denial is not None:
            return denial
        self.ask(charges, waiter)
        return None

    def denial(self, charges: Sequence[Charge]) -> Decision | None:
        """The refusal of a limit that is known to refuse; the others are told as they are known."""
        if not self.caches_denials:
            return None
        verdicts = self._known_verdicts(charges)
        for verdict in verdicts:
            if not verdict.is_admitted and not verdict.terms.is_shadow:
                return Decision(False, verdicts, DENIAL_CACHE)  # noqa: FBT003 - is_admitted
        return None

    def known_refusals(self, charges: Sequence[Charge]) -> list[Verdict]:
        """They are certain; of the others nothing is known."""
        return [verdict for verdict in self._known_verdicts(charges) if verdict.is_refusal]

    def _known_verdicts(self, charges: Sequence[Charge]) -> list[Verdict]:
        return self._caches.known_verdicts(charges, self._dispatcher.now_us())

    def ask(self, charges: Sequence[Charge], waiter: Waiter) -> None:
        """Into this tick's batch."""
        self._dispatcher.add(self._caches.take(charges), charges, waiter)

    def is_down(self, charges: Sequence[Charge]) -> bool:
        return self._dispatcher.is_down(charges)

    def decide_locally(self, charges: Sequence[Charge]) -> Decision:
        return self._caches.decide_locally(charges, self._dispatcher.outage())

    def give_back(self, charges: Sequence[Charge]) -> None:
        """One by one, since nobody waits and each is free to fail."""
        for charge in charges:
            if not self.is_down([charge]):
                self._dispatcher.add(self._caches.of(charge.terms).give_back, [charge], NOBODY)

    def give_back_locally(self, charges: Sequence[Charge]) -> None:
        self._caches.give_back_locally(charges, self._dispatcher.outage())
