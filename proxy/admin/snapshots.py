"""What the dashboard shows, worked out once for all who look: rates and percentiles between two readings.

The page gets numbers, not counters, so that a phone has nothing to add up. Knows nothing of who looks.
"""

from __future__ import annotations

from collections import deque
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import msgspec

from proxy import __version__, is_compiled
from proxy.telemetry.reading import Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from proxy.config.sections.limits import LimitSettings
    from proxy.telemetry.families import LabelValues
    from proxy.telemetry.reading import Buckets
    from proxy.telemetry.sights import Sights, Trouble

HISTORY = 900  # ticks: a quarter of an hour
TROUBLES_KEPT = 800  # more than two workers keep of all kinds

OUTCOMES = ("served", "refused", "faulted", "abandoned", "tunnelled")
DURATIONS = ("request", "upstream", "own")
DECISIONS = ("admitted", "refused", "shadow_refused", "exempt")

_NOTHING = Reading({}, {})


class Snapshots:
    """What viewers are shown, from the first look to the last; nothing is kept from one time to the next."""

    def __init__(self) -> None:
        self._history: deque[list[float | None]] = deque(maxlen=HISTORY)
        self._troubles: deque[Trouble] = deque(maxlen=TROUBLES_KEPT)
        self._known: deque[tuple[str, float]] = deque(maxlen=TROUBLES_KEPT)
        self._before: Reading | None = None
        self._at = 0.0

    def hello(self, limits: Sequence[LimitSettings], verbs: Iterable[str]) -> bytes:
        """What does not change from tick to tick, and what was before."""
        return msgspec.json.encode(
            {
                "version": __version__,
                "compiled": is_compiled(),
                "limits": [described(limit) for limit in limits],
                "verbs": list(verbs),
                "history": list(self._history),
                "troubles": list(self._troubles),
            }
        )

    def tick(
        self, reading: Reading, sights: Sights, status: Mapping[str, object], clocks: tuple[float, float]
    ) -> bytes:
        """`clocks` are the monotonic one and the one on the wall, now."""
        now, wall = clocks
        rates = Rates(self._before or _NOTHING, reading, now - self._at if self._before else 0.0)
        self._before, self._at = reading, now
        errors = rates.errors()
        point = [round(wall, 1), *rates.outcomes(), *rates.percentiles(), _sum(errors.values())]
        self._history.append(point)
        return msgspec.json.encode(
            {
                "point": point,
                "requests": sum(reading.counts.get("weir_requests_total", {}).values()),
                "errors": errors,
                "limits": rates.limits(),
                "keys": sights.keys,
                "troubles": self._new(sights.troubles),
                "calls": rates.calls(),
                "figures": _figures(reading),
                "status": status,
            },
            enc_hook=str,
        )

    def _new(self, troubles: Iterable[Trouble]) -> list[Trouble]:
        """Readings overlap a little, so that nothing is missed between two."""
        known = set(self._known)
        found = [trouble for trouble in troubles if (trouble.request_id, trouble.mark) not in known]
        self._known.extend((trouble.request_id, trouble.mark) for trouble in found)
        self._troubles.extend(found)
        return found


class Rates:
    """Between two readings; without an earlier one there is none."""

    def __init__(self, before: Reading, after: Reading, seconds: float) -> None:
        self._before = before
        self._after = after
        self._seconds = seconds

    def outcomes(self) -> list[float | None]:
        counts = self._deltas("weir_outcomes_total", lambda key: key[0])
        return [self._rate(counts.get(outcome, 0)) for outcome in OUTCOMES]

    def percentiles(self) -> list[float | None]:
        """The half and the 99th, in milliseconds: of all, of the service, of Weir's own share."""
        found: list[float | None] = []
        for name in DURATIONS:
            spread = self._spread(f"weir_{name}_duration_seconds")
            found += [milliseconds(spread, 0.5), milliseconds(spread, 0.99)]
        return found

    def errors(self) -> dict[str, float | None]:
        """Answers of 5xx a second, by whose they were."""
        counts = self._deltas("weir_requests_total", lambda key: key[2] if key[1][0] == "5" else "")
        return {source: self._rate(counts.get(source, 0)) for source in ("upstream", "weir")}

    def limits(self) -> dict[str, list[float | None]]:
        """What each limit said a second, in the order of DECISIONS; then its keys that are over and near, and
        who waits and is under way.
        """
        said = self._deltas("weir_limit_decisions_total", lambda key: (key[0], key[1]))
        counts = self._after.counts
        keys = counts.get("weir_limit_keys", {})
        waiting, under_way = counts.get("weir_limit_waiting", {}), counts.get("weir_limit_in_flight", {})
        return {
            name: [
                *[self._rate(said.get((name, decision), 0)) for decision in DECISIONS],
                keys.get((name, "over"), 0),
                keys.get((name, "near"), 0),
                waiting.get((name,)),
                under_way.get((name,)),
            ]
            for name in dict.fromkeys(key[0] for key in counts.get("weir_limit_decisions_total", {}))
        }

    def calls(self) -> dict[str, float | None]:
        """How many calls to the store end in a second, and how long they take."""
        spread, batches = self._spread("weir_store_duration_seconds"), self._spread("weir_store_batch_size")
        calls = sum(spread.counts) if spread else 0
        return {
            "rate": self._rate(calls),
            "p50": milliseconds(spread, 0.5),
            "p99": milliseconds(spread, 0.99),
            "batch": round(batches.total / calls, 1) if batches and calls else None,
        }

    def _rate(self, count: float) -> float | None:
        return round(count / self._seconds, 2) if self._seconds else None

    def _deltas(self, name: str, part: Callable[[LabelValues], Any]) -> dict[Any, float]:
        before = self._before.counts.get(name, {})
        sums: dict[Any, float] = {}
        for key, number in self._after.counts.get(name, {}).items():
            place = part(key)
            sums[place] = sums.get(place, 0) + number - before.get(key, 0)
        return sums

    def _spread(self, name: str) -> Buckets | None:
        """What came between."""
        after, before = self._after.spreads.get(name), self._before.spreads.get(name)
        if after is None or before is None:
            return None
        counts = [now - then for now, then in zip(after.counts, before.counts, strict=True)]
        return type(after)(after.bounds, counts, after.total - before.total)


def milliseconds(spread: Buckets | None, part: float) -> float | None:
    """A percentile, as Prometheus reckons it: within a bucket evenly, above the last bound that bound."""
    total = sum(spread.counts) if spread is not None else 0
    if spread is None or total <= 0:
        return None
    wanted = total * part
    low, below = 0.0, 0
    for bound, upto in zip(spread.bounds, accumulate(spread.counts), strict=False):
        if upto >= wanted:
            return round((low + (bound - low) * (wanted - below) / (upto - below)) * 1000, 3)
        low, below = bound, upto
    return round(low * 1000, 3)


def described(limit: LimitSettings) -> dict[str, object]:
    """A limit as its line in the config says it."""
    match = limit.match
    return {
        "name": limit.name,
        "rate": str(limit.rate) if limit.rate is not None else None,
        "burst": limit.burst,
        "concurrency": limit.concurrency,
        "mode": limit.mode,
        "key": [str(each) for each in limit.key],
        "parts": [[str(part) for part in each.parts] for each in limit.key],  # what names a client, by entry
        "match": " ".join([",".join(match.methods), ",".join(map(str, match.paths))]).strip(),
    }


def _sum(rates: Iterable[float | None]) -> float | None:
    known = [rate for rate in rates if rate is not None]
    return round(sum(known), 2) if known else None


def _figures(reading: Reading) -> dict[str, float]:
    """What is one number each."""
    names = (
        "weir_upstream_waiting",
        "weir_store_outages_total",
        "weir_access_log_dropped_total",
        "weir_log_dropped_total",
        "weir_worker_restarts_total",
        "weir_workers",
        "weir_draining",
        "process_resident_memory_bytes",
        "process_cpu_seconds_total",
    )
    return {name: sum(reading.counts.get(name, {}).values()) for name in names}
