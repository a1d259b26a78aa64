"""What this process knows of buckets that live in Redis, limit by limit.

known   the moment a bucket is full again, as Redis last told, in local time. Never later than the truth,
        since time is counted from the sending of the question; so a refusal read from it is one that
        Redis would have given. Not so where tokens come back (`cost_304`): there nothing is refused by it.
local   the same for buckets that are spent here while Redis does not answer. They start from what is
        known. With n live replicas a token weighs n times as much, so that together they grant the limit.

Moments are in microseconds, debts in the limit's units (policy/gcra.py). Knows nothing of connections,
and no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.limiter.generations import Generations
from proxy.limiter.leases import Leases
from proxy.limiter.operations import GiveBack, Operation, Take, TakeAll, TakeLease
from proxy.limiter.outage import decide, give_back
from proxy.limiter.records import KEY_BYTES, SHARDS, UnansweredCall, pack_settled, shard_of
from proxy.limiter.scripts import key_prefix
from proxy.policy.decision import DENIAL_CACHE, Decision, Verdict
from proxy.policy.gcra import converted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxy.limiter.outage import Outage
    from proxy.limiter.records import Names
    from proxy.policy.decision import Charge
    from proxy.policy.limits import Limit, Limits

NEVER_US: Final = 1 << 60  # later than any moment
NO_DOUBT: Final = (0, UnansweredCall(0, 0.0))


class LimitCache:
    """Of one limit, with the operations on its buckets."""

    __slots__ = (
        "_cost",
        "_doubts",
        "_local",
        "_room",
        "_scale",
        "ample_us",
        "give_back",
        "known",
        "leases",
        "limit",
        "prefixes",
        "take",
        "take_lease",
    )

    def __init__(self, limit: Limit, names: Names, max_keys: int) -> None:
        self.limit = limit
        self._scale = limit.scale
        self._cost = limit.cost_units
        self._room = limit.burst_units
        # This near to full the cost fits, or may: another replica may have given tokens back.
        self.ample_us = (
            NEVER_US if limit.is_free_304 else (limit.burst_units - limit.cost_units) // limit.scale
        )
        self.prefixes = tuple(
            key_prefix(names.bucket(limit.name, shard, b""), KEY_BYTES) for shard in range(SHARDS)
        )
        seconds = limit.most_units / limit.scale / 1e6
        self.known = Generations(seconds, max_keys)  # microseconds
        self._local = Generations(seconds, max_keys)  # units
        self._doubts: dict[
            bytes, tuple[int, UnansweredCall]
        ] = {}  # what Redis may have charged, and since which call
        self.leases = Leases(self) if limit.lease > 1 and not limit.is_shadow else None
        self.take = Take(self)
        self.give_back: Operation = GiveBack(self)
        self.take_lease: Operation = TakeLease(self, limit.cost_units * (limit.lease - 1))

    def key(self, key: bytes) -> bytes:
        """A bucket's name, packed for a call."""
        return self.prefixes[shard_of(key)] + key

    # --- what Redis said ---

    def verdict(self, key: bytes, answer: int, sent_us: int) -> Verdict:
        """One charge's answer, as take.lua words it."""
        debt = answer if answer >= 0 else ~answer
        if debt <= self.limit.most_units:  # else it is another config's, and may be forgotten any moment
            self.known.put(key, sent_us + debt // self._scale)
        return Verdict(self.limit, answer >= 0, debt)

    def denial(self, full_at_us: int, now_us: int) -> Decision | None:
        """The refusal, if the cost cannot fit yet."""
        debt = (full_at_us - now_us) * self._scale
        if debt + self._cost <= self._room or self.limit.is_shadow:
            return None
        return Decision(False, [Verdict(self.limit, False, debt)], DENIAL_CACHE)  # noqa: FBT003 - hot

    def known_verdict(self, key: bytes, now_us: int) -> Verdict:
        """What Redis would say, as far as it is known; a refusal is certain."""
        debt = max((self.known.get(key) - now_us) * self._scale, 0)
        return Verdict(self.limit, debt + self._cost <= self._room or self.limit.is_free_304, debt)

    def empty(self, key: bytes, debt: int, now_us: int) -> None:
        """What is known here at once, and holds without Redis too."""
        self.known.put(key, max(self.known.get(key), now_us + debt // self._scale))
        local = self._local.get(key)
        if local:
            self._local.put(key, max(local, now_us * self._scale + debt))
        if self.leases is not None:
            self.leases.forget(key)

    # --- without Redis ---

    def local_debt(self, key: bytes, now_us: int) -> int:
        full_at = self._local.get(key) or self.known.get(key) * self._scale
        return max(full_at - now_us * self._scale, 0)

    def fits_locally(self, debt: int, replicas: int) -> bool:
        return debt + self._cost * replicas <= self._local_room(replicas)

    def doubt(self, key: bytes, attempt: UnansweredCall) -> None:
        """Redis may have charged a request that is decided here."""
        units, first = self._doubts.get(key, (0, attempt))
        self._doubts[key] = units + self._cost, first

    def take_locally(self, key: bytes, debt: int, now_us: int, replicas: int) -> int:
        """The debt afterwards."""
        debt += self._cost * replicas
        self._local.put(key, now_us * self._scale + debt)
        return debt

    def give_back_locally(self, key: bytes, now_us: int, replicas: int) -> None:
        debt = self.local_debt(key, now_us) - self._cost * replicas
        self._local.put(key, now_us * self._scale + max(debt, 0))

    def _local_room(self, replicas: int) -> int:
        return max(self._room, self._cost * replicas)  # at least one request at a time

    # --- going back to Redis ---

    def spent_keys(self) -> list[bytes]:
        """Buckets that were spent here."""
        return [*dict.fromkeys([*self._doubts, *[key for key, _ in self._local.items()]])]

    def unsettled_keys(self) -> list[bytes]:
        """Those, and buckets that Redis may have lost."""
        return [*dict.fromkeys([*self.spent_keys(), *[key for key, _ in self.known.items()]])]

    def settle(self, key: bytes, now_us: int, replicas: int) -> bytes:
        """Closes the local bucket; what settle.lua shall know of it, or nothing if it is full.

        From now on the bucket is known with what was spent here, even if that does not reach Redis.
        """
        scale = self._scale
        now = now_us * scale
        most = self.limit.most_units
        known = min(max(self.known.get(key) * scale - now, 0), most)
        local = self._local.pop(key) - now
        spent = -(-max(local - known, 0) // replicas)  # rounded up: no gift
        doubted, (tag, since_us) = self._doubts.pop(key, NO_DOUBT)
        if not known and not spent and not doubted:
            return b""
        self.known.put(key, now_us + max(min(known + spent, self._room), known) // scale)
        interval = self.limit.interval
        return pack_settled(interval, scale, self._room, most, known, spent, doubted, tag, since_us)

    # --- now and then ---

    def forget(self, key: bytes) -> None:
        """Its bucket is full again by a reset; without a key, all are."""
        for table in (self.known, self._local):
            if key:
                table.pop(key)
            else:
                table.clear()
        if key:
            self._doubts.pop(key, None)
        else:
            self._doubts.clear()
        if self.leases is not None:
            self.leases.forget(key)

    def inherit(self, old: LimitCache, now_us: int) -> None:
        """Every bucket has the same tokens as before; one that is closed is so for as long."""
        limit, before, scale = self.limit, old.limit, self._scale

        def moved(debt: int) -> int:
            closed_us = max(debt - before.burst_units, 0) // before.scale
            debt = converted(debt - closed_us * before.scale, before.interval, limit.interval)
            if closed_us:
                debt = max(debt, limit.burst_units - limit.cost_units) + closed_us * limit.scale
            return min(debt, limit.most_units)

        for key, full_at_us in old.known.items():
            self.known.put(key, now_us + moved((full_at_us - now_us) * old._scale) // scale)
        for key, full_at in old._local.items():
            self._local.put(key, now_us * scale + moved(full_at - now_us * old._scale))
        for key, (units, first) in old._doubts.items():
            self._doubts[key] = moved(units), first

    def sweep(self, now_us: int) -> None:
        self.known.sweep(now_us)
        self._local.sweep(now_us)
        if self.leases is not None:
            self.leases.sweep(now_us)


class Caches:
    """Of all limits."""

    __slots__ = ("_max_keys", "_names", "_several", "by_limit")

    def __init__(self, names: Names) -> None:
        self._names = names
        self._max_keys = 1
        self.by_limit: dict[Limit, LimitCache] = {}  # always the same dict: hot code holds on to it
        self._several: dict[tuple[Limit, ...], TakeAll] = {}

    def configure(self, limits: Limits, max_keys: int, kept_at_us: int | None) -> None:
        """Buckets live in Redis by the limit's name. What is cached goes, or is kept as it is at a moment."""
        before = {} if kept_at_us is None else {cache.limit.name: cache for cache in self}
        self._max_keys = max_keys
        self._several.clear()
        self.by_limit.clear()
        for limit in limits:
            cache = self.by_limit[limit] = LimitCache(limit, self._names, max_keys)
            if kept_at_us is not None and limit.name in before:
                cache.inherit(before[limit.name], kept_at_us)

    def of(self, limit: Limit) -> LimitCache:
        """Also of a limit that a reload has taken away while a request was on its way from place to place."""
        return self.by_limit.get(limit) or LimitCache(limit, self._names, self._max_keys)

    def take(self, charges: Sequence[Charge]) -> Operation:
        """What takes from all these buckets at once."""
        if len(charges) == 1:
            return self.of(charges[0].limit).take
        limits = tuple([charge.limit for charge in charges])
        take = self._several.get(limits)
        if take is None:
            take = self._several[limits] = TakeAll([self.of(limit) for limit in limits])
        return take

    def known_verdicts(self, charges: Sequence[Charge], now_us: int) -> list[Verdict]:
        return [self.of(charge.limit).known_verdict(charge.key, now_us) for charge in charges]

    def decide_locally(self, charges: Sequence[Charge], outage: Outage) -> Decision:
        return decide([self.of(charge.limit) for charge in charges], charges, outage)

    def give_back_locally(self, charges: Sequence[Charge], outage: Outage) -> None:
        give_back([self.of(charge.limit) for charge in charges], charges, outage)

    def forget(self, limit: str, key: bytes) -> None:
        """The buckets of a limit of this name, or one of them, are full again."""
        for cache in self:
            if cache.limit.name == limit:
                cache.forget(key)

    def sweep(self, now_us: int) -> None:
        for cache in self:
            cache.sweep(now_us)

    def __iter__(self) -> Iterator[LimitCache]:
        return iter(self.by_limit.values())
