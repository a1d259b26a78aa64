"""What a batch does with buckets, one operation for each request in it: to take, to give back, to empty.

An operation knows how it is packed for take.lua and what the answer means. Requests in a row with the same
record are packed as one run. Several limits are taken from together, or one by one in a cluster
(cross_slot.py). Knows nothing of connections, and no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from proxy.limiter.outage import decide
from proxy.limiter.records import EMPTY, GIVE_BACK, HOLD, TAKE, charge_record, pack_operation
from proxy.policy.decision import Decision, Verdict
from proxy.policy.slots import Slot, SlotVerdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.cache import TermsCache
    from proxy.limiter.keeping import Keeping
    from proxy.limiter.outage import Outage
    from proxy.policy.decision import Charge


class Operation(Protocol):
    """What is done on the buckets of one request's charges."""

    width: int  # charges
    record: bytes  # as take.lua reads it

    def keys(self, charges: Sequence[Charge]) -> list[bytes]:
        """The names of the buckets, packed for a call."""

    def decision(self, charges: Sequence[Charge], answers: list[int], at: int, sent_us: int) -> Decision:
        """From the answers of take.lua, of which those from `at` on are its own."""

    def without_redis(self, charges: Sequence[Charge], outage: Outage) -> Decision | None:
        """When there is no answer in time; None if nobody waits for one."""


class Take:
    """From one bucket: nearly all there are."""

    __slots__ = ("_cache", "charge", "record", "width")

    def __init__(self, cache: TermsCache) -> None:
        self._cache = cache
        self.width = 1
        self.charge = charge_record(cache.terms, cache.terms.cost_units, cache.terms.ceiling_units)
        self.record = pack_operation(TAKE, 1) + self.charge

    def keys(self, charges: Sequence[Charge]) -> list[bytes]:
        return [self._cache.book.key(charges[0].key)]

    def decision(self, charges: Sequence[Charge], answers: list[int], at: int, sent_us: int) -> Decision:
        verdict = self._cache.verdict(charges[0], answers[at], sent_us)
        return Decision(verdict.is_admitted or self._cache.terms.is_shadow, [verdict])

    def without_redis(self, charges: Sequence[Charge], outage: Outage) -> Decision | None:
        return decide((self._cache,), charges, outage)


class TakeAll:
    """From several buckets, or from none."""

    __slots__ = ("_caches", "record", "width")

    def __init__(self, caches: Sequence[TermsCache]) -> None:
        self._caches = tuple(caches)
        self.width = len(self._caches)
        charges = [cache.take.charge for cache in self._caches]
        self.record = pack_operation(TAKE, self.width) + b"".join(charges)

    def keys(self, charges: Sequence[Charge]) -> list[bytes]:
        return [cache.book.key(charge.key) for cache, charge in zip(self._caches, charges, strict=True)]

    def decision(self, charges: Sequence[Charge], answers: list[int], at: int, sent_us: int) -> Decision:
        verdicts = []
        is_admitted = True
        for cache, charge, answer in zip(self._caches, charges, answers[at : at + self.width], strict=True):
            verdicts.append(cache.verdict(charge, answer, sent_us))
            if answer < 0 and not cache.terms.is_shadow:
                is_admitted = False
        return Decision(is_admitted, verdicts)

    def without_redis(self, charges: Sequence[Charge], outage: Outage) -> Decision | None:
        return decide(self._caches, charges, outage)


class HoldAll:
    """From several buckets, or from none; some of them are slots, which one request holds from then on."""

    __slots__ = ("_caches", "_keeping", "_slots", "record", "width")

    def __init__(self, caches: Sequence[TermsCache], charges: Sequence[Charge], keeping: Keeping) -> None:
        self._caches = caches
        self._keeping = keeping
        self.width = len(charges)
        number = keeping.held.new_number()
        self._slots = {charge: Slot(charge, number) for charge in charges if charge.terms.slots}
        records = b"".join([cache.take.charge for cache in caches])
        holder = keeping.holder(next(iter(self._slots.values())))
        self.record = pack_operation(HOLD, self.width) + records + holder

    def keys(self, charges: Sequence[Charge]) -> list[bytes]:
        return [
            self._keeping.key(charge) if charge.terms.slots else cache.book.key(charge.key)
            for cache, charge in zip(self._caches, charges, strict=True)
        ]

    def decision(self, charges: Sequence[Charge], answers: list[int], at: int, sent_us: int) -> Decision:
        verdicts: list[Verdict] = []
        is_admitted = True
        for cache, charge, answer in zip(self._caches, charges, answers[at : at + self.width], strict=True):
            if charge.terms.slots:
                verdicts.append(SlotVerdict(charge, answer if answer >= 0 else ~answer, fits=answer >= 0))
            else:
                verdicts.append(cache.verdict(charge, answer, sent_us))
            if answer < 0 and not cache.terms.is_shadow:
                is_admitted = False
        for verdict in verdicts if is_admitted else ():
            if isinstance(verdict, SlotVerdict) and verdict.is_admitted:
                slot = verdict.slot = self._slots[verdict.charge]
                self._keeping.granted(slot, sent_us)
        return Decision(is_admitted, verdicts)

    def without_redis(self, charges: Sequence[Charge], outage: Outage) -> Decision | None:
        """What Redis may hold of it nobody does."""
        for slot in self._slots.values():
            self._keeping.owe(slot, outage.now_us)
        return decide(self._caches, charges, outage)


class Unawaited:
    """Something on one bucket, for nobody: if Redis does not hear of it, it is left."""

    __slots__ = ("_cache", "record", "width")

    def __init__(self, cache: TermsCache, kind: int, units: int, ceiling: int = 0) -> None:
        terms = cache.terms
        self._cache = cache
        self.width = 1
        self.record = pack_operation(kind, 1) + charge_record(terms, units, ceiling or terms.ceiling_units)

    def keys(self, charges: Sequence[Charge]) -> list[bytes]:
        return [self._cache.book.key(charges[0].key)]

    def decision(self, charges: Sequence[Charge], answers: list[int], at: int, sent_us: int) -> Decision:
        return Decision(True, [self._cache.verdict(charges[0], answers[at], sent_us)])  # noqa: FBT003 - is_admitted

    def without_redis(self, charges: Sequence[Charge], outage: Outage) -> Decision | None:  # noqa: ARG002 - nobody is told anything
        return None


class GiveBack(Unawaited):
    """What a request was charged comes back; a bucket that does not hear of it refills all the same."""

    __slots__ = ()

    def __init__(self, cache: TermsCache) -> None:
        super().__init__(cache, GIVE_BACK, cache.terms.cost_units)


class Empty(Unawaited):
    """The bucket has at least so much debt; a lease of it that comes in meanwhile is dropped."""

    __slots__ = ()

    def __init__(self, cache: TermsCache, debt: int) -> None:
        super().__init__(cache, EMPTY, debt)

    def decision(self, charges: Sequence[Charge], answers: list[int], at: int, sent_us: int) -> Decision:
        if self._cache.leases is not None:
            self._cache.leases.forget(charges[0].key)
        return super().decision(charges, answers, at, sent_us)


class TakeLease(Unawaited):
    """Takes the tokens of a lease: never ahead of those who wait for theirs."""

    __slots__ = ()

    def __init__(self, cache: TermsCache, units: int) -> None:
        super().__init__(cache, TAKE, units, cache.terms.burst_units)

    def decision(self, charges: Sequence[Charge], answers: list[int], at: int, sent_us: int) -> Decision:
        if answers[at] >= 0 and self._cache.leases is not None:
            self._cache.leases.granted(charges[0].key, sent_us)
        return super().decision(charges, answers, at, sent_us)
