"""The access log: a line for each exchange, JSON if not told otherwise, written by a thread.

Lines are made some at a time, since code that runs again and again is found in the processor's caches. They
are handed to the thread when there are many or when `flush` is called (about every 100 ms), so the loop never
waits for the descriptor.
docs/observability.md names every field. Knows nothing of who calls it.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from time import gmtime, monotonic, strftime, time
from typing import TYPE_CHECKING, Final
from zlib import crc32

import msgspec

from proxy.contract.ration import Ration
from proxy.faults import TUNNELLED
from proxy.http1 import trace_context
from proxy.record import SERVED
from proxy.telemetry.line import AccessLine
from proxy.telemetry.line_forms import FORMS
from proxy.telemetry.log import event
from proxy.telemetry.metrics import ADMITTED, EXEMPT, word_of
from proxy.telemetry.safe_text import METHOD_TEXTS, header_text, method_text, target_text
from proxy.telemetry.writer import LineWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config.settings import LogSettings
    from proxy.policy.decision import Charge
    from proxy.record import Record
    from proxy.telemetry.metrics import Metrics

CHUNK_BYTES: Final = 128 * 1024  # handed to the thread without waiting for the next flush
TOGETHER: Final = 32  # lines are made one after another: with one connection, 0.95 of an exchange's CPU time
KEY_BYTES: Final = 8  # of a partition key: enough to tell clients apart, too little to name them elsewhere
VERDICTS_MAX = 1024  # combinations of limits and verdicts that are remembered as text
TARGETS_KNOWN: Final = 1024  # clients ask for the same again and again: a quarter of what a line costs
TARGET_BYTES: Final = 256  # of those that are remembered
STDOUT = 1
SLOW_PER_SECOND, SLOW_BURST = 10, 100  # lines of slow requests
CRASHES_PER_SECOND, CRASH_BURST = 1, 5  # tracebacks of lines that could not be made

# What the optional fields are read from, and which of them a form cannot do without.
HEADERS: Final = {
    "user_agent": b"user-agent",
    "referer": b"referer",
    "host": b"host",
    "trace_id": b"traceparent",
}
NEEDED: Final[dict[str, tuple[str, ...]]] = {"combined": ("referer", "user_agent")}

_log = logging.getLogger("weir.access")


class AccessLog:
    """Lines to "stdout", "off", or a file by its path, which is opened at once: a bad one is known early."""

    def __init__(
        self, destination: str, metrics: Metrics, *, fd: int = STDOUT, is_shared: bool = False
    ) -> None:
        metrics.provide_access_log(lambda: self.dropped)
        self.headers: tuple[bytes, ...] = ()  # of the request, whose values a record brings along
        self._extras: tuple[str, ...] = ()  # the fields that they fill
        self._form: Callable[[AccessLine], bytes] | None = None  # None: JSON
        self._share = 1.0
        self._slow = 0.0  # seconds; 0: nothing is slow
        self._slow_ration = Ration(SLOW_PER_SECOND, SLOW_BURST)
        self._crash_ration = Ration(CRASHES_PER_SECOND, CRASH_BURST)
        self._writer: LineWriter | None = None
        if destination != "off":
            place = fd if destination == "stdout" else destination
            self._writer = LineWriter(place, _report, is_shared=is_shared)
        self._chunk = bytearray()
        self._ended: list[Record] = []  # whose lines are not made yet
        self._encoder = msgspec.json.Encoder()
        self._epoch = 0.0  # of the loop's clock in Unix time, as it was when the chunk was begun
        self._millisecond = -1  # whose text is `_time`: at full speed, twenty lines share one
        self._time = ""
        self._limits: dict[tuple[str, ...], msgspec.Raw] = {}  # by word, name, word, name ...
        self._targets: dict[bytes, str] = {}  # as text
        self._unencodable = 0

    @property
    def dropped(self) -> int:
        """Lines that could not be written: nobody read them, the disk was full."""
        return (self._writer.dropped if self._writer else 0) + self._unencodable

    def adopt(self, settings: LogSettings) -> None:
        """Takes the settings, at the start and after a reload. What has ended is told as it was asked for."""
        self._make_lines()
        self._form = FORMS.get(settings.format)
        wanted = dict.fromkeys((*settings.fields, *NEEDED.get(settings.format, ())))
        self._extras = tuple(wanted) if self._writer is not None else ()
        self.headers = tuple([HEADERS[name] for name in self._extras])
        self._share = settings.sample
        self._slow = settings.slow or 0.0

    def write(self, exchange: Record) -> None:
        if self._slow:
            self._note_slow(exchange)
        if self._writer is None or (self._share < 1 and not _is_kept(exchange, self._share)):
            return
        ended = self._ended
        ended.append(exchange)
        if len(ended) >= TOGETHER:
            self._make_lines()

    def _make_lines(self) -> None:
        ended, self._ended = self._ended, []
        for exchange in ended:
            self._make_line(exchange)

    def _make_line(self, exchange: Record) -> None:
        """What goes wrong costs its own line only: neither the others nor whoever is served now."""
        chunk = self._chunk
        end = len(chunk)
        if not end:
            self._epoch = time() - monotonic()
        try:
            if self._form is None:
                self._encoder.encode_into(self._line(exchange), chunk, end)
            else:
                chunk += self._form(self._line(exchange))
        except Exception as error:  # noqa: BLE001 - told, and what it costs is counted
            del chunk[end:]
            self._unencodable += 1
            is_odd_text = isinstance(error, UnicodeEncodeError | msgspec.EncodeError)
            if not is_odd_text and self._crash_ration.admits(monotonic()):
                _log.exception("crashed")
            return
        chunk += b"\n"
        if len(chunk) >= CHUNK_BYTES:
            self._hand_over()

    def flush(self) -> None:
        """Hands what has come to the writer."""
        self._make_lines()
        self._hand_over()

    def _hand_over(self) -> None:
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

    def _line(self, exchange: Record) -> AccessLine:
        started = exchange.started
        millisecond = int((started + self._epoch) * 1000)
        if millisecond != self._millisecond:
            self._keep_time(millisecond)
        method = exchange.method
        decision = exchange.decision
        limits = self._verdicts(exchange) if decision is not None or exchange.exempt else None
        charges = exchange.charges
        keys = plan = None
        if len(charges) == 1:  # written out: 0.3 us; JSON needs no escape for what names hold
            terms = charges[0].terms
            keys = msgspec.Raw(f'{{"{terms.name}":"{charges[0].key[:KEY_BYTES].hex()}"}}')
            plan = terms.plan or None
        elif charges:
            keys, plan = _payers(charges)
        fault = exchange.fault
        upstream_seconds = exchange.upstream_seconds
        line = AccessLine(
            self._time,
            exchange.request_id,
            exchange.client,
            exchange.peer,
            METHOD_TEXTS.get(method) or method_text(method),
            self._targets.get(exchange.target) or self._told(exchange.target),
            exchange.status,
            exchange.source,
            exchange.outcome,
            exchange.bytes_in,
            exchange.bytes_out,
            int((exchange.finished - started) * 1e6) / 1e3,
            limits,
            keys,
            plan,
            decision.via if decision is not None else None,
            exchange.server or None,
            int(upstream_seconds * 1e6) / 1e3 if upstream_seconds else None,
            int(exchange.waited * 1e6) / 1e3 if exchange.waited else None,
            self._would_wait(exchange.would_wait) if exchange.would_wait else None,
            fault.reason if fault is not None else None,
            exchange.redacted_status or None,
        )
        if exchange.headers:
            self._fill(line, exchange)
        if self._share < 1 and _went_well(exchange):
            line.sample = self._share
        return line

    def _keep_time(self, millisecond: int) -> None:
        self._millisecond = millisecond
        second, rest = divmod(millisecond, 1000)
        self._time = f"{_second_text(second)}.{rest:03d}Z"

    def _told(self, target: bytes) -> str:
        """The text without secrets, kept for the next time unless it is long."""
        text = target_text(target)
        if len(target) <= TARGET_BYTES:
            if len(self._targets) >= TARGETS_KNOWN:
                self._targets.clear()
            self._targets[target] = text
        return text

    def _fill(self, line: AccessLine, exchange: Record) -> None:
        """A reload between an exchange's head and its line costs the fields that do not fit."""
        for name, value in zip(self._extras, exchange.headers, strict=False):
            if name == "trace_id" and exchange.trace is not None:  # it may begin here, and then has no parent
                line.trace_id = exchange.trace.trace_id
            elif not value:
                continue
            elif name == "trace_id":
                parent = trace_context.parent(value)
                line.trace_id = parent.trace_id if parent is not None else None
            else:
                setattr(line, name, header_text(value))

    def _note_slow(self, exchange: Record) -> None:
        """Tells the program's log of as many as somebody reads; a tunnel is none."""
        is_slow = exchange.finished - exchange.started > self._slow and exchange.status != 101
        if is_slow and self._slow_ration.admits(exchange.finished):
            fields = _slow_fields(exchange) | {"passed_over": self._slow_ration.take_passed_over()}
            _log.warning("slow_request", extra={"fields": fields})

    def _verdicts(self, exchange: Record) -> msgspec.Raw:
        """The limits' names by what they said, as JSON; the same few combinations come again and again."""
        key: tuple[str, ...] = ()
        decision = exchange.decision
        if decision is not None:
            for verdict in decision.verdicts if len(decision.verdicts) == 1 else decision.told:
                key += (ADMITTED if verdict.is_admitted else word_of(verdict), verdict.terms.name)
        for limit in exchange.exempt:
            key += (EXEMPT, limit.name)
        text = self._limits.get(key)
        return text if text is not None else self._remember(key)

    def _would_wait(self, waits: Sequence[tuple[str, float]]) -> msgspec.Raw:
        return msgspec.Raw(self._encoder.encode({name: int(span * 1e6) / 1e3 for name, span in waits}))

    def _remember(self, key: tuple[str, ...]) -> msgspec.Raw:
        if len(self._limits) >= VERDICTS_MAX:
            self._limits.clear()
        names: dict[str, list[str]] = {}
        for word, name in zip(key[::2], key[1::2], strict=True):
            names.setdefault(word, []).append(name)
        text = self._limits[key] = msgspec.Raw(self._encoder.encode(names))
        return text


def _payers(charges: Sequence[Charge]) -> tuple[msgspec.Raw, str | None]:
    """Keys by the limits' names, a list where a limit has several; and the first plan there is."""
    keys: dict[str, list[str]] = {}
    for charge in charges:
        if charge.terms.is_newcomer:  # beside the key that it is charged for
            continue
        keys.setdefault(charge.terms.name, []).append(charge.key[:KEY_BYTES].hex())
    told = {name: several if several[1:] else several[0] for name, several in keys.items()}
    plan = next((charge.terms.plan for charge in charges if charge.terms.plan), None)
    return msgspec.Raw(msgspec.json.encode(told)), plan


def _went_well(exchange: Record) -> bool:
    is_answered = exchange.outcome in (SERVED, TUNNELLED)
    return is_answered and exchange.status < 500 and not exchange.redacted_status and exchange.fault is None


def _is_kept(exchange: Record, share: float) -> bool:
    """The id decides, so that Weirs in a row keep the same ones."""
    return not _went_well(exchange) or crc32(exchange.request_id.encode()) < share * 2**32


def _slow_fields(exchange: Record) -> dict[str, object]:
    """Whose time it was."""
    started, sent = exchange.started, exchange.upstream_started or exchange.finished
    return {
        "request_id": exchange.request_id,
        "request": f"{method_text(exchange.method)} {target_text(exchange.target)}",
        "status": exchange.status,
        "outcome": exchange.outcome,
        "duration_ms": round((exchange.finished - started) * 1e3, 3),
        "own_ms": round((sent - started - exchange.waited) * 1e3, 3),
        "waited_ms": round(exchange.waited * 1e3, 3),
        "upstream_ms": round(exchange.upstream_seconds * 1e3, 3),
        "server": exchange.server,
    }


@lru_cache(2)
def _second_text(second: int) -> str:
    return strftime("%Y-%m-%dT%H:%M:%S", gmtime(second))


def _report(word: str, destination: str, cause: str, lines: int) -> None:
    level = logging.INFO if not cause else logging.ERROR
    event(_log, level, f"access_{word}", destination=destination, cause=cause, lines=lines)
