"""What one process holds in the metric families at a moment: plain values, which go over a wire and add up.

Several processes are one Weir: their readings become one, each family by its own rule (families.py). Knows
nothing of processes or of how a scrape looks.
"""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING

import msgspec

from proxy.telemetry.families import ALL, COUNTER, FAMILIES, PROCESS, SPREADS, LabelValues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.telemetry.histogram import Histogram
    from proxy.telemetry.metrics import Metrics


class Buckets(msgspec.Struct, array_like=True):
    """A histogram as it is read."""

    bounds: list[float]
    counts: list[int]
    total: float
    exemplars: dict[int, tuple[str, float, float]] = {}  # by bucket: a trace's id, its value, Unix time


class Reading(msgspec.Struct):
    counts: dict[str, dict[LabelValues, float]]
    spreads: dict[str, Buckets]


def reading(metrics: Metrics) -> Reading:
    """All that a serving process holds now."""
    counts: dict[str, dict[LabelValues, float]] = {
        name: dict(read(metrics)) for name, _, _, _, read, _ in FAMILIES
    }
    spreads = {name: _buckets(read(metrics)) for name, _, read in SPREADS}
    spreads["weir_request_duration_seconds"].exemplars = dict(metrics.exemplars)
    return Reading(counts | PROCESS.read(), spreads)


def process_reading() -> Reading:
    """What a process that serves nothing tells of itself."""
    return Reading(PROCESS.read(), {})


def _buckets(histogram: Histogram) -> Buckets:
    return Buckets(list(histogram.bounds), list(histogram.counts), histogram.total)


def counted(found: Reading) -> Reading:
    """What stays of a process that ended."""
    counts = {name: table for name, table in found.counts.items() if ALL[name].kind == COUNTER}
    return Reading(counts, found.spreads)


def merged(readings: Iterable[Reading]) -> Reading:
    """One reading of several processes."""
    whole = Reading({}, {})
    for found in readings:
        for name, table in found.counts.items():
            before = whole.counts.get(name)
            whole.counts[name] = dict(table) if before is None else _together(before, table, ALL[name].merge)
        for name, spread in found.spreads.items():
            known = whole.spreads.get(name)
            whole.spreads[name] = spread if known is None else _spread_together(known, spread)
    return whole


def _together(
    before: dict[LabelValues, float], table: dict[LabelValues, float], merge: Callable[[float, float], float]
) -> dict[LabelValues, float]:
    for key, number in table.items():
        known = before.get(key)
        before[key] = number if known is None else merge(known, number)
    return before


def _spread_together(one: Buckets, other: Buckets) -> Buckets:
    """Adds them up; the younger of two exemplars stays."""
    exemplars = dict(one.exemplars)
    for place, exemplar in other.exemplars.items():
        if place not in exemplars or exemplars[place][2] < exemplar[2]:
            exemplars[place] = exemplar
    counts = list(map(add, one.counts, other.counts))
    return Buckets(one.bounds, counts, one.total + other.total, exemplars)
