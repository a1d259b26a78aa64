"""What operators look at and change of one key, where buckets live in this process.

Knows nothing of requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limiter.overrides import OVERRIDES_MAX
from proxy.limiter.store import CrowdedError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.limiter.held import HeldSlots
    from proxy.limiter.memory import Table
    from proxy.limiter.overrides import LimitKey, Override, Overrides
    from proxy.policy.limits import Limit
    from proxy.policy.terms import Terms


class MemoryKeys:
    """`store.Keys`, of a `MemoryStore`; `tables` are those of its limits."""

    def __init__(
        self,
        tables: Mapping[Limit, Table],
        held: HeldSlots,
        overrides: Overrides,
        clock_us: Callable[[], int],
    ) -> None:
        self._tables = tables
        self._held = held
        self._overrides = overrides
        self._clock_us = clock_us

    async def reset(self, limit: Limit, key: bytes) -> int:
        table = self._tables.get(limit)
        return await table.reset(key, self._clock_us()) if table is not None else 0

    async def debt(self, terms: Terms, key: bytes) -> int:
        table = self._tables.get(terms.limit)
        bucket = table.young.get(key) or table.old.get(key) if table is not None else None
        if table is None or bucket is None:
            return 0
        return table.debt_of(bucket, terms, self._clock_us())

    async def under_way(self, limit: Limit, key: bytes) -> int:
        return self._held.count(limit.name, key)

    # --- overrides ---

    def override(self, limit_key: LimitKey) -> tuple[Override, float] | None:
        return self._overrides.told(limit_key, self._clock_us())

    async def put_override(self, limit_key: LimitKey, override: Override, seconds: float) -> None:
        now_us = self._clock_us()
        self._overrides.sweep(now_us)
        if len(self._overrides) >= OVERRIDES_MAX and self._overrides.find(*limit_key, now_us) is None:
            raise CrowdedError
        self._overrides.put(limit_key, override._replace(until_us=now_us + int(seconds * 1e6)))

    async def release(self, limit_key: LimitKey) -> bool:
        return self._overrides.find(*limit_key, self._clock_us()) is not None and self._overrides.put(
            limit_key, None
        )
