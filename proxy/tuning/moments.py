"""Moments as access logs write them, to microseconds since 1970. Knows nothing of logs."""

from __future__ import annotations

import re
from datetime import UTC, datetime

US = 1_000_000
# A number is in seconds, milliseconds, microseconds or nanoseconds, by its size.
_NUMBER = re.compile(r"([0-9]{1,19})(?:\.([0-9]{1,9})[0-9]*)?")
_CLF = re.compile(r"[0-9]{2}/[A-Z][a-z]{2}/[0-9]{4}:[0-9:]{8} [+-][0-9]{4}")
_CLF_FORMAT = "%d/%b/%Y:%H:%M:%S %z"
_LATEST_SECONDS = 10**11
_MILLISECONDS = {f"{number:03}Z": number * 1000 for number in range(1000)}
MOMENT_LETTERS = 64
MOMENTS_KNOWN = 4096  # texts of moments: an hour of whole seconds


class Moments:
    """Reads moments; most lines have the second, or the very text, of the one before."""

    __slots__ = ("_known", "_second", "_second_us")

    def __init__(self) -> None:
        self._known: dict[str, int | None] = {}
        self._second = ""
        self._second_us = 0

    def of(self, text: str) -> int | None:
        """None for what is no moment."""
        known = self._known
        if text in known:
            return known[text]
        if len(text) > MOMENT_LETTERS:
            return None
        if len(known) >= MOMENTS_KNOWN:
            known.clear()
        at = known[text] = moment_us(text)
        return at

    def of_own(self, text: str) -> int | None:
        """Reads Weir's own log: `2026-01-31T23:59:59.123Z`."""
        second, rest = text[:20], text[20:]
        millisecond = _MILLISECONDS.get(rest)
        if millisecond is None:
            return self.of(text)
        if second != self._second:
            at = moment_us(text)
            if at is None:
                return None
            self._second, self._second_us = second, at - millisecond
        return self._second_us + millisecond


def moment_us(text: str) -> int | None:
    """Reads ISO 8601 (without a zone: UTC), the Common Log Format, or a number since 1970."""
    number = _NUMBER.fullmatch(text)
    if number is not None:
        return _of_number(int(number[1]), number[2] or "")
    try:
        if _CLF.fullmatch(text):
            return _whole_us(datetime.strptime(text, _CLF_FORMAT))  # noqa: DTZ007 - with %z
        return _whole_us(datetime.fromisoformat(text))
    except (ValueError, OverflowError):
        return None


def _of_number(whole: int, fraction: str) -> int:
    for unit in (US, 1000, 1):
        if whole < _LATEST_SECONDS * US // unit:
            parts = int(fraction.ljust(6, "0")[:6]) * unit // US if fraction else 0
            return whole * unit + parts
    return whole // 1000  # nanoseconds


def _whole_us(moment: datetime) -> int | None:
    zoned = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    since = zoned - datetime(1970, 1, 1, tzinfo=UTC)
    return (since.days * 86_400 + since.seconds) * US + since.microseconds
