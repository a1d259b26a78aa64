"""Decisions without Redis, each limit in its own way (`on_store_error`): local, allow or deny.

Local buckets grant the limit divided by the number of live replicas: a token weighs that many times as
much. All or nothing, as in take.lua. Knows nothing of connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import faults
from proxy.policy.decision import LOCAL, Decision, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.cache import LimitCache
    from proxy.policy.decision import Charge
    from proxy.policy.limits import Limit


class ShareVerdict(Verdict):
    """Of a local bucket: this replica's share of the limit."""

    __slots__ = ("replicas",)

    def __init__(self, limit: Limit, debt: int, replicas: int, *, fits: bool) -> None:
        super().__init__(limit, fits, debt)
        self.replicas = replicas
        self.interval = limit.interval * replicas

    @property
    def retry_units(self) -> int:
        if self.is_admitted:
            return 0
        cost = self.limit.cost_units * self.replicas
        return max(0, self.debt + cost - max(cost, self.limit.burst_units))


def decide(caches: Sequence[LimitCache], charges: Sequence[Charge], now_us: int, replicas: int) -> Decision:
    verdicts: list[Verdict] = []
    refusal = (
        None  # the way of the limit that refuses; local goes before deny, as its client can do something
    )
    for cache, charge in zip(caches, charges, strict=True):
        verdict = _look(cache, charge.key, now_us, replicas)
        verdicts.append(verdict)
        if not verdict.is_admitted and not cache.limit.is_shadow and refusal != "local":
            refusal = cache.limit.on_store_error
    if refusal is not None:
        return Decision(
            False,  # noqa: FBT003 - its name is in the class
            verdicts,
            LOCAL,
            faults.STORE_DOWN if refusal == "deny" else faults.LIMITED,
        )
    for cache, charge, verdict in zip(caches, charges, verdicts, strict=True):
        if verdict.is_admitted and cache.limit.on_store_error == "local":
            verdict.debt = cache.take_locally(charge.key, verdict.debt, now_us, replicas)
    return Decision(True, verdicts, LOCAL)  # noqa: FBT003 - is_admitted


def _look(cache: LimitCache, key: bytes, now_us: int, replicas: int) -> Verdict:
    limit = cache.limit
    if limit.on_store_error == "local":
        debt = cache.local_debt(key, now_us)
        return ShareVerdict(limit, debt, replicas, fits=cache.fits_locally(debt, replicas))
    admits = limit.on_store_error == "allow"
    return Verdict(limit, admits, 0 if admits else limit.burst_units)


def give_back(caches: Sequence[LimitCache], charges: Sequence[Charge], now_us: int, replicas: int) -> None:
    for cache, charge in zip(caches, charges, strict=True):
        if cache.limit.on_store_error == "local":
            cache.give_back_locally(charge.key, now_us, replicas)
