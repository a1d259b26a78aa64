"""A reading as a scrape: the Prometheus text format, version 0.0.4, or OpenMetrics 1.0.

Ours and not prometheus-client's, since a scrape must not hold up what is served: it comes in pieces between
which the loop can turn, and what stands before a number is written once (docs/decisions/0013-scrapes.md).
The tests read it back with that library's parsers. Knows nothing of HTTP.
"""

from __future__ import annotations

import math
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Final

from proxy.telemetry.families import ALL, COUNTER, GAUGE, HISTOGRAM, INFO, SPREADS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.telemetry.families import LabelValues
    from proxy.telemetry.reading import Buckets, Reading

PIECE_SAMPLES: Final = 128  # 0.1 ms, and 0.4 ms the first time
HEADS_MAX: Final = 50_000  # series whose beginnings are remembered: several times those of 500 limits

_SUFFIXES = {COUNTER: "_total", INFO: "_info"}  # OpenMetrics names a family without them
_LABEL_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", '"': '\\"'})
_HELP_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n"})


class Exposition:
    def __init__(self) -> None:
        self._heads: dict[tuple[str, LabelValues], str] = {}

    def pieces(self, reading: Reading, *, is_openmetrics: bool) -> Iterator[bytes]:
        """The whole, in pieces of which none takes long."""
        for name, table in reading.counts.items():
            family = ALL[name]
            yield _opening(name, family.kind, family.help, is_openmetrics=is_openmetrics)
            numbers = iter(table.items())
            while samples := list(islice(numbers, PIECE_SAMPLES)):
                yield "".join([f"{self._head(name, key)} {_number(n)}\n" for key, n in samples]).encode()
        for name, text, _ in SPREADS:
            if name in reading.spreads:
                yield _opening(name, HISTOGRAM, text, is_openmetrics=is_openmetrics)
                yield _histogram(name, reading.spreads[name], has_exemplars=is_openmetrics)
        if is_openmetrics:
            yield b"# EOF\n"

    def _head(self, name: str, key: LabelValues) -> str:
        """A sample's name with its labels."""
        head = self._heads.get((name, key))
        if head is None:
            if len(self._heads) >= HEADS_MAX:
                self._heads.clear()
            head = self._heads[name, key] = _labelled(name, ALL[name].labels, key)
        return head


def _opening(name: str, kind: str, text: str, *, is_openmetrics: bool) -> bytes:
    if is_openmetrics:
        name = name.removesuffix(_SUFFIXES.get(kind, ""))
    elif kind == INFO:
        kind = GAUGE
    return f"# HELP {name} {text.translate(_HELP_ESCAPES)}\n# TYPE {name} {kind}\n".encode()


def _labelled(name: str, labels: LabelValues, values: LabelValues) -> str:
    pairs = ",".join(
        f'{label}="{value.translate(_LABEL_ESCAPES)}"' for label, value in zip(labels, values, strict=True)
    )
    return f"{name}{{{pairs}}}" if pairs else name


def _histogram(name: str, buckets: Buckets, *, has_exemplars: bool) -> bytes:
    """Only OpenMetrics has exemplars."""
    bounds = [*map(_number, buckets.bounds), "+Inf"]
    counts = list(accumulate(buckets.counts))
    exemplars = buckets.exemplars if has_exemplars else {}
    lines = [
        f'{name}_bucket{{le="{bound}"}} {count}{_exemplar(exemplars.get(place))}\n'
        for place, (bound, count) in enumerate(zip(bounds, counts, strict=True))
    ]
    lines += [f"{name}_count {counts[-1]}\n", f"{name}_sum {_number(buckets.total)}\n"]
    return "".join(lines).encode()


def _exemplar(exemplar: tuple[str, float, float] | None) -> str:
    if exemplar is None:
        return ""
    trace_id, value, moment = exemplar
    return f' # {{trace_id="{trace_id}"}} {_number(value)} {_number(round(moment, 3))}'


def _number(number: float) -> str:
    """Is written as both formats have it."""
    if math.isfinite(number):
        return repr(number)
    return "NaN" if math.isnan(number) else f"{number:+}".replace("inf", "Inf")
