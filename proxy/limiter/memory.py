"""Buckets in this process: for each limit a table of keys and the moments at which their buckets are full.

A full bucket need not be kept. A table has two generations: buckets that are charged live in `young`;
when all of `old` must be full again, `old` is dropped and `young` becomes old, so nothing is ever
searched for what has expired. The same turn, taken early, bounds a table: what was not asked for during a
whole generation is forgotten, and counted as evicted where it was not full. Decisions are immediate.
Knows nothing of requests.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from proxy.policy.decision import Decision, Verdict
from proxy.policy.gcra import rescaled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config.sections.limits import StoreSettings
    from proxy.limiter.store import Waiter
    from proxy.policy.decision import Charge
    from proxy.policy.limits import Limit, Limits
    from proxy.policy.upstream_429 import Debt

MAX_KEYS = 100_000  # 200 bytes each: 20 MB


def monotonic_us() -> int:
    return monotonic_ns() // 1000


class Table:
    """The buckets of one limit. Moments are in the limit's units."""

    __slots__ = ("evictions", "generation_keys", "limit", "old", "old_until", "young")

    def __init__(self, limit: Limit, max_keys: int) -> None:
        self.limit = limit
        self.generation_keys = max(1, max_keys // 2)
        self.young: dict[bytes, int] = {}  # key -> full_at
        self.old: dict[bytes, int] = {}  # no key is in both
        self.old_until = 0  # all of old are full again by then
        self.evictions = 0

    def __len__(self) -> int:
        return len(self.young) + len(self.old)

    def find(self, key: bytes, now: int) -> int:
        """The moment at which the bucket is full; who is asked for stays young."""
        full_at = self.young.get(key)
        if full_at is None:
            full_at = self.old.pop(key, None)
            if full_at is None:
                return now
            self.put(key, full_at, now)
        return full_at

    def put(self, key: bytes, full_at: int, now: int) -> None:
        young = self.young
        if len(young) >= self.generation_keys and key not in young:
            self.turn(now)
            young = self.young
        young[key] = full_at

    def turn(self, now: int) -> None:
        """Old is dropped, young becomes old."""
        if now < self.old_until:
            self.evictions += sum([full_at > now for full_at in self.old.values()])
        self.old = self.young
        self.old_until = max(self.old.values(), default=0)
        self.young = {}

    def forget(self, key: bytes, now: int) -> int:
        """One bucket, or without a key all; how many were not full."""
        count = sum(
            [at > now for table in (self.old, self.young) for each, at in table.items() if key in (each, b"")]
        )
        for table in (self.old, self.young):
            if key:
                table.pop(key, None)
            else:
                table.clear()
        return count

    def reconfigure(self, limit: Limit, max_keys: int, clock_us: int) -> None:
        """Every bucket stays full at the same moment as before, but none is emptier than empty."""
        scale = self.limit.scale
        latest = clock_us * limit.scale + limit.most_units

        def moved(table: dict[bytes, int]) -> dict[bytes, int]:
            return {key: min(rescaled(at, scale, limit.scale), latest) for key, at in table.items()}

        self.limit = limit
        self.generation_keys = max(1, max_keys // 2)
        self.young, self.old = moved(self.young), moved(self.old)
        self.old_until = max(self.old.values(), default=0)


class MemoryStore:
    def __init__(self, clock_us: Callable[[], int] = monotonic_us, max_keys: int = MAX_KEYS) -> None:
        self.max_keys = max_keys  # of each limit; a change counts from the next `configure` on
        self._clock_us = clock_us
        self._tables: dict[Limit, Table] = {}

    # --- every request ---

    def take(self, charges: Sequence[Charge], waiter: Waiter) -> Decision:  # noqa: ARG002 - nobody has to wait
        """Decides at once."""
        if len(charges) != 1:
            return self._take_all(charges)
        charge = charges[0]
        limit = charge.limit
        table = self._tables[limit]
        now = self._clock_us() * limit.scale
        key = charge.key
        full_at = table.young.get(key)
        if full_at is None:
            full_at = table.find(key, now)
        debt = full_at - now if full_at > now else 0
        after = debt + limit.cost_units
        if after > limit.burst_units:
            return Decision(limit.is_shadow, [Verdict(limit, False, debt)])  # noqa: FBT003 - hot
        table.put(key, now + after, now)
        return Decision(True, [Verdict(limit, True, after)])  # noqa: FBT003 - hot

    def _take_all(self, charges: Sequence[Charge]) -> Decision:
        """From every bucket, or from none if an enforced limit refuses; a shadow limit spares its own."""
        clock_us = self._clock_us()
        is_admitted = True
        verdicts = []
        for charge in charges:
            limit = charge.limit
            now = clock_us * limit.scale
            full_at = self._tables[limit].find(charge.key, now)
            debt = full_at - now if full_at > now else 0
            fits = debt + limit.cost_units <= limit.burst_units
            if not fits and not limit.is_shadow:
                is_admitted = False
            verdicts.append(Verdict(limit, fits, debt))
        if is_admitted:
            for charge, verdict in zip(charges, verdicts, strict=True):
                if verdict.is_admitted:
                    limit = verdict.limit
                    verdict.debt += limit.cost_units
                    now = clock_us * limit.scale
                    self._tables[limit].put(charge.key, now + verdict.debt, now)
        return Decision(is_admitted, verdicts)

    def give_back(self, charges: Sequence[Charge]) -> None:
        clock_us = self._clock_us()
        for charge in charges:
            limit = charge.limit
            table = self._tables.get(limit)  # a reload may have taken it away meanwhile
            if table is not None:
                now = clock_us * limit.scale
                full_at = table.find(charge.key, now)
                if full_at > now:
                    table.put(charge.key, full_at - limit.cost_units, now)  # what is past is full

    def empty(self, debts: Sequence[Debt]) -> None:
        clock_us = self._clock_us()
        for charge, debt in debts:
            limit = charge.limit
            table = self._tables.get(limit)  # a reload may have taken it away meanwhile
            if table is not None:
                now = clock_us * limit.scale
                table.put(charge.key, max(table.find(charge.key, now), now + debt), now)

    # --- now and then ---

    async def reset(self, limit: Limit, key: bytes) -> int:
        table = self._tables.get(limit)
        return table.forget(key, self._clock_us() * limit.scale) if table is not None else 0

    def adopt(self, settings: StoreSettings) -> None:
        self.max_keys = settings.max_keys

    def configure(self, limits: Limits) -> None:
        before = {limit.name: table for limit, table in self._tables.items()}
        self._tables = {}
        clock_us = self._clock_us()
        for limit in limits:
            table = before.get(limit.name)
            if table is None:
                table = Table(limit, self.max_keys)
            else:
                table.reconfigure(limit, self.max_keys, clock_us)
            self._tables[limit] = table

    def sweep(self) -> None:
        clock_us = self._clock_us()
        for limit, table in self._tables.items():
            now = clock_us * limit.scale
            while len(table) and now >= table.old_until:
                table.turn(now)

    async def start(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        self._tables.clear()

    @property
    def is_up(self) -> bool:
        return True

    def status(self) -> dict[str, object]:
        return {
            "kind": "memory",
            "keys": {limit.name: len(table) for limit, table in self._tables.items()},
            "evictions": {limit.name: table.evictions for limit, table in self._tables.items()},
        }
