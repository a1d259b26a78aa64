"""Spans, sizes, rates and ranges of statuses, as the config spells them, and back.

Every parser takes what YAML gave and returns the parsed value, or raises a ValueError that says what to write
instead. Values that are parsed already pass. A bare number is refused: 5 of what?
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from proxy.config.wording import shown

_SPAN_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_SPAN = re.compile(r"([0-9]{1,12})(ms|s|m|h)")
_SPAN_MEANT = re.compile(
    r"([0-9]{1,9})(\.[0-9]{1,6})?\s*(ms|msecs?|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)",
    re.IGNORECASE,
)
_SPAN_PARTS = re.compile(r"(?:[0-9]{1,6} ?(?:ms|h|m|s) ?){2,4}")
_SPAN_CLOCK = re.compile(r"([0-9]{1,4}):([0-5][0-9])")
SPAN_MAX_MS = 7 * 24 * 3_600_000  # a week: what is longer is meant to be for ever

_SIZE_BYTES = {"B": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
_SHARE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%")
_SIZE = re.compile(r"([0-9]{1,15})(B|KiB|MiB|GiB)")
_SIZE_MEANT = re.compile(
    r"([0-9]{1,9})(\.[0-9]{1,6})?\s*(b|bytes?|k|kb|kib|m|mb|mib|g|gb|gib)", re.IGNORECASE
)
SIZE_MAX_BYTES = 1024**4

US = 1_000_000  # microseconds in a second
_PERIOD_US = {"s": US, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}
PERIODS_US = frozenset(_PERIOD_US.values())
_RATE = re.compile(r"([0-9]{1,18})/([smhd])")
_RATE_MEANT = re.compile(
    r"([0-9]{1,18})\s*(?:r|req|reqs|requests?)?\s*(?:/|per)\s*1?\s*"
    r"(s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)",
    re.IGNORECASE,
)
_RATE_FRACTION = re.compile(r"([0-9]{0,6}\.[0-9]{1,6})/([smhd])")
WAIT_MAX = 60.0  # seconds for a token: clients and proxies in front give up after that, as a rule
EMPTIED_MAX_US = 60_000_000  # that a 429 of the service keeps a bucket empty: it can say so again
RATE_COUNT_MAX = 1_000_000_000

WORKERS_MAX = 256  # more than the processors of any machine this runs on

_STATUSES = re.compile(r"([0-9]{3})(?:\s*-\s*([0-9]{3}))?")
_STATUS_CLASS = re.compile(r"([1-5])xx", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Rate:
    """`count` tokens return in every `period_us`."""

    count: int
    period_us: int

    def __str__(self) -> str:
        for unit, period_us in _PERIOD_US.items():
            if period_us == self.period_us:
                return f"{self.count}/{unit}"
        return f"{self.count}/{self.period_us}us"


class StatusRange(NamedTuple):
    """Statuses from `low` to `high`, both included."""

    low: int
    high: int

    def __str__(self) -> str:
        return str(self.low) if self.low == self.high else f"{self.low}-{self.high}"


def parse_span(value: object) -> float:
    """Seconds of `250ms`, `5s`, `2m` or `1h`."""
    if isinstance(value, float):
        return value
    text = value if isinstance(value, str) else ""
    if match := _SPAN.fullmatch(text):
        milliseconds = int(match[1]) * _SPAN_MS[match[2]]
        if milliseconds > SPAN_MAX_MS:
            raise ValueError(
                f"{text} is more than the {format_span(SPAN_MAX_MS / 1000)} that a span may last"
            )
        return milliseconds / 1000
    raise ValueError(_span_advice(value, text))


def parse_timeout(value: object) -> float:
    """A span that is not nothing."""
    seconds = parse_span(value)
    if seconds <= 0:
        raise ValueError("must be at least 1ms")
    return seconds


def _span_advice(value: object, text: str) -> str:
    if (number := _bare_number(value)) is not None:
        return f"{number} needs a unit: write {number}ms, {number}s, {number}m or {number}h"
    if clock := _SPAN_CLOCK.fullmatch(text):
        seconds = int(clock[1]) * 60 + int(clock[2])
        return f"a span has one unit: write {seconds}s for minutes and seconds, not {text}"
    if _SPAN_PARTS.fullmatch(text):
        parts = re.findall(r"([0-9]+) ?(ms|h|m|s)", text)
        total = sum(int(count) * _SPAN_MS[unit] for count, unit in parts)
        if total <= SPAN_MAX_MS:
            return f"a span has one unit: write {format_span(total / 1000)}, not {text.strip()}"
    if meant := _SPAN_MEANT.fullmatch(text.strip()):
        unit = meant[3].lower()
        step = 86_400_000 if unit[0] == "d" else _SPAN_MS["ms" if unit.startswith(("ms", "mil")) else unit[0]]
        scaled = float(meant[1] + (meant[2] or "")) * step
        if scaled == int(scaled) and scaled <= SPAN_MAX_MS:
            return f"write {format_span(scaled / 1000)}, not {shown(value)}"
    return f"must be a span such as 250ms, 5s, 2m or 1h, not {shown(value)}"


def format_span(seconds: float) -> str:
    """The shortest spelling; whole milliseconds."""
    milliseconds = round(seconds * 1000)
    for unit in ("h", "m", "s"):
        if milliseconds and milliseconds % _SPAN_MS[unit] == 0:
            return f"{milliseconds // _SPAN_MS[unit]}{unit}"
    return f"{milliseconds}ms" if milliseconds else "0s"


def parse_share(value: object) -> float:
    """Reads `100%`, `1%` or `0.5%`."""
    if isinstance(value, float) and 0 <= value <= 1:
        return value
    text = value if isinstance(value, str) else ""
    if (match := _SHARE.fullmatch(text)) and (share := float(match[1]) / 100) <= 1:
        return share
    if (number := _bare_number(value)) is not None:
        raise ValueError(f"{number} needs a percent sign: write {number}%")
    raise ValueError(f"must be a share such as 100%, 1% or 0.5%, not {shown(value)}")


def format_share(share: float) -> str:
    return f"{share * 100:.10g}%"


def parse_size(value: object) -> int:
    """Bytes of `512B`, `8KiB`, `1MiB` or `1GiB`; at least one."""
    text = value if isinstance(value, str) else ""
    if match := _SIZE.fullmatch(text):
        size = int(match[1]) * _SIZE_BYTES[match[2]]
        if size == 0:
            raise ValueError("must be at least 1B")
        if size > SIZE_MAX_BYTES:
            raise ValueError(f"{text} is more than the {format_size(SIZE_MAX_BYTES)} that a size may be")
        return size
    if (number := _bare_number(value)) is not None:
        raise ValueError(f"{number} needs a unit: write {format_size(number) if number else '1B or more'}")
    if meant := _SIZE_MEANT.fullmatch(text.strip()):
        step = {"b": 1, "k": 1024, "m": 1024**2, "g": 1024**3}[meant[3][0].lower()]
        scaled = float(meant[1] + (meant[2] or "")) * step
        if scaled == int(scaled) and scaled > 0:
            raise ValueError(f"write {format_size(int(scaled))}, not {shown(value)}")
    raise ValueError(f"must be a size such as 512B, 8KiB or 1MiB, not {shown(value)}")


def format_size(size: int) -> str:
    for unit in ("GiB", "MiB", "KiB"):
        if size and size % _SIZE_BYTES[unit] == 0:
            return f"{size // _SIZE_BYTES[unit]}{unit}"
    return f"{size}B"


def parse_rate(value: object) -> Rate:
    """`15/s`, `90/m`, `1000/h` or `5000/d`."""
    if isinstance(value, Rate):
        return value
    text = value if isinstance(value, str) else ""
    if match := _RATE.fullmatch(text):
        count = int(match[1])
        if count == 0:
            raise ValueError(f"{text} would refuse every request; a rate is at least 1, such as 1/h")
        if count > RATE_COUNT_MAX:
            raise ValueError(f"{text} is more than the {RATE_COUNT_MAX}/{match[2]} that can be counted")
        return Rate(count, _PERIOD_US[match[2]])
    raise ValueError(_rate_advice(value, text))


def _rate_advice(value: object, text: str) -> str:
    if number := _bare_number(value):
        return f"{number} needs a period: write {number}/s, {number}/m, {number}/h or {number}/d"
    if fraction := _RATE_FRACTION.fullmatch(text):
        longer = {"s": "m", "m": "h"}.get(fraction[2], "d")
        count = round(float(fraction[1]) * _PERIOD_US[longer] / _PERIOD_US[fraction[2]], 6)
        if count == int(count) and count:
            return f"a rate is a whole number: write {int(count)}/{longer}, not {text}"
    if meant := _RATE_MEANT.fullmatch(text.strip()):
        return f"write {int(meant[1])}/{meant[2][0].lower()}, not {shown(value)}"
    return f"must be a rate such as 15/s, 90/m, 1000/h or 5000/d, not {shown(value)}"


def _bare_number(value: object) -> int | None:
    """A number without its unit, also in quotes."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value if value >= 0 else None
    return int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,12}", value) else None


def parse_statuses(value: object) -> StatusRange:
    """`500`, `"502"` or `502-504`."""
    if isinstance(value, StatusRange):
        return value
    text = str(value).strip() if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if match := _STATUSES.fullmatch(text):
        low, high = int(match[1]), int(match[2] or match[1])
        if not (100 <= low <= 599 and 100 <= high <= 599):
            raise ValueError(f"a status lies between 100 and 599, {text} does not")
        if low > high:
            raise ValueError(f"the range is upside down: write {high}-{low}")
        return StatusRange(low, high)
    if hundred := _STATUS_CLASS.fullmatch(text):
        raise ValueError(f"write {hundred[1]}00-{hundred[1]}99, not {shown(value)}")
    raise ValueError(f'must be a status or a range such as "500" or "500-599", not {shown(value)}')


def parse_workers(value: object) -> int | Literal["auto"]:
    """A number of processes, or `auto`: one for each processor."""
    if value == "auto":
        return "auto"
    if isinstance(value, int) and not isinstance(value, bool):
        if 1 <= value <= WORKERS_MAX:
            return value
        raise ValueError(f"must be 1 to {WORKERS_MAX}, or auto, not {value}")
    raise ValueError(f"must be a whole number such as 1, or auto, not {shown(value)}")


def parse_tls_version(value: object) -> object:
    """`1.3` without quotes is a number in YAML."""
    return str(value) if isinstance(value, float) else value
