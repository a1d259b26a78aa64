"""No detail of a failure leaves: a 5xx body is replaced before any byte of it is sent, and kept in the log."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib

import brotli
import pytest

from tests.support.messages import answer, chunked, get
from tests.support.origin import answering
from tests.support.wire import CLEAN

SECRET = "Acme.Hub.Store.OpenConnection"
TRACE = (
    f"System.NullReferenceException: no session\n   at {SECRET}(String connection) in /srv/hub/Store.cs:line 42\n"
    "   connection: Server=db.internal;Password=hunter2\n" * 4
).encode()
PLAIN = "Content-Type: text/plain"
CHUNKED = "Transfer-Encoding: chunked"


def cut(data: bytes, size: int = 100) -> list[bytes]:
    return [data[i : i + size] for i in range(0, len(data), size)]


def deflated(data: bytes) -> bytes:
    return zlib.compress(data)


FRAMINGS = {
    "length": answer(500, TRACE, PLAIN),
    "chunked": answer(500, chunked(*cut(TRACE)), PLAIN, CHUNKED, length=False),
    "chunked with trailers": answer(
        500,
        chunked(TRACE, trailers=f"X-Error: {SECRET}\r\n".encode()),
        PLAIN,
        CHUNKED,
        "Trailer: X-Error",
        length=False,
    ),
    "close-delimited": answer(500, TRACE, PLAIN, length=False),
    "gzip": answer(500, gzip.compress(TRACE, mtime=0), PLAIN, "Content-Encoding: gzip"),
    "gzip and chunked": answer(
        500,
        chunked(*cut(gzip.compress(TRACE, mtime=0), 20)),
        PLAIN,
        "Content-Encoding: gzip",
        CHUNKED,
        length=False,
    ),
    "deflate": answer(500, deflated(TRACE), PLAIN, "Content-Encoding: deflate"),
    "one byte short": answer(500, TRACE, PLAIN)[:-1],
    "broken chunk": answer(500, b"%x\r\n%b\r\nzz\r\n" % (len(TRACE), TRACE), PLAIN, CHUNKED, length=False),
}


def assert_redacted(response, status=500):
    """The fixed error object and nothing of the original."""
    everything = response.raw_head + response.body + repr(response.trailers).encode()
    assert response.status == status
    for word in (SECRET, "System.", "hunter2", "Store.cs", "internal;", "X-Error"):
        assert word.encode() not in everything
    assert response.value("Content-Type") == b"application/problem+json"
    assert response.framing == "length"
    problem = response.json()
    assert problem["status"] == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    assert problem["requestId"].encode() == response.value("X-Request-Id")
    return problem["requestId"]


def closing(reply: bytes):
    """An origin that ends its connection after its answer."""

    async def script(visit):
        await visit.request()
        await visit.send(reply)

    return script


async def original(weir, request_id):
    """The line of the program's log that has it."""
    return await weir.logged(lambda line: line.get("request_id") == request_id)


@pytest.mark.parametrize("reply", FRAMINGS.values(), ids=FRAMINGS.keys())
async def test_stack_trace_stays_inside(weir, origin, connect, reply):
    """In every framing: the client gets the error object, the log gets the original, and the connection goes on."""
    before = weir.metrics().total("weir_redactions_total", status="500")
    origin.script = closing(reply)
    wire = await connect(weir)
    await wire.send(get())
    request_id = assert_redacted(await wire.response())
    line = json.dumps(await original(weir, request_id))

    assert SECRET in line
    assert "Store.cs:line 42" in line
    assert "hunter2" not in line  # no credential is ever logged
    assert weir.metrics().total("weir_redactions_total", status="500") == before + 1
    origin.script = answering(answer(200, b"fine"))
    await wire.send(get())
    assert (await wire.response()).body == b"fine"


async def test_brotli_body_is_not_shown(weir, origin, ask):
    """A coding that the log may not be able to undo is still kept from the client."""
    packed = brotli.compress(TRACE)
    origin.script = answering(answer(500, packed, PLAIN, "Content-Encoding: br"))
    response = await ask(weir, get())
    request_id = assert_redacted(response)

    assert packed[:20] not in response.body
    assert await original(weir, request_id)


@pytest.mark.parametrize("status", [500, 501, 502, 503, 504, 507, 511, 599])
async def test_every_5xx_is_redacted(weir, origin, ask, status):
    """With the status it had; a status without a name too."""
    origin.script = answering(answer(status, TRACE, PLAIN))

    assert_redacted(await ask(weir, get()), status)


@pytest.mark.parametrize("status", [200, 400, 404, 409, 499])
async def test_other_statuses_are_not(weir, origin, ask, status):
    """Their bodies are the service's own words, stack trace or not."""
    origin.script = answering(answer(status, TRACE, PLAIN, "Server: IIS", "X-Powered-By: x"))
    response = await ask(weir, get())

    assert (response.status, response.body) == (status, TRACE)
    assert response.value("Server") == b"IIS"


async def test_every_split_of_the_answer_is_redacted(weir, origin, connect):
    """However the origin's bytes are cut, none of them slips through before the status is judged."""
    reply = answer(500, TRACE[:120], PLAIN)

    async def script(visit):
        number = 0
        while await visit.request() is not None:
            number += 5
            await visit.send_pieces([reply[:number], reply[number:]], gap=0.0005)

    origin.script = script
    wire = await connect(weir)
    for _ in range(len(reply) // 5):
        await wire.send(get())
        assert_redacted(await wire.response())


LEAKING = [
    "Server: Microsoft-IIS/10.0",
    "X-Powered-By: ASP.NET",
    "X-AspNet-Version: 4.0.30319",
    "X-AspNetMvc-Version: 5.2",
    "X-Debug-Token: abc",
    "X-Debug-Token-Link: http://internal/debug",
    f"X-Exception: {SECRET}",
    f"X-Exception-Message: {SECRET}",
    "Server-Timing: db;dur=53",
    "Via: 1.1 inner-gateway.internal",
]
DESCRIBING = [
    "Content-Type: text/html; charset=utf-16",
    "Content-Language: de",
    "Content-Range: bytes 0-1/2",
    "Content-MD5: Q2hlY2sgSW50ZWdyaXR5IQ==",
    "Content-Disposition: attachment; filename=trace.txt",
    'ETag: "error"',
    "Last-Modified: Tue, 15 Nov 1994 12:45:26 GMT",
    "Accept-Ranges: bytes",
    "Digest: sha-256=abc",
    "Content-Digest: sha-256=:abc:",
    "Repr-Digest: sha-256=:abc:",
]


async def test_leaking_and_describing_fields_are_removed(weir, origin, ask):
    """What tells about the inside, or about a body that is not sent."""
    origin.script = answering(answer(500, TRACE, *LEAKING, *DESCRIBING))
    response = await ask(weir, get())
    values = {line.partition(": ")[2].encode() for line in LEAKING + DESCRIBING}

    assert_redacted(response)
    assert not values & {value for _, value in response.headers}
    for line in LEAKING + DESCRIBING[1:]:
        assert response.value(line.partition(":")[0]) is None


async def test_what_a_client_needs_is_kept(weir, origin, ask):
    """Retry-After and the service's own fields."""
    kept = [
        "Retry-After: 30",
        "X-Global-Identifier: 17",
        "Access-Control-Allow-Origin: *",
    ]
    origin.script = answering(answer(503, TRACE, *kept))
    response = await ask(weir, get())

    assert_redacted(response, 503)
    for line in kept:
        name, _, value = line.partition(": ")
        assert response.value(name) == value.encode()


async def test_reason_phrase_is_replaced(weir, origin, ask):
    """Frameworks put the exception there."""
    origin.script = answering(answer(500, b"", reason=f"{SECRET} failed"))
    response = await ask(weir, get())

    assert_redacted(response)
    assert response.reason == b"Internal Server Error"


async def test_answer_without_a_body_is_given_one(weir, origin, ask):
    """An empty 500 gets the error object too."""
    origin.script = answering(answer(500, b""))

    assert_redacted(await ask(weir, get()))


async def test_head_is_redacted_without_a_body(weir, origin, connect):
    """Its fields are cleaned, no body follows, the connection goes on."""
    origin.script = answering(
        answer(500, b"", *LEAKING, "Content-Type: text/html", "Content-Length: 5000", length=False)
    )
    wire = await connect(weir)
    for _ in range(3):
        await wire.send(get(method="HEAD"))
        response = await wire.response("HEAD")
        assert response.status == 500
        assert response.value("Server") is None
        assert response.value("Content-Type") == b"application/problem+json"
        assert response.value("Content-Length") != b"5000"
        assert SECRET.encode() not in response.raw_head
    assert not wire.unread


async def test_old_client_is_answered_too(weir, origin, connect):
    """HTTP/1.0."""
    origin.script = closing(FRAMINGS["close-delimited"])
    wire = await connect(weir)
    await wire.send(get(version="HTTP/1.0"))
    response = await wire.response()

    assert_redacted(response)
    assert (await wire.rest(), wire.end) == (b"", CLEAN)


async def endless(visit):
    """A body that never ends."""
    await visit.request()
    await visit.send(answer(500, b"", PLAIN, CHUNKED, length=False))
    while True:
        await visit.send(b"%x\r\n%b\r\n" % (len(TRACE), TRACE))


async def endless_without_chunks(visit):
    await visit.request()
    await visit.send(answer(500, b"", PLAIN, length=False))
    while True:
        await visit.send(TRACE)


async def stalling(visit):
    """A body that stops in its middle."""
    await visit.request()
    await visit.send(answer(500, TRACE, PLAIN)[:-10])
    await visit.left()


async def dripping(visit):
    """A body that comes byte by byte, for ever."""
    await visit.request()
    await visit.send(answer(500, TRACE[:-10], PLAIN, "Content-Length: 1000000", length=False))
    while True:
        await visit.send(b".")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("script", [endless, endless_without_chunks, stalling, dripping])
async def test_body_without_an_end_does_not_hold_up_the_answer(weir, origin, connect, script):
    """So much is read for the log, for so long; then the client gets its answer and the origin loses its connection."""
    origin.script = script
    wire = await connect(weir)
    begin = time.monotonic()
    await wire.send(get())
    request_id = assert_redacted(await wire.response())
    seconds = time.monotonic() - begin
    visit = await origin.visit(0)
    await asyncio.wait_for(visit.is_over.wait(), 5)

    assert seconds < 4
    assert SECRET in json.dumps(await original(weir, request_id))


async def test_log_keeps_the_beginning_only(weir, origin, ask):
    """16 KiB of it, decoded: a bomb does not fill the disk."""
    bomb = gzip.compress(TRACE + b"\0" * 50_000_000, mtime=0)
    origin.script = answering(answer(500, bomb, PLAIN, "Content-Encoding: gzip"))
    request_id = assert_redacted(await ask(weir, get()))
    line = await original(weir, request_id)
    kept = max((value for value in line.values() if isinstance(value, str)), key=len)

    assert SECRET in kept
    assert len(kept.encode()) <= 16 * 1024


async def test_bytes_that_are_no_text_are_logged(weir, origin, ask):
    """The log stays JSON lines, whatever the body was; and a body cannot forge a line."""
    forged = b'"}\n{"event": "forged"}\n\x00\xff\xfe\x1b[31m' + TRACE
    origin.script = answering(answer(500, forged, PLAIN))
    request_id = assert_redacted(await ask(weir, get()))

    assert SECRET in json.dumps(await original(weir, request_id))
    assert not [line for line in weir.log() if line["event"] == "forged"]


async def test_access_log_tells_of_it(weir, origin, ask):
    """The answer was the upstream's, its body ours."""
    origin.script = answering(answer(502, TRACE, PLAIN))
    response = await ask(weir, get(target="/told"))
    line = await weir.access_line(target="/told")

    assert (line["status"], line["source"], line["redacted_status"]) == (502, "upstream", 502)
    assert line["outcome"] == "served"
    assert line["request_id"].encode() == response.value("X-Request-Id")
    assert line["bytes_out"] == len(response.body)


async def test_upload_that_fails_is_redacted(weir, origin, connect):
    """A 500 in the middle of a large upload."""

    async def script(visit):
        await visit.request_head()
        await visit.exactly(1000)
        await visit.send(answer(500, TRACE, PLAIN, "Connection: close"))
        visit.finish_sending()
        await visit.left()

    origin.script = script
    wire = await connect(weir)
    await wire.send(get("Content-Length: 100000000", method="PUT") + b"x" * 100_000)

    assert_redacted(await wire.response())
