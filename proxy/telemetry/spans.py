"""Finished exchanges become spans and go to a collector by OTLP over HTTP, on a thread of their own.

Names and attributes are those of OpenTelemetry's semantic conventions for HTTP; ours begin with `weir.`. What
waits is bounded, and what finds no room or no willing collector is counted. Needs the extra `otel`.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from contextlib import suppress
from http import HTTPStatus
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, TraceFlags
from opentelemetry.trace.status import Status, StatusCode

from proxy import __version__
from proxy.faults import FAULTED
from proxy.record import UPSTREAM, new_span_id
from proxy.telemetry.collectors import CollectorSession
from proxy.telemetry.log import event
from proxy.telemetry.safe_text import METHODS, header_text, method_text, target_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.record import Record, Trace

WAITING_MAX: Final = 2048  # exchanges; four spans each
BATCH: Final = 256  # exchanges sent at once
PAUSE_SECONDS: Final = 1.0  # between two batches that are not full
EXPORT_SECONDS: Final = 5.0  # for a collector to take a batch, in all, tries included
CLOSE_SECONDS: Final = 2.0

_SCOPE = InstrumentationScope("weir", __version__)
_FLAGS = TraceFlags(TraceFlags.SAMPLED)
_log = logging.getLogger("weir.traces")


class SpanWriter:
    """A sink for traces: takes exchanges from the loop, gives spans to a collector."""

    def __init__(self, endpoint: str, service: str, headers: Mapping[str, str]) -> None:
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)  # it would repeat itself at each batch
        self.lost = 0  # spans
        self.exported = 0
        self._session = CollectorSession()
        self._exporter = OTLPSpanExporter(
            f"{endpoint}/v1/traces", headers=dict(headers), timeout=EXPORT_SECONDS, session=self._session
        )
        self._resource = Resource({"service.name": service, "service.version": __version__})
        self._waiting: deque[Record] = deque()
        self._wake = threading.Condition()
        self._is_closing = False
        self._is_failing = False
        self._thread: threading.Thread | None = None

    # --- called by the loop ---

    def offer(self, exchange: Record) -> None:
        with self._wake:
            if len(self._waiting) >= WAITING_MAX or self._is_closing:
                self.lost += _count(exchange)
                return
            self._waiting.append(exchange)
            if self._thread is None or not self._thread.is_alive():
                thread = threading.Thread(target=self._run, name="weir-spans", daemon=True)
                with suppress(RuntimeError):  # no more threads may be had: what waits is bounded
                    thread.start()
                    self._thread = thread
            if len(self._waiting) >= BATCH:
                self._wake.notify()

    def results(self) -> dict[str, int]:
        return {"exported": self.exported, "lost": self.lost}

    def close(self) -> None:
        """What waits is sent, for a short time."""
        with self._wake:
            self._is_closing = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join(CLOSE_SECONDS)

    # --- the thread ---

    def _run(self) -> None:
        while (batch := self._next()) is not None:
            spans = [span for exchange in batch for span in self._spans(exchange)]
            if spans:
                self._export(spans)

    def _next(self) -> list[Record] | None:
        with self._wake:
            if not self._is_closing and len(self._waiting) < BATCH:
                self._wake.wait(PAUSE_SECONDS)
            if self._is_closing and not self._waiting:
                return None
            return [self._waiting.popleft() for _ in range(min(len(self._waiting), BATCH))]

    def _spans(self, exchange: Record) -> Sequence[ReadableSpan]:
        try:
            return spans(exchange, self._resource, time() - monotonic())
        except Exception as error:  # noqa: BLE001 - a mistake of ours costs one exchange's spans
            event(_log, logging.ERROR, "span_failed", error=error)
            self.lost += _count(exchange)
            return ()

    def _export(self, batch: Sequence[ReadableSpan]) -> None:
        try:
            is_taken = self._exporter.export(batch) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - at some answers; newer exporters catch all
            is_taken = False
        refused = self._session.take_refused() if is_taken else len(batch)
        self.exported += len(batch) - refused
        self.lost += refused
        if is_taken is self._is_failing:
            self._is_failing = not is_taken
            if is_taken:
                event(_log, logging.INFO, "spans_taken_again")
            else:
                event(_log, logging.WARNING, "spans_lost", spans=len(batch))


# --- the spans of one exchange ---


def spans(exchange: Record, resource: Resource, epoch: float) -> list[ReadableSpan]:
    """Tells of the exchange, and below it of the decision, the connection and the call to the service."""
    trace = exchange.trace
    assert trace is not None
    make = _Maker(trace, resource, epoch)
    found = [make.exchange(exchange)]
    if trace.decided:
        found.append(make.decision(exchange))
    if exchange.upstream_started:
        found += [make.connect(exchange), make.upstream(exchange)]
    return found


def _count(exchange: Record) -> int:
    """How many those are."""
    is_decided = exchange.trace is not None and exchange.trace.decided > 0
    return 1 + is_decided + 2 * (exchange.upstream_started > 0)


class _Maker:
    def __init__(self, trace: Trace, resource: Resource, epoch: float) -> None:
        self._trace = trace
        self._resource = resource
        self._epoch = epoch
        self._parent = self._context(trace.parent_id) if trace.parent_id else None
        self._server = self._context(trace.server_id)

    def exchange(self, exchange: Record) -> ReadableSpan:
        trace, method = self._trace, method_text(exchange.method)
        is_known = exchange.method in METHODS
        path, _, query = target_text(exchange.target).partition("?")
        host, port = _host_port(header_text(trace.host), trace.scheme)
        attributes: dict[str, Any] = {
            "http.request.method": method if is_known else "_OTHER",
            "url.path": path,
            "url.scheme": trace.scheme.decode("ascii"),
            "client.address": exchange.client,
            "network.peer.address": exchange.peer,
            "network.protocol.name": "http",
            "weir.request_id": exchange.request_id,
            "weir.outcome": exchange.outcome,
        }
        given = {"url.query": query, "server.address": host, "user_agent.original": header_text(trace.agent)}
        given["http.request.method_original"] = "" if is_known else method
        attributes |= {name: value for name, value in given.items() if value}
        attributes |= {"server.port": port} if port else {}
        attributes |= _answer(exchange.status) | _error(exchange, exchange.status)
        is_bad = exchange.status >= HTTPStatus.INTERNAL_SERVER_ERROR or exchange.outcome == FAULTED
        return self._span(
            method if is_known else "HTTP",
            self._server,
            self._parent,
            (exchange.started, exchange.finished),
            attributes,
            SpanKind.SERVER,
            is_bad=is_bad,
        )

    def decision(self, exchange: Record) -> ReadableSpan:
        decision = exchange.decision
        attributes: dict[str, Any] = {}
        if decision is not None:
            refusals = [verdict.terms.name for verdict in decision.verdicts if not verdict.is_admitted]
            attributes = {"weir.via": decision.via, "weir.is_admitted": decision.is_admitted}
            attributes["weir.limits"] = list(dict.fromkeys(each.terms.name for each in decision.verdicts))
            attributes |= {"weir.refused_by": list(dict.fromkeys(refusals))} if refusals else {}
        return self._below("weir.decision", (exchange.started, self._trace.decided), attributes)

    def connect(self, exchange: Record) -> ReadableSpan:
        began = self._trace.decided or exchange.started
        return self._below(
            "weir.connect", (began, exchange.upstream_started), {"weir.server": exchange.server}
        )

    def upstream(self, exchange: Record) -> ReadableSpan:
        """Its status is the service's own, also where its answer was replaced."""
        status = exchange.redacted_status or (exchange.status if exchange.source == UPSTREAM else 0)
        method = method_text(exchange.method) if exchange.method in METHODS else "_OTHER"
        scheme, _, authority = exchange.server.partition("://")
        host, port = _host_port(authority, scheme.encode())
        attributes = {
            "http.request.method": method,
            "url.full": f"{exchange.server}{target_text(exchange.target)}",
            "server.address": host,
            **({"server.port": port} if port else {}),
            **_answer(status),
            **_error(exchange, status),
        }
        return self._span(
            method if method != "_OTHER" else "HTTP",
            self._context(self._trace.upstream_id),
            self._server,
            (exchange.upstream_started, exchange.finished),
            attributes,
            SpanKind.CLIENT,
            is_bad=status >= HTTPStatus.BAD_REQUEST or not status,
        )

    def _below(self, name: str, moments: tuple[float, float], attributes: Mapping[str, Any]) -> ReadableSpan:
        context = self._context(new_span_id())
        return self._span(name, context, self._server, moments, attributes, SpanKind.INTERNAL, is_bad=False)

    def _span(  # noqa: PLR0913, PLR0917 - what a span has
        self,
        name: str,
        context: SpanContext,
        parent: SpanContext | None,
        moments: tuple[float, float],
        attributes: Mapping[str, Any],
        kind: SpanKind,
        *,
        is_bad: bool,
    ) -> ReadableSpan:
        start, end = (int((moment + self._epoch) * 1e9) for moment in moments)
        return ReadableSpan(
            name,
            context,
            parent,
            self._resource,
            attributes,
            kind=kind,
            status=Status(StatusCode.ERROR if is_bad else StatusCode.UNSET),
            start_time=start,
            end_time=max(end, start),
            instrumentation_scope=_SCOPE,
        )

    def _context(self, span_id: str) -> SpanContext:
        return SpanContext(
            int(self._trace.trace_id, 16), int(span_id, 16), is_remote=False, trace_flags=_FLAGS
        )


def _answer(status: int) -> dict[str, Any]:
    return {"http.response.status_code": status} if status else {}


def _error(exchange: Record, status: int) -> dict[str, Any]:
    if exchange.fault is not None:
        return {"error.type": exchange.fault.reason}
    return {"error.type": str(status)} if status >= HTTPStatus.INTERNAL_SERVER_ERROR else {}


def _host_port(authority: str, scheme: bytes) -> tuple[str, int]:
    host, colon, port = authority.rpartition(":")
    if colon and port.isdigit():
        return host.strip("[]"), int(port)
    return authority.strip("[]"), {b"http": 80, b"https": 443}.get(scheme, 0)
