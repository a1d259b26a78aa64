"""The metric families as prometheus-client knows them, made anew from the integers at each scrape.

A family is a row of a table here and one of docs/observability.md. Knows nothing of HTTP: the admin plane
chooses the format.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from proxy import __version__, is_compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client.metrics_core import Metric

    from proxy.telemetry.histogram import Histogram
    from proxy.telemetry.metrics import Metrics


class _Counts(NamedTuple):
    """A family with a number for each combination of labels; a single label's key is its value alone."""

    name: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[Metrics], Mapping[Any, float]]


class _Spread(NamedTuple):
    name: str
    help: str
    read: Callable[[Metrics], Histogram]


class _Figure(NamedTuple):
    name: str
    help: str
    read: Callable[[Metrics], float]


_COUNTERS = (
    _Counts(
        "weir_requests_total",
        "Requests by method, status sent to the client and who answered.",
        ("method", "status", "source"),
        lambda metrics: metrics.requests,
    ),
    _Counts(
        "weir_limit_decisions_total",
        "What each limit said, and where its answer came from.",
        ("limit", "decision", "via"),
        lambda metrics: metrics.decisions,
    ),
    _Counts(
        "weir_refused_heads_total",
        "Requests refused at the door: nothing of them was forwarded.",
        ("reason",),
        lambda metrics: metrics.refused_heads,
    ),
    _Counts(
        "weir_store_errors_total",
        "Calls to the store that failed.",
        ("reason",),
        lambda metrics: metrics.store.errors,
    ),
    _Counts(
        "weir_redactions_total",
        "Responses of the upstream whose body was replaced.",
        ("status",),
        lambda metrics: metrics.redactions,
    ),
    _Counts(
        "weir_leaks_total",
        "Responses that were no failure by their status and told of one.",
        ("status", "signature"),
        lambda metrics: metrics.leaks,
    ),
    _Counts(
        "weir_contract_violations_total",
        "Responses of the upstream that break the contract.",
        ("status", "rule"),
        lambda metrics: metrics.contract_violations,
    ),
    _Counts(
        "weir_upstream_failures_total",
        "Attempts at a server that failed.",
        ("server", "reason"),
        lambda metrics: metrics.upstream_failures,
    ),
    _Counts(
        "weir_upstream_ejections_total",
        "How often an address of a server was left out, since it failed several times in a row.",
        ("server",),
        lambda metrics: metrics.ejections,
    ),
    _Counts(
        "weir_access_log_dropped_total",
        "Access log lines that could not be written.",
        (),
        lambda metrics: {(): metrics.access_log_dropped()},
    ),
    _Counts(
        "weir_certificate_failures_total",
        "Times that changed files of certificates could not be used; the old ones stay in use.",
        ("setting",),
        lambda metrics: metrics.certificate_failures,
    ),
    _Counts(
        "weir_worker_restarts_total",
        "Workers that ended by themselves and were started again.",
        (),
        lambda metrics: {(): metrics.worker_restarts},
    ),
)

_HISTOGRAMS = (
    _Spread(
        "weir_request_duration_seconds",
        "From the request's head to the end of the response; tunnels are left out.",
        lambda metrics: metrics.request_seconds,
    ),
    _Spread(
        "weir_upstream_duration_seconds",
        "From the head sent to the server to the head of its answer.",
        lambda metrics: metrics.upstream_seconds,
    ),
    _Spread(
        "weir_store_batch_size",
        "Charges that went to the store in one call.",
        lambda metrics: metrics.store.batch_size,
    ),
    _Spread(
        "weir_store_duration_seconds",
        "Time of one call to the store.",
        lambda metrics: metrics.store.seconds,
    ),
)

_GAUGES = (
    _Figure("weir_workers", "Processes that serve.", lambda _: 1),
    _Figure(
        "weir_upstream_waiting",
        "Requests that wait for a server with room for them.",
        lambda metrics: metrics.waiting(),
    ),
    _Figure(
        "weir_store_up",
        "1 while the store of buckets answers.",
        lambda metrics: metrics.is_store_up(),
    ),
    _Figure(
        "weir_config_last_reload_successful",
        "1 if the config was good when it was last read.",
        lambda metrics: metrics.is_reload_successful,
    ),
    _Figure(
        "weir_config_last_reload_timestamp_seconds",
        "When the config in force was read, in Unix time.",
        lambda metrics: metrics.reload_time,
    ),
)


_STATES = (
    _Counts(
        "weir_connections",
        "Open connections.",
        ("side", "state"),
        lambda metrics: metrics.connections(),
    ),
    _Counts(
        "weir_upstream_servers",
        "Addresses of each server by how they stand: serving, returning, ejected or unhealthy.",
        ("server", "state"),
        lambda metrics: metrics.servers(),
    ),
    _Counts(
        "weir_certificate_expiry_timestamp_seconds",
        "When each certificate in use expires, in Unix time.",
        ("setting",),
        lambda metrics: metrics.certificates(),
    ),
)


class WeirCollector(Collector):
    """Reads the metrics of one process."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterator[Metric]:
        metrics = self._metrics
        for name, text, labels, read in _COUNTERS:
            counter = CounterMetricFamily(name, text, labels=labels)
            for key, count in read(metrics).items():
                counter.add_metric(_label_values(key), count)
            yield counter
        for name, text, histogram in _HISTOGRAMS:
            yield _histogram(name, text, histogram(metrics))
        for name, text, figure in _GAUGES:
            yield GaugeMetricFamily(name, text, float(figure(metrics)))
        for name, text, labels, read in _STATES:
            gauge = GaugeMetricFamily(name, text, labels=labels)
            for key, count in read(metrics).items():
                gauge.add_metric(_label_values(key), count)
            yield gauge
        build = {"version": __version__, "compiled": "true" if is_compiled() else "false"}
        yield InfoMetricFamily("weir_build", "What runs.", build)


def _label_values(key: object) -> list[str]:
    values: Iterable[object] = key if isinstance(key, tuple) else (key,)
    return [value.decode("ascii") if isinstance(value, bytes) else str(value) for value in values]


def _histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    bounds = [*map(floatToGoString, histogram.bounds), "+Inf"]
    buckets = list(zip(bounds, accumulate(histogram.counts), strict=True))
    return HistogramMetricFamily(name, text, buckets, histogram.total)


def new_registry(metrics: Metrics) -> CollectorRegistry:
    """A registry of its own, with the process's and the interpreter's metrics beside ours."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WeirCollector(metrics))
    ProcessCollector(registry=registry)
    PlatformCollector(registry=registry)
    return registry
