"""Every case of the corpus: refused with nothing forwarded, or exactly one request that all read alike."""

from __future__ import annotations

import re

import h11
import pytest

from tests.conformance.corpus import AFTER, BODY_LIMIT, cases
from tests.conformance.recorder import Recorder
from tests.support.patience import until
from tests.support.weir import ROOT

pytestmark = pytest.mark.unmeasured

CASES = cases()
HOP_BY_HOP = {b"connection", b"keep-alive", b"proxy-connection", b"te", b"upgrade", b"http2-settings"}
AT_MOST_ONCE = (b"host", b"content-length", b"transfer-encoding", b"x-forwarded-host")


@pytest.fixture
async def recorder():
    recorder = Recorder()
    await recorder.start()
    yield recorder
    await recorder.stop()


@pytest.fixture
async def bench(recorder, start_bench):
    return await start_bench(recorder.url, downstream={"limits": {"body": BODY_LIMIT}})


def test_corpus_is_whole():
    assert len(CASES) >= 300
    assert {case.verdict for case in CASES} == {"refused", "cut", "passes"}


@pytest.mark.parametrize("case", [case for case in CASES if case.status], ids=lambda case: case.name)
async def test_refused_case_leaves_no_request(bench, recorder, connect, case):
    """One answer, the connection ends, and no whole request reaches the origin: for `cut` its head may."""
    wire = await connect(bench)
    await send(wire, case.sent)
    head = await wire.response_head()
    rest = await wire.rest()
    wire.close()
    await bench.is_empty()

    assert head.status == case.status
    assert head.value("Connection") == b"close"
    assert statuses(rest) == [], "a second answer"
    assert recorder.requests == []
    assert recorder.refused == []
    assert [exchange.status for exchange in bench.exchanges] == [case.status]
    if case.verdict == "refused":
        assert recorder.received == b"", "something was forwarded"


@pytest.mark.parametrize("case", [case for case in CASES if not case.status], ids=lambda case: case.name)
async def test_passing_case_is_one_request(bench, recorder, connect, case):
    """The origin reads what Weir believes it sent; the request behind it is served as itself."""
    wire = await connect(bench)
    await send(wire, case.sent)
    answers = await wire.rest()
    wire.close()
    await until(lambda: len(bench.exchanges) >= len(recorder.requests), "all is recorded")
    requests = [request for request in recorder.requests if request.target != b"/after"]

    assert recorder.refused == []
    assert len(requests) == 1
    assert statuses(answers) == [200] * len(recorder.requests)
    believed = [(exchange.method, exchange.target, exchange.bytes_in) for exchange in bench.exchanges]
    assert [(r.method, r.target, len(r.body)) for r in recorder.requests] == believed
    (request,) = requests
    assert_unambiguous(request)
    assert_as_sent(request, case.data)
    if not ends_connection(case.data):
        assert len(recorder.requests) == 2, "the next request was swallowed"


async def send(wire, data):
    try:
        await wire.send(data)
    except ConnectionError:
        pass  # refused before the last byte


def statuses(answers):
    return [int(s) for s in re.findall(rb"HTTP/1\.1 ([2-9]\d\d) ", answers)]


def ends_connection(data):
    return b" HTTP/1.0\r\n" in data or b"Connection: close" in data


def assert_unambiguous(request):
    names = [name for name, _ in request.headers]
    for name in AT_MOST_ONCE:
        assert names.count(name) <= 1, name
    assert not {b"content-length", b"transfer-encoding"} <= set(names)
    assert names.count(b"host") == 1
    assert not any(b"_" in name for name in names)
    kept = {name for name in names if name in HOP_BY_HOP}
    assert kept <= {b"te", b"connection", b"upgrade"}
    assert not dict(request.headers).get(b"upgrade", b"").startswith(b"h2")
    assert dict(request.headers).get(b"te", b"trailers") == b"trailers"


def assert_as_sent(request, data):
    """Method and body as a second reader finds them in the case itself, where h11 takes it at all."""
    reader = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    reader.receive_data(data + AFTER)
    body, method = b"", b""
    try:
        while not isinstance(event := reader.next_event(), h11.EndOfMessage):
            if isinstance(event, h11.Request):
                method = event.method
            elif isinstance(event, h11.Data):
                body += event.data
            else:
                return
    except h11.RemoteProtocolError:
        return
    assert (request.method, request.body) == (method, body)


def test_docs_list_every_case():
    """The table was made from this corpus: `python -m tests.conformance docs/conformance.md`."""
    text = (ROOT / "docs/conformance.md").read_text()
    listed = re.findall(r"^\| ((?:refused|cut|passes)-[^ ]+) \| ([^|]+) \|", text, re.MULTILINE)

    assert [name for name, _ in listed] == [case.name for case in CASES]
    for case, (_, said) in zip(CASES, listed, strict=True):
        assert said.startswith(str(case.status or "passed"))
