"""The metric families: each is a row here and one of docs/observability.md.

A row says how its numbers are read, and what becomes of those of two processes. How a scrape looks is
exposition.py's. Knows nothing of HTTP or of processes.
"""

from __future__ import annotations

from operator import add
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from prometheus_client import PlatformCollector, ProcessCollector

from proxy import __version__, is_compiled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from prometheus_client.registry import Collector

    from proxy.telemetry.histogram import Histogram
    from proxy.telemetry.metrics import Metrics

COUNTER: Final = "counter"
GAUGE: Final = "gauge"
HISTOGRAM: Final = "histogram"
INFO: Final = "info"

LabelValues = tuple[str, ...]  # values of a family's labels


class Family(NamedTuple):
    """`read` gives a number for each combination of labels; a histogram has none."""

    name: str  # as it is written, with _total or _info
    kind: str
    help: str
    labels: tuple[str, ...]
    read: Callable[[Metrics], Mapping[Any, float]]
    merge: Callable[[float, float], float] = add  # of two processes' numbers


class Spread(NamedTuple):
    name: str
    help: str
    read: Callable[[Metrics], Histogram]


def _one(number: float) -> dict[LabelValues, float]:
    return {(): +number}  # a truth is 1 or 0


def _texts(counts: Mapping[Any, float]) -> dict[LabelValues, float]:
    """Keys of one label, or of labels that are no text yet."""
    return {_key(key): count for key, count in counts.items()}


def _key(key: object) -> LabelValues:
    values = key if isinstance(key, tuple) else (key,)
    return tuple([value.decode("ascii") if isinstance(value, bytes) else str(value) for value in values])


FAMILIES: Final = (
    Family(
        "weir_requests_total",
        COUNTER,
        "Requests by method, status sent to the client and who answered.",
        ("method", "status", "source"),
        lambda metrics: _texts(metrics.requests),
    ),
    Family(
        "weir_outcomes_total",
        COUNTER,
        "Requests by how they ended: served, refused, faulted, abandoned or tunnelled.",
        ("outcome",),
        lambda metrics: _texts(metrics.outcomes),
    ),
    Family(
        "weir_limit_decisions_total",
        COUNTER,
        "What each limit said, and where its answer came from.",
        ("limit", "decision", "via"),
        lambda metrics: metrics.decisions,
    ),
    Family(
        "weir_refused_heads_total",
        COUNTER,
        "Requests refused for their own bytes; the beginning of a body that grew too large may have gone on.",
        ("reason",),
        lambda metrics: _texts(metrics.refused_heads),
    ),
    Family(
        "weir_crowded_out_total",
        COUNTER,
        "Clients cut off since all together held more than downstream.limits.buffers, by what each held.",
        ("held",),
        lambda metrics: _texts(metrics.crowded_out()),
    ),
    Family(
        "weir_store_errors_total",
        COUNTER,
        "Calls to the store that failed.",
        ("reason",),
        lambda metrics: _texts(metrics.store.errors),
    ),
    Family(
        "weir_store_outages_total",
        COUNTER,
        "How often the store could no longer be reached.",
        (),
        lambda metrics: _one(metrics.store_outages),
    ),
    Family(
        "weir_redactions_total",
        COUNTER,
        "Responses of the upstream whose body was replaced.",
        ("status",),
        lambda metrics: _texts(metrics.redactions),
    ),
    Family(
        "weir_leaks_total",
        COUNTER,
        "Responses that were no failure by their status and told of one.",
        ("status", "signature"),
        lambda metrics: _texts(metrics.leaks),
    ),
    Family(
        "weir_contract_violations_total",
        COUNTER,
        "Responses of the upstream that break the contract.",
        ("status", "rule"),
        lambda metrics: _texts(metrics.contract_violations),
    ),
    Family(
        "weir_upstream_failures_total",
        COUNTER,
        "Attempts at a server that failed.",
        ("server", "reason"),
        lambda metrics: metrics.upstream_failures,
    ),
    Family(
        "weir_upstream_ejections_total",
        COUNTER,
        "How often an address of a server was left out, since it failed several times in a row.",
        ("server",),
        lambda metrics: _texts(metrics.ejections),
    ),
    Family(
        "weir_access_log_dropped_total",
        COUNTER,
        "Access log lines that could not be written.",
        (),
        lambda metrics: _one(metrics.access_log_dropped()),
    ),
    Family(
        "weir_log_dropped_total",
        COUNTER,
        "Lines of the program's log that could not be written.",
        (),
        lambda metrics: _one(metrics.log_dropped()),
    ),
    Family(
        "weir_spans_total",
        COUNTER,
        "Spans that a collector took (exported), and those that it did not or that found no room (lost).",
        ("result",),
        lambda metrics: _texts(metrics.spans()),
    ),
    Family(
        "weir_certificate_failures_total",
        COUNTER,
        "Times that changed files of certificates could not be used; the old ones stay in use.",
        ("setting",),
        lambda metrics: _texts(metrics.certificate_failures),
    ),
    Family(
        "weir_worker_restarts_total",
        COUNTER,
        "Workers that ended by themselves and were started again.",
        (),
        lambda metrics: _one(metrics.worker_restarts),
    ),
    Family(
        "weir_limit_waiting",
        GAUGE,
        "Requests that wait for their token now (max_wait).",
        ("limit",),
        lambda metrics: {(name,): count for name, count in metrics.room.waiting.items()},
    ),
    Family(
        "weir_limit_waits_total",
        COUNTER,
        "Requests that have waited for their token, whether they got it or left before.",
        ("limit",),
        lambda metrics: {(name,): count for name, count in metrics.room.waits.items()},
    ),
    Family(
        "weir_limit_waited_seconds_total",
        COUNTER,
        "Seconds that requests have waited for their tokens.",
        ("limit",),
        lambda metrics: {(name,): seconds for name, seconds in metrics.room.seconds.items()},
    ),
    Family(
        "weir_limit_in_flight",
        GAUGE,
        "Requests under way now that hold a slot of a limit on concurrency.",
        ("limit",),
        lambda metrics: _texts(metrics.in_flight()),
    ),
    Family(
        "weir_limit_shadow_waits_total",
        COUNTER,
        "Requests that would have waited for their token if the limit were enforced.",
        ("limit",),
        lambda metrics: {(name,): count for name, count in metrics.shadow_waits.items()},
    ),
    Family(
        "weir_limit_shadow_waited_seconds_total",
        COUNTER,
        "Seconds that requests would have waited for their tokens if the limit were enforced.",
        ("limit",),
        lambda metrics: {(name,): seconds for name, seconds in metrics.shadow_wait_seconds.items()},
    ),
    Family(
        "weir_limit_keys",
        GAUGE,
        "Keys that were over a limit, or near it, in the last minute: at least so many.",
        ("limit", "state"),
        lambda metrics: metrics.limit_keys(),
        max,  # a busy client meets every worker
    ),
    Family("weir_workers", GAUGE, "Processes that serve.", (), lambda _: _one(1)),
    Family(
        "weir_draining",
        GAUGE,
        "1 while Weir finishes what runs and takes nothing new.",
        (),
        lambda metrics: _one(metrics.is_draining()),
        max,
    ),
    Family(
        "weir_upstream_waiting",
        GAUGE,
        "Requests that wait for a server with room for them.",
        (),
        lambda metrics: _one(metrics.waiting()),
    ),
    Family(
        "weir_store_up",
        GAUGE,
        "1 while the store of buckets answers.",
        (),
        lambda metrics: _one(metrics.is_store_up()),
        min,
    ),
    Family(
        "weir_config_last_reload_successful",
        GAUGE,
        "1 if the config was good when it was last read.",
        (),
        lambda metrics: _one(metrics.is_reload_successful),
        min,
    ),
    Family(
        "weir_config_last_reload_timestamp_seconds",
        GAUGE,
        "When the config in force was read, in Unix time.",
        (),
        lambda metrics: _one(metrics.reload_time),
        min,
    ),
    Family(
        "weir_connections",
        GAUGE,
        "Open connections.",
        ("side", "state"),
        lambda metrics: metrics.connections(),
    ),
    Family(
        "weir_upstream_servers",
        GAUGE,
        "Addresses of each server by how they stand: serving, returning, ejected or unhealthy.",
        ("server", "state"),
        lambda metrics: metrics.servers(),
    ),
    Family(
        "weir_certificate_expiry_timestamp_seconds",
        GAUGE,
        "When each certificate in use expires, in Unix time.",
        ("setting",),
        lambda metrics: _texts(metrics.certificates()),
        min,
    ),
    Family(
        "weir_build_info",
        INFO,
        "What runs.",
        ("version", "compiled"),
        lambda _: {(__version__, "true" if is_compiled() else "false"): 1},
        min,
    ),
)

SPREADS: Final = (
    Spread(
        "weir_request_duration_seconds",
        "From the request's head to the end of the response; tunnels are left out.",
        lambda metrics: metrics.request_seconds,
    ),
    Spread(
        "weir_upstream_duration_seconds",
        "From the head sent to the server to the head of its answer.",
        lambda metrics: metrics.upstream_seconds,
    ),
    Spread(
        "weir_own_duration_seconds",
        "Weir's own share: until the head is sent to the server, or the whole of an answer of its own.",
        lambda metrics: metrics.own_seconds,
    ),
    Spread(
        "weir_store_batch_size",
        "Charges that went to the store in one call.",
        lambda metrics: metrics.store.batch_size,
    ),
    Spread(
        "weir_store_duration_seconds",
        "Time of one call to the store.",
        lambda metrics: metrics.store.seconds,
    ),
)


class ProcessFigures:
    """What prometheus-client knows of a process and its interpreter, as families like ours."""

    def __init__(self) -> None:
        self._collectors: tuple[Collector, ...] = (
            ProcessCollector(registry=None),
            PlatformCollector(registry=None),
        )
        self.families = tuple(self._families())

    def _families(self) -> Iterator[Family]:
        least = ("process_start_time_seconds", "process_max_fds", "python_info")
        for collector in self._collectors:
            for metric in collector.collect():
                sample = metric.samples[0]
                merge = min if sample.name in least else add
                labels = tuple(sample.labels)
                yield Family(sample.name, metric.type, metric.documentation, labels, lambda _: {}, merge)

    def read(self) -> dict[str, dict[LabelValues, float]]:
        return {
            sample.name: {tuple(sample.labels.values()): sample.value}
            for collector in self._collectors
            for metric in collector.collect()
            for sample in metric.samples
        }


PROCESS: Final = ProcessFigures()
ALL: Final = {family.name: family for family in (*FAMILIES, *PROCESS.families)}
