"""The response's bytes are sacred too; and what has no body gets none."""

from __future__ import annotations

import asyncio
from email.utils import parsedate_to_datetime

import pytest

from tests.e2e.passage import answered
from tests.support.messages import answer, chunked, get
from tests.support.origin import answering


async def test_response_headers_keep_case_order_and_duplicates(weir, origin, ask):
    """ETag stays ETag, two Set-Cookie stay two, bytes beyond ASCII stay, a reason phrase of one's own too."""
    lines = [b"ETag: \"KEWz1VCr+/=\"", b"content-type: a/b; c=d", b"Set-Cookie: a=1, b", b"X-Empty:", b"Set-Cookie: b=2", b"x-name: caf\xe9", b"Date: Tue, 15 Nov 1994 08:12:31 GMT", b"Content-Encoding: gzip", b"Vary: *", b"Server: mine/1"]  # fmt: skip
    response = await answered(ask, weir, origin, answer(200, b"not gzip", *lines, reason="All \xe9 Right"))

    assert response.start == b"HTTP/1.1 200 All \xe9 Right"
    assert [h for h in response.headers if h[0] not in (b"X-Request-Id", b"Via")] == [
        *((name, value.strip()) for name, value in (line.split(b":", 1) for line in lines)),
        (b"Content-Length", b"8"),
    ]
    assert response.body == b"not gzip"


@pytest.mark.parametrize(
    "status",
    [200, 201, 202, 206, 299, 300, 301, 302, 307, 400, 401, 403, 404, 405, 409, 410, 418, 422, 429, 499],
)
async def test_status_and_body_pass(weir, origin, ask, status):
    """Everything below 500 is the service's own affair, redirects included."""
    lines = ["Location: http://127.0.0.1:1/elsewhere", "WWW-Authenticate: Basic realm=x", "Allow: GET", "X-Global-Identifier: i", "Retry-After: 7"]  # fmt: skip
    response = await answered(ask, weir, origin, answer(status, b'{"e": "\xff"}', *lines))

    assert (response.status, response.body) == (status, b'{"e": "\xff"}')
    for line in lines:
        name, _, value = line.partition(": ")
        assert response.value(name) == value.encode()
    assert len(origin.requests) == 1


@pytest.mark.parametrize("size", [0, 1, 65_536, 5_000_000])
@pytest.mark.parametrize("framing", ["length", "chunked", "until_close"])
async def test_response_body_passes(weir, origin, ask, size, framing):
    """In each of the three framings; a close-delimited body gets an end of its own."""
    body = bytes(range(256)) * (size // 256) if size >= 256 else b"x" * size
    if framing == "length":
        reply = answer(200, body)
    elif framing == "chunked":
        cut = [body[i : i + 40_000] for i in range(0, len(body), 40_000)]
        reply = answer(200, chunked(*cut), "Transfer-Encoding: chunked", length=False)
    else:
        reply = answer(200, body, length=False)

    async def script(visit):
        await visit.request()
        await visit.send(reply)
        if framing != "until_close":
            await visit.request()

    origin.script = script
    response = await ask(weir, get())

    assert response.body == body
    assert response.framing == ("length" if framing == "length" else "chunked")


async def test_response_trailers_pass(weir, origin, ask):
    """With their names' case."""
    body = chunked(b"abc", trailers=b"X-Sum: 1\r\nServer-TIMING: a\r\n")
    response = await answered(
        ask,
        weir,
        origin,
        answer(200, body, "Transfer-Encoding: chunked", "Trailer: X-Sum", length=False),
        get(b"TE: trailers"),
    )

    assert response.body == b"abc"
    assert response.trailers == [(b"X-Sum", b"1"), (b"Server-TIMING", b"a")]


CODED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
CARELESS = {
    "a size with spaces behind it": CODED + b"5  \r\nhello\r\n0\r\n\r\n",
    "an extension behind a space": CODED + b"5 ;a=b\r\nhello\r\n0\r\n\r\n",
    "a size of sixteen digits": CODED + b"0000000000000005\r\nhello\r\n0\r\n\r\n",
    "a length among the trailers": CODED + b"5\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n",
    "a coding among the trailers": CODED + b"5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "a list with an empty member": CODED.replace(b"chunked", b"chunked,") + b"5\r\nhello\r\n0\r\n\r\n",
    "a length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
    "a list of one length": b"HTTP/1.1 200 OK\r\nContent-Length: 5, 05\r\n\r\nhello",
    "lines that end with LF": b"HTTP/1.1 200 OK\nContent-Length: 5\n\nhello",
    "white space before a colon": b"HTTP/1.1 200 OK\r\nContent-Length : 5\r\n\r\nhello",
    "a folded line": b"HTTP/1.1 200 OK\r\nX-A: b\r\n c\r\nContent-Length: 5\r\n\r\nhello",
}


@pytest.mark.parametrize("said", CARELESS)
async def test_careless_answer_that_has_one_reading_passes_strictly_framed(weir, origin, connect, said):
    """The client's reader here takes no other form. The connection goes on, and so does the origin's."""
    origin.script = answering(CARELESS[said])
    wire = await connect(weir)
    for _ in range(2):
        await wire.send(get())
        response = await wire.response()
        assert (response.status, response.body, response.trailers) == (200, b"hello", [])

    assert len(origin.visits) == 1


@pytest.mark.parametrize("ends", [False, True], ids=["kept", "closed"])
async def test_answer_in_tiny_chunks_passes(weir, origin, ask, ends):
    """In turns, also when its connection ends with it; nothing of them is in the log."""
    fields = ("Transfer-Encoding: chunked", *(("Connection: close",) if ends else ()))
    said = answer(200, chunked(*[b"x"] * 20_000), *fields, length=False)

    async def script(visit):
        while await visit.request() is not None:
            await visit.send(said)
            if ends:
                return

    origin.script = script
    for _ in range(3):
        assert (await ask(weir, get())).body == b"x" * 20_000


async def test_response_is_the_same_however_it_is_cut(weir, origin, connect):
    """The origin's bytes one by one."""
    reply = answer(
        200,
        chunked(b"hel", b"lo", trailers=b"X-T: u\r\n"),
        "Transfer-Encoding: chunked",
        "X-A: b",
        length=False,
    )

    async def script(visit):
        while await visit.request() is not None:
            await visit.send_pieces([reply[i : i + 1] for i in range(len(reply))], gap=0.0005)

    origin.script = script
    wire = await connect(weir)
    for _ in range(3):
        await wire.send(get())
        response = await wire.response()
        assert (response.body, response.trailers, response.value("X-A")) == (b"hello", [(b"X-T", b"u")], b"b")


async def test_response_streams(weir, origin, connect):
    """A piece of the body is with the client before the next one is written."""
    steps = asyncio.Queue()

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"", "Transfer-Encoding: chunked", length=False))
        while (piece := await steps.get()) is not None:
            await visit.send(b"%x\r\n%b\r\n" % (len(piece), piece))
        await visit.send(b"0\r\n\r\n")

    origin.script = script
    wire = await connect(weir)
    await wire.send(get())
    head = await wire.response_head()
    assert head.status == 200
    for piece in (b"one\n", b"two\n", b"three\n"):
        steps.put_nowait(piece)
        assert await wire.until(piece + b"\r\n")
    steps.put_nowait(None)
    assert (await wire.until(b"0\r\n\r\n")).endswith(b"0\r\n\r\n")


# --- answers without a body ---


@pytest.mark.parametrize(
    "lines",
    [("Content-Length: 1234",), ("Transfer-Encoding: chunked",), ()],
    ids=["length", "chunked", "neither"],
)
async def test_head_has_the_head_alone(weir, origin, connect, lines):
    """The fields of the GET, no body, and the connection goes on."""
    origin.script = answering(answer(200, b"", *lines, 'ETag: "e"', length=False))
    wire = await connect(weir)
    for _ in range(3):
        await wire.send(get(method=b"HEAD"))
        response = await wire.response("HEAD")
        assert response.value("ETag") == b'"e"'
        if lines == ("Content-Length: 1234",):
            assert response.value("Content-Length") == b"1234"
    assert len(origin.requests) == 3
    assert not wire.unread


@pytest.mark.parametrize(
    "lines",
    [("Content-Length: 0",), ("Content-Length: 5",), ("Transfer-Encoding: chunked",), ()],
    ids=["0", "5", "chunked", "neither"],
)
async def test_no_content_has_no_body_and_no_length(weir, origin, connect, lines):
    """204: no Content-Length or Transfer-Encoding, whatever the upstream sent; the connection stays usable."""

    async def script(visit):
        while await visit.request() is not None:
            await visit.send(answer(204, b"", *lines, "X-A: b", length=False))

    origin.script = script
    wire = await connect(weir)
    for _ in range(3):
        await wire.send(get(method=b"DELETE"))
        response = await wire.response("DELETE")
        assert (response.status, response.value("X-A")) == (204, b"b")
        assert response.value("Content-Length") is None
        assert response.value("Transfer-Encoding") is None
    assert not wire.unread


@pytest.mark.parametrize("body", [b"0\r\n\r\n", b"hello"])
async def test_body_sent_with_no_content_never_reaches_the_client(weir, origin, connect, body):
    """An upstream that breaks 204 cannot put words into the next answer."""
    number = iter(range(10))

    async def script(visit):
        while await visit.request() is not None:
            length = "Transfer-Encoding: chunked" if body[:1] == b"0" else "Content-Length: 5"
            n = next(number)
            await visit.send(
                answer(204, body, length, length=False) if n == 0 else answer(200, b"fine %d" % n)
            )

    origin.script = script
    wire = await connect(weir)
    await wire.send(get(method=b"PUT"))
    first = await wire.response()
    await wire.send(get())
    second = await wire.response()

    assert first.status == 204
    assert (second.status, second.body[:4]) == (200, b"fine")


async def test_not_modified_keeps_its_fields(weir, origin, connect):
    """304: ETag exactly as written, even a Content-Length, no body, and the connection goes on."""
    lines = ['ETag: "KEWz1VCr+/="', "Cache-Control: max-age=5", "Vary: Accept", "Content-Length: 1234"]
    origin.script = answering(answer(304, b"", *lines, length=False))
    wire = await connect(weir)
    for _ in range(3):
        await wire.send(get(b'If-None-Match: "KEWz1VCr+/=", W/"x"'))
        response = await wire.response()
        assert response.status == 304
        for line in lines:
            name, _, value = line.partition(": ")
            assert response.value(name) == value.encode()
    assert origin.requests[0].value("If-None-Match") == b'"KEWz1VCr+/=", W/"x"'
    assert not wire.unread


async def test_answer_without_a_date_gets_one(weir, origin, ask):
    """RFC 9110 section 6.6.1; the service's own stays as it is."""
    origin.script = answering(lambda request: answer(200, b"ok", *DATES.get(request.target, [])))
    without, with_one = await ask(weir, get(target="/without")), await ask(weir, get(target="/with"))

    assert parsedate_to_datetime(without.value("Date").decode()).tzinfo is not None
    assert with_one.values("Date") == [b"Tue, 15 Nov 1994 08:12:31 GMT"]


DATES = {b"/with": [b"Date: Tue, 15 Nov 1994 08:12:31 GMT"]}


@pytest.mark.parametrize("upgrade", [b"TLS/1.2, HTTP/1.1", b"websocket"])
async def test_upgrade_required_names_the_protocol(weir, origin, ask, upgrade):
    """RFC 9110 section 15.5.22: the only final answer that must keep Upgrade, with the Connection it needs."""
    origin.script = answering(answer(426, b"no", b"Connection: Upgrade", b"Upgrade: " + upgrade))
    response = await ask(weir, get())

    assert response.status == 426
    assert response.value("Upgrade") == upgrade
    assert b"Upgrade" in b", ".join(response.values("Connection"))


async def test_upgrade_of_other_answers_is_for_one_hop(weir, origin, ask):
    origin.script = answering(answer(200, b"ok", b"Connection: Upgrade", b"Upgrade: h2c"))

    assert (await ask(weir, get())).value("Upgrade") is None
