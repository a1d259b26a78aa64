"""Decisions without Redis, each limit in its own way (`on_store_error`): local, allow or deny.

Local buckets grant the limit divided by the number of live replicas: a token weighs that many times as
much, and of slots there are that many times fewer. All or nothing, as in take.lua. Knows nothing of
connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from proxy import faults
from proxy.policy.decision import LOCAL, Decision, Verdict
from proxy.policy.slots import SlotVerdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.cache import TermsCache
    from proxy.limiter.held import HeldSlots
    from proxy.limiter.records import UnansweredCall
    from proxy.policy.decision import Charge


LOCALLY: Final = "local"
ALLOW: Final = "allow"
DENY: Final = "deny"


class ShareVerdict(Verdict):
    """The verdict of a local bucket: this replica's share of the limit."""

    __slots__ = ("replicas",)

    def __init__(self, charge: Charge, debt: int, replicas: int, *, fits: bool) -> None:
        super().__init__(charge, fits, debt)
        self.replicas = replicas
        self.interval = charge.terms.interval * replicas

    @property
    def retry_units(self) -> int:
        if self.is_admitted:
            return 0
        cost = self.terms.cost_units * self.replicas
        terms = self.terms
        return max(
            0, self.debt + cost - max(cost, terms.burst_units) - terms.ceiling_units + terms.burst_units
        )

    @property
    def wait_units(self) -> int:
        return max(0, self.debt - max(self.terms.cost_units * self.replicas, self.terms.burst_units))


class UnknownVerdict(Verdict):
    """The verdict of a bucket that nobody has asked: neither what it holds nor when it holds more."""

    __slots__ = ()

    def __init__(self, charge: Charge, *, admits: bool) -> None:
        super().__init__(charge, admits, 0)

    @property
    def is_known(self) -> bool:
        return False

    @property
    def retry_units(self) -> int:
        """Seconds are the least that Retry-After can say: Redis may be back by then."""
        return 0


class Outage(NamedTuple):
    """The circumstances in which requests are decided without Redis."""

    now_us: int
    replicas: int  # that live, as far as is known
    doubt: UnansweredCall | None = None  # Redis may have decided them too, and its answer was lost


def decide(caches: Sequence[TermsCache], charges: Sequence[Charge], outage: Outage) -> Decision:
    verdicts: list[Verdict] = []
    refusal = (
        None  # the way of the limit that refuses; local goes before deny, as its client can do something
    )
    for cache, charge in zip(caches, charges, strict=True):
        if outage.doubt is not None and cache.limit.on_store_error != ALLOW and cache.keeping is None:
            cache.doubt(charge.key, outage.doubt)
        verdict = _look(cache, charge, outage)
        verdicts.append(verdict)
        if not verdict.is_admitted and not cache.terms.is_shadow and refusal != LOCALLY:
            refusal = cache.limit.on_store_error
    if refusal is not None:
        return Decision(
            False,  # noqa: FBT003 - its name is in the class
            verdicts,
            LOCAL,
            faults.STORE_DOWN if refusal == DENY else faults.LIMITED,
        )
    for cache, charge, verdict in zip(caches, charges, verdicts, strict=True):
        if isinstance(verdict, SlotVerdict):
            if verdict.is_admitted and cache.keeping is not None:
                verdict.debt += 1
                verdict.slot = cache.keeping.held.take(charge)
        elif verdict.is_admitted and cache.limit.on_store_error == LOCALLY:
            verdict.debt = cache.take_locally(charge.key, verdict.debt, outage.now_us, outage.replicas)
    return Decision(True, verdicts, LOCAL)  # noqa: FBT003 - is_admitted


def _look(cache: TermsCache, charge: Charge, outage: Outage) -> Verdict:
    limit, replicas = cache.limit, outage.replicas
    if cache.keeping is not None:
        return _look_at_slots(cache.keeping.held, charge, outage)
    if limit.on_store_error == LOCALLY:
        debt = cache.book.local_debt(charge.key, outage.now_us)
        return ShareVerdict(charge, debt, replicas, fits=cache.fits_locally(debt, replicas))
    return UnknownVerdict(charge, admits=limit.on_store_error == ALLOW)


def _look_at_slots(held: HeldSlots, charge: Charge, outage: Outage) -> SlotVerdict:
    """Takes as many of the share to be under way as are here; what is beyond it counts as taken."""
    terms = charge.terms
    if terms.limit.on_store_error != LOCALLY:
        admits = terms.limit.on_store_error == ALLOW
        return SlotVerdict(charge, 0, fits=admits, is_known=False)
    share = max(terms.slots // outage.replicas, 1)
    left = max(share - held.count(terms.name, charge.key), 0)
    return SlotVerdict(charge, terms.slots - left, fits=left > 0)


def give_back(caches: Sequence[TermsCache], charges: Sequence[Charge], outage: Outage) -> None:
    for cache, charge in zip(caches, charges, strict=True):
        if cache.limit.on_store_error == LOCALLY:
            cache.give_back_locally(charge.key, outage.now_us, outage.replicas)
