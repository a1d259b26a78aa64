"""The arithmetic of a token bucket in its arrival-time form (GCRA), in whole numbers, so that nothing drifts.

A limit of `count` tokens in `period_us` is reduced by their greatest common divisor: a token costs
`interval` units and `scale` units come back in every microsecond. 15 a second: 200 000 units a token, 3 units
a microsecond. A bucket is one number, `full_at`: the moment at which it will be full again, in units
since the clock's zero. Its debt is `full_at` less now; a charge fits if the debt with it is at most
`burst * interval`. Knows nothing of limits, keys or clocks.
"""

from __future__ import annotations

from math import gcd

US = 1_000_000  # microseconds in a second


def reduced(count: int, period_us: int) -> tuple[int, int]:
    """(interval, scale): the units a token costs, the units that come back in a microsecond."""
    divisor = gcd(count, period_us)
    return period_us // divisor, count // divisor


def remaining(debt_units: int, burst_units: int, interval: int) -> int:
    """Whole tokens in the bucket."""
    return (burst_units - debt_units) // interval if debt_units < burst_units else 0


def next_token(debt_units: int, burst_units: int, interval: int) -> int:
    """Units that must come back until there is one whole token more; 0 if the bucket is full."""
    if debt_units <= 0:
        return 0
    free = burst_units - debt_units
    return interval - free % interval if free >= 0 else interval - free


def whole_seconds(units: int, scale: int) -> int:
    """Seconds until so many units are back, rounded up."""
    return -(-units // (scale * US))


def rescaled(full_at: int, scale: int, new_scale: int) -> int:
    """The same moment in the units of another rate, rounded up: a change of the rate gives nothing."""
    return -(-full_at * new_scale // scale)
