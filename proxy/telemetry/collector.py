"""The metric families as prometheus-client knows them, made anew from the integers at each scrape.

docs/observability.md says what each family means. Knows nothing of HTTP: the admin plane chooses the format.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, TypeVar

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from proxy import __version__
from proxy.telemetry.metrics import Providers

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from proxy.telemetry.histogram import Histogram
    from proxy.telemetry.metrics import Metrics

_Labels = TypeVar("_Labels", bound="tuple[str, ...]")


class WeirCollector(Collector):
    """Reads the metrics of one process, and asks the providers."""

    def __init__(self, metrics: Metrics, providers: Providers) -> None:
        self._metrics = metrics
        self._providers = providers

    def describe(self) -> Iterable[Metric]:
        return []  # the registry need not collect only to learn the names

    def collect(self) -> Iterator[Metric]:
        yield from self._exchanges()
        yield from self._store()
        yield from self._contract()
        yield from self._process()

    def _exchanges(self) -> Iterator[Metric]:
        metrics = self._metrics
        requests = {
            (method.decode("ascii"), str(status), source): count
            for (method, status, source), count in metrics.requests.items()
        }
        yield _counter(
            "weir_requests", "Requests by method, status sent to the client, and who answered.",
            ("method", "status", "source"), requests,
        )  # fmt: skip
        yield _histogram(
            "weir_request_duration_seconds",
            "From the request's head to the response's end.",
            metrics.request_seconds,
        )
        yield _histogram(
            "weir_upstream_duration_seconds", "From the head sent upstream to the head of its answer.",
            metrics.upstream_seconds,
        )  # fmt: skip
        yield _counter(
            "weir_limit_decisions", "Answers of each limit, and where they came from.",
            ("limit", "decision", "via"), metrics.decisions,
        )  # fmt: skip
        reasons = {(reason,): count for reason, count in metrics.refused_heads.items()}
        yield _counter(
            "weir_refused_heads", "Requests refused at the door: nothing was forwarded.", ("reason",), reasons
        )

    def _store(self) -> Iterator[Metric]:
        figures = self._providers.store()
        yield GaugeMetricFamily(
            "weir_store_up", "1 while the store of buckets answers.", float(figures.is_up)
        )
        yield _histogram(
            "weir_store_batch_size", "Charges that went to the store in one call.", figures.batch_size
        )
        yield _histogram("weir_store_duration_seconds", "Time of one call to the store.", figures.seconds)
        errors = {(reason,): count for reason, count in figures.errors.items()}
        yield _counter("weir_store_errors", "Calls to the store that failed.", ("reason",), errors)

    def _contract(self) -> Iterator[Metric]:
        metrics = self._metrics
        redactions = {(str(status),): count for status, count in metrics.redactions.items()}
        yield _counter("weir_redactions", "Responses whose body was replaced.", ("status",), redactions)
        violations = {
            (str(status), rule): count for (status, rule), count in metrics.contract_violations.items()
        }
        yield _counter(
            "weir_contract_violations", "Responses of the upstream that break the contract.",
            ("status", "rule"), violations,
        )  # fmt: skip
        yield _counter(
            "weir_upstream_failures", "Attempts at a server that failed.",
            ("server", "reason"), metrics.upstream_failures,
        )  # fmt: skip

    def _process(self) -> Iterator[Metric]:
        metrics, providers = self._metrics, self._providers
        connections = GaugeMetricFamily("weir_connections", "Open connections.", labels=("side", "state"))
        for side, states in providers.connections().items():
            for state, count in states.items():
                connections.add_metric((side, state), count)
        yield connections
        dropped = {(): providers.access_log_dropped()}
        yield _counter("weir_access_log_dropped", "Access log lines that could not be written.", (), dropped)
        yield GaugeMetricFamily(
            "weir_config_last_reload_successful", "1 if the config was good when it was last read.",
            float(metrics.is_reload_successful),
        )  # fmt: skip
        yield GaugeMetricFamily(
            "weir_config_last_reload_timestamp_seconds",
            "When the config in force was read.",
            metrics.reload_time,
        )
        yield InfoMetricFamily("weir_build", "The version that runs.", {"version": __version__})


def _counter(
    name: str, documentation: str, labels: tuple[str, ...], counts: Mapping[_Labels, int]
) -> CounterMetricFamily:
    family = CounterMetricFamily(name, documentation, labels=labels)
    for values, count in counts.items():
        family.add_metric(values, count)
    return family


def _histogram(name: str, documentation: str, histogram: Histogram) -> HistogramMetricFamily:
    bounds = (*map(floatToGoString, histogram.bounds), "+Inf")
    counts = accumulate(histogram.counts)
    return HistogramMetricFamily(
        name, documentation, tuple(zip(bounds, counts, strict=True)), histogram.total
    )


def registry(metrics: Metrics, providers: Providers | None = None) -> CollectorRegistry:
    """A registry of its own, with the process's and the interpreter's metrics beside ours."""
    own = CollectorRegistry(auto_describe=False)
    own.register(WeirCollector(metrics, providers or Providers()))
    ProcessCollector(registry=own)
    PlatformCollector(registry=own)
    return own
