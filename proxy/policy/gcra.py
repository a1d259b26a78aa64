"""Token bucket arithmetic in its arrival-time form (GCRA, ITU-T I.371 annex A): one number a bucket, exact.

A bucket is kept as the moment at which it will be full again. What is missing until then is its debt, in units: `scale`
units drain every microsecond and a token costs `interval` units, both whole numbers, so that nothing ever drifts: at 15/s
three units a microsecond and 200 000 a token. Knows no clock: moments come in as arguments.
"""

from __future__ import annotations

from math import gcd


def units(count: int, period_us: int) -> tuple[int, int]:
    """The interval (units a token) and the scale (units a microsecond) of `count` tokens a period."""
    divisor = gcd(count, period_us)
    return period_us // divisor, count // divisor


def debt_at(full_at: int, now: int) -> int:
    """What is missing to a full bucket; both moments and the debt in units."""
    return full_at - now if full_at > now else 0


def rescaled(full_at: int, scale: int, new_scale: int) -> int:
    """The same moment in the units of another rate."""
    return full_at * new_scale // scale
