"""Spans of a running Weir, as a real OTLP receiver gets them."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import time

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.support.collector import Collector
from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.ports import free_port

PARENT = "4bf92f3577b34da6a3ce929d0e0e4736"
SAMPLED = f"traceparent: 00-{PARENT}-00f067aa0ba902b7-01"
LIMITS = [{"name": "few", "key": ["header:X-Auth-Token"], "rate": "2/h"}]


@pytest.fixture
async def collector(aiohttp_server):
    made = Collector()
    made.url = f"http://127.0.0.1:{(await aiohttp_server(made.app())).port}"
    return made


def traced(collector, **more):
    return {"traces": {"otlp": collector.url, "sample": "100%", "service": "shop"} | more, "limits": LIMITS}


async def test_exchange_is_four_spans_with_the_names_of_the_conventions(
    start_weir, start_origin, ask, collector
):
    """The server's, and below it the decision, the connection and the call; the service is a child of the call."""
    origin = await start_origin()
    weir = start_weir(traced(collector, headers={"X-Tenant": "blue"}), upstream=origin)
    response = await ask(
        weir,
        get(
            SAMPLED,
            "tracestate: a=1",
            "User-Agent: curl/8",
            "X-Auth-Token: s3cr3t",
            target="/api?token=x&b=2",
        ),
    )
    spans = await collector.trace(response.value("X-Request-Id").decode())
    server, client = spans["GET"], spans["client"]

    assert set(spans) == {"GET", "client", "weir.decision", "weir.connect"}
    assert (server.trace_id, server.parent_id, server.kind) == (PARENT, "00f067aa0ba902b7", 2)
    assert server.resource["service.name"] == "shop"
    assert (
        server.attributes.items()
        >= {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "url.path": "/api",
            "url.query": "token=***&b=2",
            "url.scheme": "http",
            "client.address": "127.0.0.1",
            "user_agent.original": "curl/8",
            "weir.outcome": "served",
        }.items()
    )
    assert (
        client.attributes.items()
        >= {
            "http.request.method": "GET",
            "http.response.status_code": 200,
            "server.address": "127.0.0.1",
            "server.port": origin.port,
        }.items()
    )
    assert spans["weir.decision"].attributes["weir.limits"] == ["few"]
    for span in spans.values():
        assert server.start <= span.start <= span.end <= server.end
        assert "s3cr3t" not in str(span.attributes)
    assert origin.requests[0].value("traceparent") == f"00-{PARENT}-{client.span_id}-01".encode()
    assert origin.requests[0].value("tracestate") == b"a=1"
    assert collector.headers[0]["X-Tenant"] == "blue"


@pytest.mark.measured
async def test_root_begins_here_where_no_trace_comes(start_weir, start_origin, ask, collector):
    origin = await start_origin()
    weir = start_weir(traced(collector) | {"log": {"fields": ["trace_id"]}}, upstream=origin)
    response = await ask(weir, get())
    spans = await collector.trace(response.value("X-Request-Id").decode())
    line = await weir.access_line(status=200)

    assert spans["GET"].parent_id == ""
    assert origin.requests[0].value("traceparent").split(b"-")[1].decode() == spans["GET"].trace_id
    assert line["trace_id"] == spans["GET"].trace_id


@pytest.mark.parametrize("share", ["0%", "100%"])
async def test_parent_decides_and_not_the_share(start_weir, start_origin, ask, collector, share):
    """What comes unsampled passes as it came; what comes sampled is recorded."""
    origin = await start_origin()
    weir = start_weir(traced(collector, sample=share), upstream=origin)
    unsampled = f"00-{PARENT}-00f067aa0ba902b7-00"
    await ask(weir, get(f"traceparent: {unsampled}"))
    response = await ask(weir, get(SAMPLED))
    await collector.trace(response.value("X-Request-Id").decode())

    assert origin.requests[0].value("traceparent") == unsampled.encode()
    assert {span.attributes.get("weir.request_id") for span in collector.spans if span.kind == 2} == {
        response.value("X-Request-Id").decode()
    }


async def test_without_a_share_nothing_is_made(start_weir, start_origin, ask, collector):
    origin = await start_origin()
    weir = start_weir(traced(collector, sample="0%"), upstream=origin)
    await ask(weir, get())

    assert origin.requests[0].value("traceparent") is None


@pytest.mark.measured
async def test_refusal_and_failure_show_in_their_spans(start_weir, start_origin, ask, collector):
    """Who refused, and what the service said before its answer was replaced."""
    origin = await start_origin(answering(answer(500, b"Traceback")))
    weir = start_weir(traced(collector), upstream=origin)
    failed = await ask(weir, get("X-Auth-Token: a"))
    await ask(weir, get("X-Auth-Token: a"))
    refused = await ask(weir, get("X-Auth-Token: a"))
    of_failed = await collector.trace(failed.value("X-Request-Id").decode())
    of_refused = await collector.trace(refused.value("X-Request-Id").decode())

    assert of_failed["client"].attributes["http.response.status_code"] == 500
    assert of_failed["client"].is_error
    assert of_failed["GET"].is_error
    assert set(of_refused) == {"GET", "weir.decision"}
    assert of_refused["weir.decision"].attributes["weir.refused_by"] == ["few"]
    assert of_refused["GET"].attributes["http.response.status_code"] == 429
    assert not of_refused["GET"].is_error


@pytest.mark.measured
async def test_exemplar_leads_from_a_bucket_to_a_trace(start_weir, start_origin, ask, collector):
    """In OpenMetrics; the text format has none."""
    weir = start_weir(traced(collector), upstream=await start_origin())
    await ask(weir, get(SAMPLED))
    await weir.access_line(status=200)
    text = weir.admin(
        "/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}
    ).body.decode()
    exemplars = [
        sample.exemplar
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar
    ]

    assert [exemplar.labels for exemplar in exemplars] == [{"trace_id": PARENT}]
    assert 0 < exemplars[0].value < 10
    assert " # {" not in weir.admin("/metrics").body.decode()


@pytest.mark.measured
@pytest.mark.parametrize("trouble", ["down", "refuses", "slow", "nonsense", "redirects"])
async def test_collector_in_trouble_costs_spans_and_nothing_else(
    start_weir, start_origin, ask, collector, trouble
):
    """They are counted; requests are served as fast as ever; the log says it once."""
    if trouble == "down":
        collector.url = f"http://127.0.0.1:{free_port()}"
    elif trouble == "refuses":
        collector.status = 400
    elif trouble == "slow":
        collector.delay = 30.0
    elif trouble == "redirects":
        collector.status = 302
    else:
        collector.body = b"\xff" * 100_000
    weir = start_weir(traced(collector), upstream=await start_origin())
    slowest = 0.0
    for number in range(30):
        begun = time.monotonic()
        response = await ask(weir, get(f"X-Auth-Token: {number}"))
        slowest = max(slowest, time.monotonic() - begun)
        assert response.status == 200
    await until(lambda: weir.metrics().total("weir_spans_total", result="lost") > 0, within=20)
    said = await until(lambda: [line for line in weir.log() if line["event"] == "spans_lost"], "it is told")

    assert slowest < 2
    assert len(said) == 1
    assert not [line for line in weir.log() if "opentelemetry" in line.get("logger", "")]


TRICKLES = {
    "head": b"HTTP/1.1 200 OK\r\nX-Long: ",
    "body": b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n",
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;",
    "body up to the end": b"HTTP/1.0 200 OK\r\nContent-Type: application/x-protobuf\r\n\r\n",
}


@contextlib.asynccontextmanager
async def trickling(part, tls):
    """A collector that answers each batch with a byte now and then: its URL, and the moments at which it took one."""
    taken, is_over = [], asyncio.Event()

    async def trickle(reader, writer):
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            taken.append(time.monotonic())
            writer.write(TRICKLES[part])
            while not is_over.is_set():
                writer.write(b"x")
                await writer.drain()
                await asyncio.sleep(0.1)
        writer.transport.abort()

    server = await asyncio.start_server(trickle, "127.0.0.1", 0, ssl=tls)
    scheme, port = "https" if tls else "http", server.sockets[0].getsockname()[1]
    try:
        yield f"{scheme}://localhost:{port}", taken
    finally:
        is_over.set()
        server.close()
        await asyncio.sleep(0.2)  # the last ones have seen it


@pytest.mark.measured
@pytest.mark.parametrize("is_secure", [False, True], ids=["plain", "tls"])
async def test_collector_that_trickles_holds_nobody(start_weir, start_origin, ask, papers, is_secure):
    """A byte now and then is no progress: a batch has its time in all, is counted, and the next one is sent."""
    tls = None
    if is_secure:
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(*map(str, papers.issue("DNS:localhost")))
    origin = await start_origin()

    async def hold_up(part):
        async with trickling(part, tls) as (url, taken):
            weir = start_weir(
                {"traces": {"otlp": url, "sample": "100%"}},
                upstream=origin,
                OTEL_EXPORTER_OTLP_CERTIFICATE=str(papers.ca),
                REQUESTS_CA_BUNDLE=str(papers.ca),  # which may be set here, and then counts for more
            )
            asked = 0
            given_up = time.monotonic() + 40
            while len(taken) < 3:  # the third is sent when two are given up
                assert time.monotonic() < given_up, (part, taken)
                assert (await ask(weir, get())).status == 200
                asked += 1
                await asyncio.sleep(0.1)
            lost = weir.metrics().total("weir_spans_total", result="lost")
            begun = time.monotonic()
            await asyncio.to_thread(weir.stop)
            took = time.monotonic() - begun

        assert taken[2] - taken[0] < 14, part  # twice five seconds, a pause, and a busy machine
        assert 3 <= lost <= 3 * asked, part
        assert took < 10, part
        assert weir.exit_code == 0, part

    await asyncio.gather(*map(hold_up, TRICKLES))


async def test_spans_come_again_when_the_collector_does(start_weir, start_origin, ask, collector):
    collector.status = 400
    weir = start_weir(traced(collector), upstream=await start_origin())
    await ask(weir, get("X-Auth-Token: a"))
    await weir.logged(lambda line: line["event"] == "spans_lost")
    collector.status = 200
    response = await ask(weir, get("X-Auth-Token: b"))
    await collector.trace(response.value("X-Request-Id").decode())
    await weir.logged(lambda line: line["event"] == "spans_taken_again")

    assert weir.metrics().total("weir_spans_total", result="exported") >= 4


async def test_what_waits_is_sent_at_the_end(start_weir, start_origin, ask, collector):
    weir = start_weir(traced(collector), upstream=await start_origin())
    response = await ask(weir, get())
    await asyncio.to_thread(weir.stop)

    assert await collector.trace(response.value("X-Request-Id").decode())


@pytest.mark.measured
async def test_extra_that_is_missing_is_named(new_weir, tmp_path):
    """One line, and no traceback."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").write_text("raise ImportError('not here')")
    weir = new_weir({"traces": {"otlp": "http://127.0.0.1:4318"}})
    weir.launch(PYTHONPATH=str(tmp_path))
    code = await asyncio.to_thread(weir.wait, within=20)
    (line,) = [line for line in weir.log() if line["event"] == "cannot_start"]

    assert code == 1
    assert re.match(r"traces\.otlp: needs the extra otel: pip install 'weir-proxy\[otel\]'", line["reason"])


async def test_spans_that_a_collector_refuses_are_not_counted_as_taken(
    start_weir, start_origin, ask, collector
):
    """It says so in an answer of 200 (partial success)."""
    told = ExportTraceServiceResponse()
    told.partial_success.rejected_spans = 3
    collector.body = told.SerializeToString()
    weir = start_weir(traced(collector), upstream=await start_origin())
    await ask(weir, get("X-Auth-Token: a"))
    await until(lambda: weir.metrics().total("weir_spans_total", result="lost") == 3)

    assert weir.metrics().total("weir_spans_total", result="exported") == 1
