"""Buckets in the memory of this process: exact for one process, gone with it.

A table for each limit, of two generations: when every bucket of the older one must be full again it is dropped whole, so
nothing is forgotten one by one. Past `max_keys` the older generation goes early, which is counted.
"""

from __future__ import annotations

from time import monotonic_ns
from typing import TYPE_CHECKING

from proxy.policy.decision import Decision, Verdict
from proxy.policy.gcra import debt_at, rescaled

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.limiter.store import Waiter
    from proxy.policy.decision import Charge
    from proxy.policy.limits import Limit, Limits

MAX_KEYS = 100_000  # of one limit; 110 bytes each
STORE = "store"  # via


def monotonic_us() -> int:
    return monotonic_ns() // 1000


class Table:
    """The buckets of one limit: moments, in the limit's units, by key."""

    __slots__ = ("_half", "_old", "_rotate_at_us", "_young", "evicted", "limit")

    def __init__(self, limit: Limit, max_keys: int) -> None:
        self.limit = limit
        self._half = max(max_keys // 2, 1)
        self._young: dict[bytes, int] = {}
        self._old: dict[bytes, int] = {}
        self._rotate_at_us = 0
        self.evicted = 0  # buckets forgotten before they were full

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def debt(self, key: bytes, now_us: int) -> int:
        full_at = self._young.get(key)
        if full_at is None:
            full_at = self._old.get(key)
            if full_at is None:
                return 0
        debt = debt_at(full_at, now_us * self.limit.scale)
        return min(debt, self.limit.burst_units)  # the clock went back, or the burst became smaller

    def put(self, key: bytes, now_us: int, debt: int) -> None:
        self._young[key] = now_us * self.limit.scale + debt
        if len(self._young) > self._half:
            self._forget_old(now_us)

    def sweep(self, now_us: int) -> None:
        if now_us >= self._rotate_at_us:
            self._old, self._young = self._young, {}
            self._rotate_at_us = now_us + self.limit.burst_units // self.limit.scale + 1

    def follow(self, limit: Limit) -> None:
        """Takes a limit's new settings; every bucket keeps the moment at which it is full."""
        before, self.limit = self.limit.scale, limit
        if before != limit.scale:
            self._young = {
                key: rescaled(full_at, before, limit.scale) for key, full_at in self._young.items()
            }
            self._old = {key: rescaled(full_at, before, limit.scale) for key, full_at in self._old.items()}
        self._rotate_at_us = 0

    def _forget_old(self, now_us: int) -> None:
        now = now_us * self.limit.scale
        self.evicted += sum(
            1 for key, full_at in self._old.items() if full_at > now and key not in self._young
        )
        self._old, self._young = self._young, {}


class MemoryStore:
    """The store of one process without Redis."""

    def __init__(self, clock_us: Callable[[], int] = monotonic_us, max_keys: int = MAX_KEYS) -> None:
        self._clock = clock_us
        self._max_keys = max_keys
        self._tables: dict[str, Table] = {}

    is_up = True

    def take(self, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:  # noqa: ARG002 - known at once
        now_us = self._clock()
        if len(charges) == 1:
            return self._take_one(charges[0], now_us)
        asked = [(charge, self._tables[charge.limit.name].debt(charge.key, now_us)) for charge in charges]
        fits = [debt + charge.limit.cost_units <= charge.limit.burst_units for charge, debt in asked]
        is_admitted = all(fit or charge.limit.is_shadow for fit, (charge, _) in zip(fits, asked, strict=True))
        verdicts = []
        for fit, (charge, debt) in zip(fits, asked, strict=True):
            if is_admitted and fit:
                debt += charge.limit.cost_units  # noqa: PLW2901 - the debt afterwards
                self._tables[charge.limit.name].put(charge.key, now_us, debt)
            verdicts.append(verdict(charge.limit, debt, is_admitted=fit))
        return Decision(is_admitted, verdicts, STORE)

    def _take_one(self, charge: Charge, now_us: int) -> Decision:
        """The same for the one charge that most requests have."""
        limit, key = charge
        table = self._tables[limit.name]
        debt = table.debt(key, now_us)
        after = debt + limit.cost_units
        if after <= limit.burst_units:
            table.put(key, now_us, after)
            return Decision(True, (verdict(limit, after, is_admitted=True),), STORE)  # noqa: FBT003
        return Decision(limit.is_shadow, (verdict(limit, debt, is_admitted=False),), STORE)

    def configure(self, limits: Limits) -> None:
        tables: dict[str, Table] = {}
        for limit in limits.all:
            table = self._tables.get(limit.name)
            if table is None:
                table = Table(limit, self._max_keys)
            else:
                table.follow(limit)
            tables[limit.name] = table
        self._tables = tables

    def sweep(self) -> None:
        now_us = self._clock()
        for table in self._tables.values():
            table.sweep(now_us)

    async def start(self) -> None:
        pass

    async def close(self) -> None:
        pass

    def status(self) -> dict[str, object]:
        return {
            "kind": "memory",
            "up": True,
            "keys": {name: len(table) for name, table in self._tables.items()},
            "evicted": {name: table.evicted for name, table in self._tables.items()},
        }


def verdict(limit: Limit, debt: int, *, is_admitted: bool) -> Verdict:
    """One bucket's answer, from its debt after the charge, or at a refusal."""
    left = limit.burst_units - debt
    interval, scale = limit.interval, limit.scale
    if not is_admitted:
        retry_after = (limit.cost_units - left) / scale / 1e6
        return Verdict(
            limit, False, left // interval, retry_after, (interval - left % interval) / scale / 1e6
        )  # noqa: FBT003
    return Verdict(
        limit, True, left // interval, 0.0, (interval - left % interval) / scale / 1e6 if debt else 0.0
    )  # noqa: FBT003
