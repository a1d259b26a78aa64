"""The limiter's figures for a registry of prometheus_client: families that a proxy has too."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.telemetry.families import ALL, COUNTER, SPREADS
from proxy.telemetry.reading import reading

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.telemetry.metrics import Metrics

# Nothing is forwarded here, no config reloaded, no log written.
SHOWN = ("weir_requests_", "weir_request_", "weir_outcomes_", "weir_limit_", "weir_store_", "weir_build_")


class LimiterCollector(Collector):
    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        found = reading(self._metrics)
        for name, table in found.counts.items():
            if name.startswith(SHOWN):
                family = ALL[name]
                base = name.removesuffix("_total") if family.kind == COUNTER else name.removesuffix("_info")
                metric = Metric(base, family.help, family.kind)
                for key, number in table.items():
                    metric.add_sample(name, dict(zip(family.labels, key, strict=True)), number)
                yield metric
        for name, text, _ in SPREADS:
            if name.startswith(SHOWN):
                spread = found.spreads[name]
                bounds = [*map(str, spread.bounds), "+Inf"]
                buckets = list(zip(bounds, accumulate(spread.counts), strict=True))
                yield HistogramMetricFamily(name, text, buckets=buckets, sum_value=spread.total)
