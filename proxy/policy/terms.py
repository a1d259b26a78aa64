"""What a limit charges a request by: its own rate and burst or those of a plan, what the request costs, and
whether a refusal counts.

Few in number and made once, so that charges share them: a store groups by them. Knows nothing of requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.units import EMPTIED_MAX_US, Rate
from proxy.policy import gcra

if TYPE_CHECKING:
    from proxy.policy.limits import Limit


class Tariff:
    """A rate and a burst: a limit's own, or those of a plan."""

    __slots__ = ("burst", "count", "period_us", "plan", "refill_rate", "slots")

    def __init__(self, rate: Rate, burst: int, plan: str = "") -> None:
        self.count = rate.count
        self.period_us = rate.period_us
        self.burst = burst
        self.plan = plan  # its name; empty for the limit's own
        self.refill_rate = gcra.RefillRate(*gcra.reduced(rate.count, rate.period_us))
        self.slots = 0

    @staticmethod
    def of_slots(slots: int) -> Tariff:
        """Of a limit on concurrency: a request is one unit, which comes back when it ends.

        When that is nobody knows, so a refused client is told the least there is: a unit counts as a
        microsecond.
        """
        tariff = Tariff(Rate(gcra.US, gcra.US), slots)
        tariff.slots = slots
        return tariff


class Terms:
    __slots__ = (
        "burst",
        "burst_units",
        "ceiling_units",
        "cost",
        "cost_units",
        "count",
        "interval",
        "is_newcomer",
        "is_shadow",
        "limit",
        "most_units",
        "name",
        "newcomer",
        "own",
        "period_us",
        "plan",
        "refill_rate",
        "scale",
        "slots",
        "tariff",
    )

    def __init__(
        self, limit: Limit, tariff: Tariff, cost: int, *, is_shadow: bool = False, is_newcomer: bool = False
    ) -> None:
        self.limit = limit
        self.name = limit.name
        self.tariff = tariff
        self.plan = tariff.plan
        self.slots = tariff.slots  # requests that may be under way at once; 0 where a rate counts them
        self.is_shadow = is_shadow  # it refuses nobody
        self.is_newcomer = is_newcomer  # of the bucket that the new credentials of an address share
        self.own = self  # the same at the limit's own rate
        self.newcomer: Terms | None = None  # by which a credential that is not proven is charged too
        self.count = tariff.count
        self.period_us = tariff.period_us
        self.burst = tariff.burst
        self.cost = cost
        self.refill_rate = tariff.refill_rate  # one object for all terms of a limit with this tariff
        self.interval, self.scale = self.refill_rate.interval, self.refill_rate.scale
        self.burst_units = self.burst * self.interval
        self.cost_units = cost * self.interval
        # The most debt that a request which is admitted may leave: beyond the burst it waits.
        self.ceiling_units = self.burst_units + limit.max_wait_us * self.scale
        # Of a debt, where a 429 of the service may empty a bucket beyond empty.
        emptied = self.burst_units + (EMPTIED_MAX_US * self.scale if limit.empties else 0)
        self.most_units = max(self.ceiling_units, emptied)

    def counts_like(self, other: Terms) -> bool:
        """A debt means the same by both."""
        return (self.interval, self.scale, self.ceiling_units, self.most_units) == (
            other.interval,
            other.scale,
            other.ceiling_units,
            other.most_units,
        )

    def __repr__(self) -> str:
        if self.slots:
            return f"Terms({self.name}, {self.slots} at once{', shadow' if self.is_shadow else ''})"
        words = [
            f"{self.count} in {self.period_us / gcra.US:g} s",
            f"burst {self.burst}",
            f"cost {self.cost}",
        ]
        words += [f"plan {self.plan}"] if self.plan else []
        words += ["shadow"] if self.is_shadow else []
        return f"Terms({self.name}, {', '.join(words)})"
