"""Answers that are no failure by their status, and tell of one: reported, or replaced before a byte of it leaves."""

from __future__ import annotations

import gzip
import re

import pytest

from tests.support.messages import answer, chunked, get
from tests.support.wire import Broken

SETTINGS = {"errors": {"leak_guard": "redact"}}
TRACE = (
    b'{"error": "x", "trace": "Traceback (most recent call last):\\n  File \\"/srv/app/hub.py\\", line 3"}'
)
JSON = "Content-Type: application/json"
LARGE = b'{"items": [' + b'"a title", ' * 5000 + b'""]}'


def framed(body: bytes, status: int = 200) -> dict[str, bytes]:
    """The same answer in every framing."""
    packed = gzip.compress(body, mtime=0)
    return {
        "length": answer(status, body, JSON),
        "chunked": answer(
            status, chunked(body[:20], body[20:]), JSON, "Transfer-Encoding: chunked", length=False
        ),
        "close": answer(status, body, JSON, "Connection: close", length=False),
        "gzip": answer(status, packed, JSON, "Content-Encoding: gzip"),
    }


def service(origin, said: bytes):
    async def script(visit):
        if await visit.request() is not None:
            await visit.send(said)

    origin.script = script


async def said_to(connect, weir, *headers) -> bytes:
    wire = await connect(weir)
    await wire.send(get("Connection: close", *headers))
    return await wire.rest()


@pytest.mark.parametrize("framing", framed(b""))
@pytest.mark.parametrize(("status", "shown"), [(200, 500), (404, 404)])
async def test_leak_is_replaced(weir, origin, connect, framing, status, shown):
    """A 4xx keeps its status; a success that tells of a failure is one."""
    weir.tolerates_complaints = True  # the traceback in its log is the service's
    service(origin, framed(TRACE, status)[framing])
    raw = await said_to(connect, weir)
    request_id = re.search(rb"X-Request-Id: (\S+)", raw)[1].decode()
    line = await weir.logged(lambda line: line.get("request_id") == request_id)

    assert raw.startswith(b"HTTP/1.1 %d " % shown)
    assert b"application/problem+json" in raw
    assert b"hub.py" not in raw
    assert b"Traceback" not in raw
    assert (line["leak"], line["status"]) == ("python", status)
    assert "hub.py" in line["body"]
    assert line["event"] == "redacted"


async def test_leak_behind_a_large_answer_s_beginning_is_replaced_too(weir, origin, connect):
    """The first 16 KiB decide, however large the answer is; the rest of it is not waited for."""
    weir.tolerates_complaints = True
    service(origin, answer(200, TRACE + LARGE, JSON))

    assert b"hub.py" not in await said_to(connect, weir)


@pytest.mark.parametrize("body", [b"", b"{}", LARGE[:16383], LARGE[:16384], LARGE], ids=len)
@pytest.mark.parametrize("framing", framed(b""))
async def test_harmless_answer_passes_to_the_byte(weir, origin, ask, framing, body):
    """In every framing, smaller and larger than what is examined."""
    service(origin, framed(body)[framing])
    response = await ask(weir, get())

    assert response.status == 200
    assert response.body == (gzip.compress(body, mtime=0) if framing == "gzip" else body)


async def test_answer_that_breaks_off_while_it_is_held_is_a_502(weir, origin, ask):
    """Nothing of it has left, so the client gets a whole error object."""
    service(origin, answer(200, b"{" * 100, JSON)[:-50])
    response = await ask(weir, get())

    assert (response.status, response.json()["status"]) == (502, 502)


async def test_answer_that_breaks_off_behind_its_beginning_has_no_clean_end(weir, origin, connect):
    service(origin, answer(200, LARGE, JSON)[:-50])
    wire = await connect(weir)
    await wire.send(get())
    with pytest.raises(Broken):
        await wire.response()


async def test_event_stream_is_not_held(weir, origin, connect):
    """Each event arrives when it was written."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"data: 1\n\n", "Content-Type: text/event-stream", length=False))
        await visit.left()

    origin.script = script
    wire = await connect(weir)
    await wire.send(get())

    assert (await wire.response_head()).status == 200
    assert b"data: 1" in await wire.until(b"data: 1")
    wire.abort()


async def test_report_lets_the_answer_pass(start_weir, start_origin, connect):
    """As it came and when it came; the log and the metric have it."""
    origin = await start_origin()
    service(origin, answer(200, TRACE + LARGE, JSON))
    weir = start_weir({"errors": {"leak_guard": "report"}}, upstream=origin)
    weir.tolerates_complaints = True
    raw = await said_to(connect, weir)
    line = await weir.logged(lambda line: line["event"] == "leak")

    assert raw.endswith(TRACE + LARGE)
    assert (line["leak"], line["status"]) == ("python", 200)
    assert weir.metrics().total("weir_leaks_total", status="200", signature="python") == 1
    assert weir.metrics().total("weir_redactions_total") == 0
