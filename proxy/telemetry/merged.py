"""The metrics of several processes as one: families go over a wire as plain values and are added up.

Counters, histograms and most gauges are sums; of a gauge that says whether something is well, or since when,
the least counts. What a process that ended had counted stays, its gauges go. Knows nothing of processes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import CollectorRegistry

LEAST = (  # endings of gauges' names
    "_up",
    "_successful",
    "_timestamp_seconds",
    "_start_time_seconds",
    "_max_fds",
    "_info",
)

Key = tuple[str, tuple[tuple[str, str], ...]]  # a sample's name and its labels


class Family(msgspec.Struct, array_like=True):
    name: str
    help: str
    kind: str
    samples: list[tuple[str, dict[str, str], float]]

    @property
    def is_counted(self) -> bool:
        return self.kind in ("counter", "histogram")


def families(registry: CollectorRegistry) -> list[Family]:
    """What a registry holds now, as values."""
    return [
        Family(
            metric.name,
            metric.documentation,
            metric.type,
            [(sample.name, dict(sample.labels), sample.value) for sample in metric.samples],
        )
        for metric in registry.collect()
    ]


def counted(found: Iterable[Family]) -> list[Family]:
    """What stays of a process that ended."""
    return [family for family in found if family.is_counted]


def merged(processes: Iterable[Iterable[Family]]) -> list[Family]:
    """One family of each name, its samples added up by their labels."""
    kept: dict[str, Family] = {}
    values: dict[str, dict[Key, float]] = {}
    for process in processes:
        for family in process:
            kept.setdefault(family.name, family)
            table = values.setdefault(family.name, {})
            is_least = family.kind == "info" or (not family.is_counted and family.name.endswith(LEAST))
            for name, labels, value in family.samples:
                key = (name, tuple(labels.items()))
                before = table.get(key)
                if before is None:
                    table[key] = value
                else:
                    table[key] = min(before, value) if is_least else before + value
    return [
        Family(
            family.name,
            family.help,
            family.kind,
            [(sample, dict(labels), value) for (sample, labels), value in values[family.name].items()],
        )
        for family in kept.values()
    ]


class MergedCollector(Collector):
    """Asks for the processes' families anew at each scrape."""

    def __init__(self, processes: Callable[[], Iterable[Iterable[Family]]]) -> None:
        self._processes = processes

    def collect(self) -> Iterator[Metric]:
        for family in merged(self._processes()):
            metric = Metric(family.name, family.help, family.kind)
            for name, labels, value in family.samples:
                metric.add_sample(name, labels, value)
            yield metric
