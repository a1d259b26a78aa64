"""The arithmetic of a token bucket, in whole numbers, so that nothing drifts.

A limit of `count` tokens in `period_us` is reduced by their greatest common divisor: a token costs
`interval` units and `scale` units come back in every microsecond. 15 a second: 200 000 units a token, 3
units a microsecond. A bucket is its debt, the units missing in it at some moment, and the rate at which they
come back since then (GCRA as a leaky bucket, ITU-T I.371); a charge fits if the debt with it is at most
`burst * interval`. Knows nothing of limits, keys or clocks.
"""

from __future__ import annotations

from math import gcd

US = 1_000_000  # microseconds in a second


def reduced(count: int, period_us: int) -> tuple[int, int]:
    """(interval, scale): the units a token costs, the units that come back in a microsecond."""
    divisor = gcd(count, period_us)
    return period_us // divisor, count // divisor


class RefillRate:
    """What a token costs, in units, and how many of them come back in a microsecond."""

    __slots__ = ("interval", "scale")

    def __init__(self, interval: int, scale: int) -> None:
        self.interval = interval
        self.scale = scale

    def is_above(self, other: RefillRate) -> bool:
        return self.scale * other.interval > other.scale * self.interval

    def __repr__(self) -> str:
        return f"RefillRate({self.scale} of {self.interval} a us)"


class TokenBucket:
    """A debt, since when it comes back, and at what rate. bucket.lua does the same, number for number.

    One that was emptied beyond empty is closed: nothing comes back before a moment that lies ahead.
    Made blank, since whoever makes one writes it in the next line: a first request costs a call less.
    """

    __slots__ = ("debt", "rate", "since_us")

    debt: int
    since_us: int
    rate: RefillRate

    @property
    def full_at_us(self) -> int:
        """Rounded up."""
        return self.since_us + -(-self.debt // self.rate.scale)

    def debt_at(self, now_us: int, rate: RefillRate, most: int, room: int) -> int:
        """Units of a rate that may be another: what came back since then counts at the higher of the two.

        It is `most` at most; of a closed bucket what leaves no `room` before it opens.
        """
        elapsed_us = now_us - self.since_us
        debt = min(self.debt, converted(most, rate.interval, self.rate.interval))
        if elapsed_us < 0:
            return max(converted(debt, self.rate.interval, rate.interval), room) - elapsed_us * rate.scale
        if self.rate.is_above(rate):
            debt = max(debt - elapsed_us * self.rate.scale, 0)
            return converted(debt, self.rate.interval, rate.interval)
        return max(converted(debt, self.rate.interval, rate.interval) - elapsed_us * rate.scale, 0)

    def told_debt(self, debt: int, room: int, rate: RefillRate, now_us: int) -> int:
        """What a refusal tells: the debt that leaves room at the right moment, at the limit's own rate."""
        if not self.rate.is_above(rate) or self.since_us > now_us:
            return debt
        wait_us = -(-(debt - room) * self.rate.interval // (rate.interval * self.rate.scale))
        return min(debt, room + wait_us * rate.scale)


def converted(debt: int, interval: int, new_interval: int) -> int:
    """Units in those of another rate: the same tokens, a part of one rounded up."""
    return -(-debt * new_interval // interval)


def remaining(debt_units: int, burst_units: int, interval: int) -> int:
    """Whole tokens in the bucket."""
    return (burst_units - debt_units) // interval if debt_units < burst_units else 0


def whole_seconds(units: int, scale: int) -> int:
    """Seconds until so many units are back, rounded up."""
    return -(-units // (scale * US))
