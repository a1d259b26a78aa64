"""What becomes of spans that are offered: sent in batches, or counted as lost, by a collector that is told how to answer."""

from __future__ import annotations

import logging
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.resources import Resource

from proxy.record import Trace
from proxy.telemetry.spans import BATCH, WAITING_MAX, SpanWriter, spans
from tests.support.patience import until_now
from tests.telemetry.exchanges import exchange

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"

pytestmark = pytest.mark.real


def traced(trace_id=TRACE_ID, *, decided=0.0):
    """Of two spans if its limits were asked, else of one."""
    trace = Trace(trace_id, "", {}, b"http")
    trace.decided = decided
    return exchange(trace=trace)


class Collector:
    def __init__(self):
        self.status = 200
        self.sizes = []  # of each batch that has come, in spans
        self.may_answer = threading.Event()
        self.may_answer.set()


@contextmanager
def running(collector):
    """Its URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            data = self.rfile.read(int(self.headers["Content-Length"]))
            told = ExportTraceServiceRequest.FromString(data)
            collector.sizes.append(len(told.resource_spans[0].scope_spans[0].spans))
            collector.may_answer.wait(10)
            self.send_response(collector.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    serving = threading.Thread(target=server.serve_forever, args=(0.01,))
    serving.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.fixture
def collector():
    return Collector()


@pytest.fixture
def writer(collector, monkeypatch):
    monkeypatch.setattr(logging.getLogger("opentelemetry"), "level", logging.NOTSET)  # put back at the end
    with running(collector) as url:
        made = SpanWriter(url, "shop", {})
        yield made
        collector.may_answer.set()
        made.close()
        made._session.close()


def test_what_finds_no_room_is_counted_by_spans(collector, writer):
    """The collector is slow: so many exchanges wait, and those beyond are lost with all their spans."""
    collector.may_answer.clear()
    for _ in range(BATCH):
        writer.offer(traced())
    until_now(lambda: collector.sizes, "the first batch has come")
    for _ in range(WAITING_MAX):
        writer.offer(traced())
    for _ in range(5):
        writer.offer(traced(decided=1000.1))

    assert writer.results() == {"exported": 0, "lost": 10}
    collector.may_answer.set()
    until_now(
        lambda: writer.results() == {"exported": BATCH + WAITING_MAX, "lost": 10}, "the others are sent"
    )


def test_full_batch_goes_at_once(collector, writer):
    """And what is no batch, within a second."""
    for _ in range(BATCH + 1):
        writer.offer(traced())
    until_now(lambda: len(collector.sizes) == 2, "both have come")

    assert collector.sizes == [BATCH, 1]


def test_what_is_offered_after_the_end_is_lost(collector, writer):
    writer.close()
    writer.offer(traced())

    assert writer.results() == {"exported": 0, "lost": 1}
    assert collector.sizes == []


def test_exchange_of_which_no_span_can_be_made_costs_its_own_alone(collector, writer, caplog):
    """It is a mistake of ours, and told as such."""
    writer.offer(traced("no trace id"))
    until_now(lambda: writer.results()["lost"], "it is lost")
    assert collector.sizes == []
    writer.offer(traced("no trace id"))
    writer.offer(traced())
    until_now(lambda: writer.results() == {"exported": 1, "lost": 2}, "the other is sent")

    assert collector.sizes == [1]
    assert [record.getMessage() for record in caplog.records] == ["span_failed"] * 2


def test_answer_that_is_no_plain_consent_loses_the_spans(collector, writer):
    """Only a 200 says that they were taken (OTLP, 1.0); 202 may come from anybody between."""
    collector.status = 202
    writer.offer(traced())
    until_now(lambda: writer.results()["lost"], "they are lost")

    assert writer.results() == {"exported": 0, "lost": 1}
    assert collector.sizes == [1]


def test_exporter_that_fails_loses_the_batch_alone(collector, writer, monkeypatch):
    """Some versions do so at an answer that they do not understand."""
    with monkeypatch.context() as broken:

        def failing(_):
            raise ZeroDivisionError

        broken.setattr(writer._exporter, "export", failing)
        writer.offer(traced())
        until_now(lambda: writer.results()["lost"] == 1, "it is lost")
    writer.offer(traced())
    until_now(lambda: writer.results() == {"exported": 1, "lost": 1}, "the next one is sent")


def test_decision_that_no_limit_was_asked_for_is_a_span_that_says_nothing():
    """Of a request that is exempt."""
    found = spans(traced(decided=1000.1), Resource({}), 0.0)

    assert [span.name for span in found] == ["GET", "weir.decision"]
    assert not found[1].attributes
