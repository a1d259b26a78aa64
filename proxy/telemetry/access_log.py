"""The access log: one JSON object a line for each exchange, written by a thread.

A line is made at once, while what it tells of is at hand; lines are handed to the thread when there are many
or when `flush` is called (about every 100 ms), so the loop never waits for the descriptor.
docs/observability.md names every field. Knows nothing of who calls it.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from time import gmtime, monotonic, strftime, time
from typing import TYPE_CHECKING, Final

import msgspec

from proxy.telemetry.line import Line
from proxy.telemetry.log import event
from proxy.telemetry.metrics import EXEMPT, word_of
from proxy.telemetry.safe_text import method_text, target_text
from proxy.telemetry.writer import LineWriter

if TYPE_CHECKING:
    from proxy.record import Record
    from proxy.telemetry.metrics import Metrics

CHUNK_BYTES: Final = 128 * 1024  # handed to the thread without waiting for the next flush
VERDICTS_MAX = 1024  # combinations of limits and verdicts that are remembered as text
STDOUT = 1

_log = logging.getLogger("weir.access")


class AccessLog:
    """Lines to "stdout", "off", or a file by its path, which is opened at once: a bad one is known early."""

    def __init__(
        self, destination: str, metrics: Metrics, *, fd: int = STDOUT, is_shared: bool = False
    ) -> None:
        metrics.provide_access_log(lambda: self.dropped)
        self._writer: LineWriter | None = None
        if destination != "off":
            place = fd if destination == "stdout" else destination
            self._writer = LineWriter(place, _report, is_shared=is_shared)
        self._chunk = bytearray()
        self._encoder = msgspec.json.Encoder()
        self._epoch = 0.0  # of the loop's clock in Unix time, as it was when the chunk was begun
        self._millisecond = -1  # whose text is `_time`: at full speed, twenty lines share one
        self._time = ""
        self._limits: dict[tuple[str, ...], msgspec.Raw] = {}  # by word, name, word, name ...
        self._unencodable = 0

    @property
    def dropped(self) -> int:
        """Lines that could not be written: nobody read them, the disk was full."""
        return (self._writer.dropped if self._writer else 0) + self._unencodable

    def write(self, exchange: Record) -> None:
        if self._writer is None:
            return
        chunk = self._chunk
        end = len(chunk)
        if not end:
            self._epoch = time() - monotonic()
        try:
            self._encoder.encode_into(self._line(exchange), chunk, end)
        except (UnicodeEncodeError, msgspec.EncodeError):  # text that is not Unicode: costs its own line only
            del chunk[end:]
            self._unencodable += 1
            return
        chunk += b"\n"
        if len(chunk) >= CHUNK_BYTES:
            self.flush()

    def flush(self) -> None:
        """Hands what has come to the writer."""
        if self._chunk and self._writer is not None:
            self._writer.offer(bytes(self._chunk))
            self._chunk.clear()

    def reopen(self) -> None:
        """Writes to a new file of the same name from here on."""
        if self._writer is not None:
            self.flush()
            self._writer.reopen()

    def close(self, timeout: float = 1.0) -> None:
        """Writes what is left; a destination that takes nothing delays this by at most `timeout` seconds."""
        if self._writer is not None:
            self.flush()
            self._writer.close(timeout)

    def _line(self, exchange: Record) -> Line:
        started = exchange.started
        millisecond = int((started + self._epoch) * 1000)
        if millisecond != self._millisecond:
            self._millisecond = millisecond
            self._time = _rfc3339(millisecond)
        decision = exchange.decision
        fault = exchange.fault
        upstream_seconds = exchange.upstream_seconds
        return Line(
            self._time,
            exchange.request_id,
            exchange.client,
            exchange.peer,
            method_text(exchange.method),
            target_text(exchange.target),
            exchange.status,
            exchange.source,
            exchange.outcome,
            exchange.bytes_in,
            exchange.bytes_out,
            int((exchange.finished - started) * 1e6) / 1e3,
            self._verdicts(exchange) if decision is not None or exchange.exempt else None,
            decision.via if decision is not None else None,
            exchange.server or None,
            int(upstream_seconds * 1e6) / 1e3 if upstream_seconds else None,
            fault.reason if fault is not None else None,
            exchange.redacted_status or None,
        )

    def _verdicts(self, exchange: Record) -> msgspec.Raw:
        """The limits' names by what they said, as JSON; the same few combinations come again and again."""
        key: tuple[str, ...] = ()
        if exchange.decision is not None:
            for verdict in exchange.decision.told:
                key += (word_of(verdict), verdict.limit.name)
        for limit in exchange.exempt:
            key += (EXEMPT, limit.name)
        text = self._limits.get(key)
        return text if text is not None else self._remember(key)

    def _remember(self, key: tuple[str, ...]) -> msgspec.Raw:
        if len(self._limits) >= VERDICTS_MAX:
            self._limits.clear()
        names: dict[str, list[str]] = {}
        for word, name in zip(key[::2], key[1::2], strict=True):
            names.setdefault(word, []).append(name)
        text = self._limits[key] = msgspec.Raw(self._encoder.encode(names))
        return text


@lru_cache(2)
def _second_text(second: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))


def _rfc3339(millisecond: int) -> str:
    second, rest = divmod(millisecond, 1000)
    return f"{_second_text(second)}.{rest:03d}Z"


def _report(word: str, destination: str, cause: str, lines: int) -> None:
    level = logging.INFO if not cause else logging.ERROR
    event(_log, level, f"access_{word}", destination=destination, cause=cause, lines=lines)
