"""python -m benchmarks.telemetry: what seeing costs: microseconds of an exchange, milliseconds of a scrape.

The exchange's row is the difference between all that telemetry does for it and nothing; its lines are
encoded and thrown away, as the thread that writes them takes no time of the loop.
"""

from __future__ import annotations

import os
import timeit
from time import thread_time
from typing import TYPE_CHECKING

from proxy import faults, is_compiled
from proxy.config.loader import loads
from proxy.faults import REFUSED
from proxy.policy.decision import Charge, Decision, Verdict
from proxy.policy.limits import compile_limits
from proxy.record import SERVED, UPSTREAM, WEIR, Record
from proxy.telemetry.access_log import AccessLog
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.reading import merged, reading

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS, NUMBER = 7, 20_000
LIMITS, WORKERS = 500, 4

_CONFIG = """
upstream: {servers: ["http://127.0.0.1:9000"]}
limits: [{name: per-user, rate: 15/s}]
"""
_LIMITS = compile_limits(loads(_CONFIG, "weir.yaml", environ={}).limits, b"")
_LIMIT = next(iter(_LIMITS))


def main() -> None:
    print(f"{'compiled' if is_compiled() else 'source'}, best of {ROUNDS}")
    for name, microseconds in exchanges():
        print(f"{name:58} {microseconds:6.2f} us")
    for name, milliseconds in scrapes():
        print(f"{name:58} {milliseconds:6.2f} ms")


def exchanges() -> list[tuple[str, float]]:
    calm = [_exchange(key, spent=0.2) for key in range(100)]
    near = [_exchange(key, spent=0.9) for key in range(100)]
    over = [_exchange(key, spent=None) for key in range(100)]
    strangers = [_exchange(key, spent=None) for key in range(NUMBER)]
    failed = [_failed(key) for key in range(100)]
    return [
        ("admitted, far from its limit: all of it", _recorded(calm)),
        ("... metrics alone", _recorded(calm, log="off")),
        ("... top keys alone", _seen(calm)),
        ("near its limit: top keys alone", _seen(near)),
        ("refused: top keys alone", _seen(over)),
        ("refused, every key another: top keys alone", _seen(strangers)),
        ("refused: all of it", _recorded(over)),
        ("faulted: all of it, with the list of recent ones", _recorded(failed)),
    ]


def scrapes() -> list[tuple[str, float]]:
    metrics = Metrics()
    names = [f"limit-{number}" for number in range(LIMITS)]
    metrics.configure(names)
    for name in names:
        for decision in ("admitted", "refused", "shadow_refused"):
            for via in ("store", "denial_cache"):
                metrics.decisions[name, decision, via] = 5
    exposition = Exposition()

    def scrape() -> bytes:
        whole = merged(reading(metrics) for _ in range(WORKERS))
        return b"".join(exposition.pieces(whole, is_openmetrics=True))

    found = reading(metrics)
    readings = [reading(metrics) for _ in range(WORKERS)]

    def together() -> object:
        return merged(readings)

    longest = min(max(_spans(exposition.pieces(found, is_openmetrics=True))) for _ in range(ROUNDS))
    return [
        (f"scrape of {LIMITS} limits and {WORKERS} workers", _milliseconds(scrape)),
        ("... a worker's part, each second", _milliseconds(lambda: reading(metrics))),
        ("... the readings of all workers, put together in one go", _milliseconds(together)),
        ("... its longest piece after that", longest * 1e3),
    ]


def _spans(pieces: object) -> list[float]:
    """CPU time of each: what others of this machine do meanwhile is not the scrape's."""
    spans: list[float] = []
    steps = iter(pieces)  # type: ignore[call-overload]  # of either kind
    while True:
        begun = thread_time()
        if next(steps, None) is None:
            return spans
        spans.append(thread_time() - begun)


def _milliseconds(call: Callable[[], object]) -> float:
    return min(timeit.repeat(call, timer=thread_time, number=1, repeat=20)) * 1e3


def _exchange(key: int, spent: float | None) -> Record:
    made = Record(b"GET", b"/api/entities/10657?loadLevel=2", "10.1.2.3", 1000.0)
    made.request_id = "4bf92f3577b34da6a3ce929d0e0e4736"
    made.charges = [Charge(_LIMIT.terms, key.to_bytes(16, "big"))]
    made.finished = 1000.25
    if spent is None:
        made.status, made.source, made.outcome = 429, WEIR, REFUSED
        made.fault = faults.LIMITED
        made.decision = _decision(is_admitted=False, debt=_LIMIT.terms.burst_units)
        return made
    made.status, made.source, made.outcome = 200, UPSTREAM, SERVED
    made.server, made.upstream_started, made.upstream_seconds = "http://127.0.0.1:9000", 1000.01, 0.2
    made.decision = _decision(is_admitted=True, debt=int(_LIMIT.terms.burst_units * spent))
    return made


def _decision(*, is_admitted: bool, debt: int) -> Decision:
    return Decision(is_admitted, [Verdict(Charge(_LIMIT.terms, bytes(16)), is_admitted, debt)])


def _failed(key: int) -> Record:
    made = _exchange(key, 0.2)
    made.status, made.source, made.outcome, made.fault = 502, WEIR, "faulted", faults.CONNECT_REFUSED
    return made


def _recorded(sample: list[Record], log: str = "stdout") -> float:
    metrics = Metrics()
    metrics.configure(["per-user"])
    sink = os.open(os.devnull, os.O_WRONLY)
    access_log = AccessLog(log, metrics, fd=sink)

    def each() -> None:
        for exchange in sample:
            metrics.record(exchange)
            access_log.write(exchange)

    best = min(timeit.repeat(each, number=NUMBER // len(sample), repeat=ROUNDS)) / NUMBER * 1e6
    access_log.close()
    os.close(sink)
    return best


def _seen(sample: list[Record]) -> float:
    top = Metrics().top_keys

    def each() -> None:
        for exchange in sample:
            assert exchange.decision is not None
            top.saw(exchange.decision.verdicts, exchange.finished)

    def nothing() -> None:
        for exchange in sample:
            assert exchange.decision is not None

    number = NUMBER // len(sample)
    spent = min(timeit.repeat(each, number=number, repeat=ROUNDS))
    return (spent - min(timeit.repeat(nothing, number=number, repeat=ROUNDS))) / NUMBER * 1e6


if __name__ == "__main__":
    main()
