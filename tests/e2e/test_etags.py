"""Tags made at the edge (`contract.edge_etags`): made while the answer is held, answered by 304, and nothing lost."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib

import pytest

from tests.support.messages import answer, chunked, get, post
from tests.support.origin import answering
from tests.support.wire import Broken

pytestmark = pytest.mark.measured

SETTINGS = {
    "contract": {"edge_etags": True},
    "limits": [{"name": "all", "rate": "1000000/h", "key": "const"}],
}
MIB = 1024 * 1024
BODY = b'{"id": 17, "name": "poster"}'
JSON = "Content-Type: application/json"
CHUNKED = "Transfer-Encoding: chunked"


def tag_of(body: bytes) -> bytes:
    return b'"%b"' % base64.b64encode(hashlib.sha256(body).digest())


def asking(tag: bytes = tag_of(BODY), *headers: str, **more) -> bytes:
    return get(b"If-None-Match: " + tag, *headers, **more)


def framed(body: bytes) -> dict[str, bytes]:
    return {
        "length": answer(200, body, JSON),
        "chunked": answer(200, chunked(body[:5], body[5:]), JSON, CHUNKED, length=False),
        "trailers": answer(200, chunked(body, trailers=b"X-Sum: 1\r\n"), JSON, CHUNKED, length=False),
        "close": answer(200, body, JSON, "Connection: close", length=False),
    }


def service(origin, said: bytes):
    """Says it from now on, also on connections that are there."""

    async def script(visit):
        while await visit.request() is not None:
            await visit.send(origin.says)
            if b"Connection: close" in origin.says:
                return

    origin.says, origin.script = said, script


# --- made ---


@pytest.mark.parametrize("framing", framed(b""))
@pytest.mark.parametrize("body", [BODY, b"x" * 300_000, b"x" * MIB], ids=len)
async def test_answer_gets_the_tag_of_its_bytes(weir, origin, ask, framing, body):
    """Framed as it came, trailers too."""
    service(origin, framed(body)[framing])
    response = await ask(weir, get())

    assert (response.status, response.body) == (200, body)
    assert response.value("ETag") == tag_of(body)
    assert response.framing == {"length": "length", "close": "chunked"}.get(framing, "chunked")
    assert response.trailers == ([(b"X-Sum", b"1")] if framing == "trailers" else [])


async def test_empty_answer_gets_one_too(weir, origin, ask):
    service(origin, answer(200, b""))

    assert (await ask(weir, get())).value("ETag") == tag_of(b"")


async def test_coded_answer_is_tagged_as_it_is(weir, origin, ask):
    """The tag is of the representation with its coding: strong."""
    packed = gzip.compress(BODY, mtime=0)
    service(origin, answer(200, packed, "Content-Encoding: gzip", "Vary: Accept-Encoding"))
    response = await ask(weir, get())

    assert (response.body, response.value("ETag")) == (packed, tag_of(packed))
    assert (await ask(weir, asking(tag_of(BODY)))).status == 200
    assert (await ask(weir, asking(tag_of(packed)))).status == 304


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
async def test_http_1_0_client_gets_it_too(weir, origin, connect, framing):
    service(origin, framed(BODY)[framing])
    wire = await connect(weir)
    await wire.send(get(version="HTTP/1.0"))
    response = await wire.response()

    assert (response.body, response.value("ETag")) == (BODY, tag_of(BODY))
    assert response.framing == ("length" if framing == "length" else "until_close")


@pytest.mark.parametrize(
    "said",
    [
        answer(200, BODY, 'ETag: W/"7"'),
        answer(200, BODY, "Set-Cookie: a=b"),
        answer(200, BODY, "Cache-Control: private, no-store"),
        answer(404, BODY),
        answer(206, BODY, "Content-Range: bytes 0-27/28"),
        answer(200, b"x" * (MIB + 1)),
    ],
    ids=["has one", "cookie", "no-store", "404", "206", "large"],
)
async def test_other_answers_pass_as_they_are(weir, origin, ask, said):
    """Whatever the condition says."""
    service(origin, said)
    response = await ask(weir, asking())
    head, _, body = said.partition(b"\r\n\r\n")

    assert response.raw_head.startswith(head + b"\r\n")
    assert response.body == body
    assert response.values("ETag") == ([b'W/"7"'] if b"ETag" in said else [])


@pytest.mark.parametrize("sent", [post(), get(method="DELETE"), get("Range: bytes=0-3")])
async def test_other_requests_are_answered_as_they_are(weir, origin, ask, sent):
    service(origin, answer(200, BODY))
    response = await ask(weir, sent.replace(b"Host:", b"If-None-Match: *\r\nHost:"))

    assert (response.status, response.value("ETag")) == (200, None)


async def test_head_gets_no_tag(weir, origin, ask):
    """There is nothing to make it of (RFC 9110 section 9.3.2 lets it be left out)."""
    service(origin, answer(200, b"", f"Content-Length: {len(BODY)}", length=False))
    response = await ask(weir, asking(method="HEAD"))

    assert (response.status, response.value("ETag")) == (200, None)
    assert response.value("Content-Length") == b"%d" % len(BODY)


# --- answered by it ---


@pytest.mark.parametrize("framing", framed(b""))
async def test_client_that_has_the_answer_gets_304(weir, origin, connect, framing):
    """Without a body; what follows on the connection is the next answer."""
    service(origin, framed(BODY)[framing])
    wire = await connect(weir)
    await wire.send(asking() + get())
    first, second = await wire.response(), await wire.response()

    assert (first.status, first.value("ETag"), first.framing) == (304, tag_of(BODY), "none")
    assert (second.status, second.body) == (200, BODY)


async def test_304_has_the_fields_it_must_have_and_no_others(weir, origin, ask):
    """RFC 9110 section 15.4.5: what describes the copy stays out."""
    kept = ["Cache-Control: max-age=5", "Content-Location: /x", "Date: Mon, 23 Nov 2026 09:00:00 GMT"]
    kept += ["Expires: 0", "Vary: Accept", "vary: Authorization"]
    gone = [JSON, "Content-Language: en", "Last-Modified: Mon, 23 Nov 2026 08:00:00 GMT", "X-Own: 1"]
    service(origin, answer(200, BODY, *gone, *kept))
    response = await ask(weir, asking())

    assert response.start == b"HTTP/1.1 304 Not Modified"
    lines = response.raw_head.decode().split("\r\n")[1:-2]
    tag = f"ETag: {tag_of(BODY).decode()}"
    assert lines[:-3] == [*kept, tag]
    assert [line.split(":")[0] for line in lines[-3:]] == ["RateLimit-Policy", "RateLimit", "X-Request-Id"]


async def test_304_has_a_date_and_not_what_the_connection_names(weir, origin, ask):
    service(origin, answer(200, BODY, "Vary: Accept", "Connection: vary"))
    response = await ask(weir, asking(tag_of(BODY), "Connection: close"))

    assert response.value("Vary") is None
    assert response.value("Date").endswith(b" GMT")
    assert response.value("Connection") == b"close"


@pytest.mark.parametrize("condition", [b"*", b'"x", W/%b' % tag_of(BODY)])
async def test_condition_may_be_a_list_or_any(weir, origin, ask, condition):
    service(origin, answer(200, BODY))

    assert (await ask(weir, asking(condition))).status == 304


@pytest.mark.parametrize("condition", [b"", b'"x"', tag_of(BODY)[:-1], b"*, *", b"W/*"])
async def test_other_and_malformed_conditions_get_the_answer(weir, origin, ask, condition):
    service(origin, answer(200, BODY))
    response = await ask(weir, asking(condition))

    assert (response.status, response.body) == (200, BODY)


async def test_service_sees_the_conditions_as_they_came(weir, origin, ask):
    """And its own 304 passes as it is."""
    service(origin, answer(304, b"", 'ETag: W/"x"', length=False))
    response = await ask(weir, asking(b'W/"x" , "y"', 'If-Match: "z"', "If-Unmodified-Since: 0"))

    assert origin.requests[-1].value("If-None-Match") == b'W/"x" , "y"'
    assert origin.requests[-1].value("If-Match") == b'"z"'
    assert origin.requests[-1].value("If-Unmodified-Since") == b"0"
    assert (response.status, response.value("ETag")) == (304, b'W/"x"')


async def test_access_log_and_metrics_tell_who_made_the_304(weir, origin, ask):
    service(origin, answer(200, BODY))
    before = weir.metrics().total("weir_requests_total", status="304", source="weir")
    response = await ask(weir, asking(target="/who"))
    line = await weir.access_line(request_id=response.value("X-Request-Id").decode())

    assert (line["status"], line["outcome"], line["bytes_out"]) == (304, "served", 0)
    assert weir.metrics().total("weir_requests_total", status="304", source="weir") == before + 1


# --- held ---


async def test_answer_that_breaks_off_while_it_is_held_is_a_502(weir, origin, ask):
    """Nothing of it has left, so the client gets a whole error object."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, BODY)[:-5])

    origin.script = script
    response = await ask(weir, get())

    assert (response.status, response.json()["status"], response.value("ETag")) == (502, 502, None)


@pytest.mark.parametrize("framing", ["chunked", "close"])
async def test_answer_that_grows_too_large_passes_without_a_tag(weir, origin, ask, framing):
    """What was held first, then the rest as it comes: nothing is lost."""
    body = bytes(range(256)) * 4096 * 3
    service(origin, framed(body)[framing])
    response = await ask(weir, asking(b"*"))

    assert (response.status, response.value("ETag"), response.framing) == (200, None, "chunked")
    assert response.body == body


async def test_large_answer_that_breaks_off_has_no_clean_end(weir, origin, connect):
    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"%x\r\n" % (3 * MIB) + b"x" * (2 * MIB), CHUNKED, length=False))

    origin.script = script
    wire = await connect(weir)
    await wire.send(get())

    with pytest.raises(Broken):
        await wire.response()


async def test_stream_gets_no_tag(weir, origin, ask):
    """It is not held, so there is none when it has ended."""
    service(origin, answer(200, b"data: 1\n\n", "Content-Type: text/event-stream"))
    response = await ask(weir, asking(b"*"))

    assert (response.status, response.value("ETag")) == (200, None)


async def test_slow_answer_is_held_a_second_at_most(weir, origin, connect):
    """Then what is there goes on without a tag, and the rest when it comes."""
    go_on = asyncio.Event()

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, BODY, JSON)[:-5])
        await go_on.wait()
        await visit.send(BODY[-5:])
        await visit.left()

    origin.script = script
    wire = await connect(weir)
    await wire.send(asking(b"*"))
    response = await wire.response_head()
    await wire.exactly(len(BODY) - 5)
    go_on.set()

    assert (response.status, response.value("ETag")) == (200, None)
    assert await wire.exactly(5) == BODY[-5:]


async def test_client_that_leaves_while_its_answer_is_held_aborts_it(weir, origin, connect):
    async def script(visit):
        await visit.request()
        await visit.send(answer(200, BODY)[:-5])
        assert await visit.left() != ""

    origin.script = script
    wire = await connect(weir)
    await wire.send(get(target="/left"))
    visit = await origin.visit()
    while not visit.received:
        await asyncio.sleep(0.01)
    wire.abort()
    await asyncio.wait_for(visit.is_over.wait(), 5)

    assert (await weir.access_line(target="/left"))["outcome"] == "abandoned"


async def test_connections_stay_usable(weir, origin, connect):
    """Both of them, answer after answer, of every kind."""
    service(origin, b"")
    wire = await connect(weir)
    for body in (BODY, b"x" * MIB, b"", b"y" * (MIB + 1)):
        origin.says = answer(200, (chunked(body) if body else b"0\r\n\r\n"), CHUNKED, length=False)
        for sent, told in ((get(), 200), (asking(b"*"), 304 if len(body) <= MIB else 200)) * 2:
            await wire.send(sent)
            response = await wire.response()
            assert (response.status, response.body) == (told, body if told == 200 else b"")

    assert len(origin.visits) == 1


# --- together with redaction ---


LEAKING = {"contract": {"edge_etags": True}, "errors": {"leak_guard": "redact"}}


@pytest.mark.parametrize("size", [0, 20_000])
async def test_leak_is_replaced_and_what_is_harmless_gets_a_tag(start_weir, start_origin, ask, size):
    origin = await start_origin()
    weir = start_weir(LEAKING, upstream=origin)
    service(origin, answer(200, b"ORA-00942: no" + b"x" * size, "Content-Type: text/plain"))
    leak = await ask(weir, asking(b"*"))
    fine = BODY + b"x" * size
    service(origin, answer(200, fine, JSON))
    tagged, unchanged = await ask(weir, get()), await ask(weir, asking(tag_of(fine)))

    assert (leak.status, leak.value("ETag")) == (500, None)
    assert b"ORA" not in leak.body
    assert (tagged.status, tagged.body, tagged.value("ETag")) == (200, fine, tag_of(fine))
    assert unchanged.status == 304


async def test_leak_that_is_reported_passes_without_a_tag(start_weir, start_origin, ask):
    origin = await start_origin()
    weir = start_weir({**LEAKING, "errors": {"leak_guard": "report"}}, upstream=origin)
    service(origin, answer(200, b"ORA-00942: no", "Content-Type: text/plain"))
    leak = await ask(weir, asking(b"*"))

    assert (leak.status, leak.value("ETag"), leak.body) == (200, None, b"ORA-00942: no")
    assert weir.metrics().total("weir_leaks_total", status="200") == 1


async def test_failure_is_redacted_as_ever(weir, origin, ask):
    origin.script = answering(answer(500, b"at db01"))
    response = await ask(weir, asking(b"*"))

    assert (response.status, b"db01" in response.body, response.value("ETag")) == (500, False, None)
