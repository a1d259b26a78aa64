"""What the limits say to a request: a charge for each that applies, a verdict for each charge, one decision.

Whole numbers are kept; seconds are worked out for who asks. Knows nothing of how buckets are stored.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.policy import gcra

if TYPE_CHECKING:
    from proxy.faults import Fault
    from proxy.policy.limits import Limit
    from proxy.policy.terms import Terms

# Ways a decision came about.
STORE: Final = "store"
DENIAL_CACHE: Final = "denial_cache"
LOCAL: Final = "local"
LEASE: Final = "lease"
BLOCK: Final = "block"


class Charge:
    """The bucket of one limit that a request is to be charged to, and by what terms."""

    __slots__ = ("key", "terms")

    def __init__(self, terms: Terms, key: bytes) -> None:
        self.terms = terms
        self.key = key

    @property
    def limit(self) -> Limit:
        return self.terms.limit

    def __repr__(self) -> str:
        return f"Charge({self.terms.name}, {self.key.hex()})"


class Verdict:
    """One bucket's answer: whether the charge fits, and what the bucket holds after the decision."""

    __slots__ = ("charge", "debt", "interval", "is_admitted", "terms")

    def __init__(self, charge: Charge, is_admitted: bool, debt: int) -> None:  # noqa: FBT001 - hot: keywords cost
        self.charge = charge
        terms = self.terms = charge.terms
        self.is_admitted = is_admitted
        self.debt = debt  # units missing in the bucket
        self.interval = terms.interval  # units that a token costs, where the bucket was asked

    @property
    def limit(self) -> Limit:
        return self.terms.limit

    @property
    def is_known(self) -> bool:
        """It comes from a bucket; else nothing can be told of it."""
        return True

    @property
    def remaining(self) -> int:
        """Whole tokens."""
        return gcra.remaining(self.debt, self.terms.burst_units, self.interval)

    @property
    def retry_units(self) -> int:
        """Units that must come back until this charge fits; 0 if it was admitted."""
        terms = self.terms
        return 0 if self.is_admitted else max(0, self.debt + terms.cost_units - terms.ceiling_units)

    @property
    def wait_units(self) -> int:
        """Units that must come back until its turn comes, if it was admitted."""
        return max(0, self.debt - self.terms.burst_units)

    @property
    def retry_after(self) -> float:
        """Seconds until this charge fits; 0.0 if it was admitted."""
        return self.retry_units / self.terms.scale / gcra.US

    def tell_returned(self) -> None:
        """What it took comes back."""
        self.debt = max(self.debt - self.terms.cost_units, 0)

    @property
    def is_refusal(self) -> bool:
        """It stands in the way."""
        return not self.is_admitted and not self.terms.is_shadow

    @property
    def urgency(self) -> tuple[bool, bool, float]:
        """Grows with the wait of a refusal, else with the part of the burst that is spent."""
        terms = self.terms
        amount = self.debt / terms.burst_units if self.is_admitted else self.retry_after
        return self.is_refusal, not self.is_admitted, amount

    def __repr__(self) -> str:
        word = "admitted" if self.is_admitted else f"refused for {self.retry_after:.6f} s"
        return f"Verdict({self.terms.name}, {word}, {self.remaining} of {self.terms.burst} left)"


class Decision:
    """What the limits say to the whole request. Refused, it took nothing from any bucket."""

    __slots__ = ("fault", "is_admitted", "verdicts", "via")

    def __init__(
        self,
        is_admitted: bool,  # noqa: FBT001 - hot: keywords cost
        verdicts: list[Verdict],
        via: str = STORE,
        fault: Fault = faults.LIMITED,
    ) -> None:
        self.is_admitted = is_admitted
        self.verdicts = verdicts  # of enforced and of shadow limits, in the order of the charges
        self.via = via
        self.fault = fault  # what the client is answered if it is refused

    @property
    def refusals(self) -> list[Verdict]:
        """The verdicts that stood in the way."""
        return [verdict for verdict in self.verdicts if verdict.is_refusal]

    @property
    def waits(self) -> list[Verdict]:
        """Those that admit, and whose tokens are not there yet; of a decision that admits."""
        first = self.verdicts[0] if len(self.verdicts) == 1 else None
        if first is not None and first.debt <= first.terms.burst_units:  # nearly always
            return []
        return [
            verdict
            for verdict in self.verdicts
            if verdict.debt > verdict.terms.burst_units and _must_wait(verdict)
        ]

    @property
    def would_wait(self) -> list[tuple[str, float]]:
        """Limits in shadow that would have it wait, and the seconds; of a decision that admits."""
        longest: dict[str, float] = {}
        for verdict in self.verdicts:
            terms = verdict.terms
            if terms.is_shadow and verdict.is_admitted and verdict.wait_units > 0:
                seconds = verdict.wait_units / terms.scale / gcra.US
                longest[terms.name] = max(longest.get(terms.name, 0.0), seconds)
        return [*longest.items()]

    def turn_down(self, waits: list[Verdict]) -> None:
        """These cannot be waited for after all; what it took is to be given back before."""
        self.is_admitted = False
        for verdict in waits:
            verdict.is_admitted = False

    @property
    def told(self) -> list[Verdict]:
        """One verdict for each limit: of its buckets, that which refuses longest or is nearest exhaustion."""
        verdicts = self.verdicts
        if len(verdicts) == 1 or not has_neighbours(verdicts):
            return verdicts
        worst: dict[Limit, Verdict] = {}
        for verdict in verdicts:
            before = worst.get(verdict.limit)
            if before is None or verdict.urgency > before.urgency:
                worst[verdict.limit] = verdict
        return [*worst.values()]

    def __repr__(self) -> str:
        return f"Decision({'admitted' if self.is_admitted else 'refused'} via {self.via}, {self.verdicts})"


def _must_wait(verdict: Verdict) -> bool:
    return verdict.is_admitted and not verdict.terms.is_shadow and verdict.wait_units > 0


def has_neighbours(verdicts: list[Verdict]) -> bool:
    """Two are of one limit: they stand side by side."""
    return any(one.limit is other.limit for one, other in pairwise(verdicts))


def spared(decision: Decision) -> list[Charge]:
    """What a request that was admitted gets back, since its answer is a 304; the verdicts tell of it."""
    return _returned(decision, is_304=True)


def unspent(decision: Decision) -> list[Charge]:
    """What one gets back that no server could be had for: all; the verdicts tell of it."""
    return _returned(decision, is_304=False)


def _returned(decision: Decision, *, is_304: bool) -> list[Charge]:
    """Nothing of what was decided without the store: those tokens are counted elsewhere."""
    back: list[Charge] = []
    if decision.via == LOCAL:
        return back
    for verdict in decision.verdicts:
        if verdict.terms.slots:  # comes back when the request ends (policy/slots.py)
            continue
        if is_304 and (verdict.terms.is_newcomer or not verdict.limit.is_free_304):
            continue  # what newcomers took comes back with any answer that proves them (policy/vouching.py)
        if verdict.is_admitted:
            verdict.tell_returned()
            back.append(verdict.charge)
    return back
