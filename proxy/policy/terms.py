"""What a limit charges a request by: its own rate and burst or those of a plan, what the request costs, and
whether a refusal counts.

Few in number and made once, so that charges share them: a store groups by them. Knows nothing of requests.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

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
        """The tariff of a limit on concurrency: a request is one unit, which comes back when it ends.

        When that is nobody knows, so a refused client is told the least there is: a unit counts as a
        microsecond.
        """
        tariff = Tariff(Rate(gcra.US, gcra.US), slots)
        tariff.slots = slots
        return tariff


class Reserved:
    """What requests wait for by limits of before, of the same name: their turns stay theirs."""

    __slots__ = ("rate", "until_us", "wait_us")

    def __init__(self, wait_us: int = 0, rate: gcra.RefillRate | None = None, until_us: int = 0) -> None:
        self.wait_us = wait_us  # the longest that there was
        self.rate = rate  # the highest of these limits
        self.until_us = until_us  # by the clock of the store: nobody waits any more then

    def units_by(self, rate: gcra.RefillRate) -> int:
        """The units of as many tokens by another rate; what comes back meanwhile does so at the higher of the
        two.
        """
        if self.rate is None:
            return 0
        return -(-self.wait_us * self.rate.scale * rate.interval // self.rate.interval)

    def joined(self, other: Reserved) -> Reserved:
        """Both, at most."""
        if self.rate is None or other.rate is None:
            return other if self.rate is None else self
        rate = other.rate if other.rate.is_above(self.rate) else self.rate
        return Reserved(max(self.wait_us, other.wait_us), rate, max(self.until_us, other.until_us))


NONE_RESERVED: Final = Reserved()


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
        self.most_units = self._most_units()

    def _most_units(self) -> int:
        """The most that a debt can be: a 429 of the service may empty a bucket beyond empty, and a limit of
        before had others wait for longer.
        """
        emptied = self.burst_units + (EMPTIED_MAX_US * self.scale if self.limit.empties else 0)
        reserved = self.burst_units + self.limit.before.units_by(self.refill_rate)
        return max(self.ceiling_units, emptied, reserved)

    def renew(self) -> None:
        """What its limit knows of those before it has changed."""
        self.most_units = self._most_units()

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
