"""Clients that leave in the middle, and uploads that end before they were whole."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.messages import answer, get, post
from tests.support.patience import until
from tests.support.wire import Broken

ENDS = pytest.mark.parametrize("is_reset", [False, True], ids=["closes", "resets"])


@ENDS
async def test_client_that_leaves_aborts_its_request(weir, origin, connect, is_reset):
    """While the origin thinks: it sees its connection end, so that it need not work for nobody."""

    async def script(visit):
        await visit.request()
        await visit.left()

    origin.script = script
    wire = await connect(weir)
    await wire.send(get(target=f"/leaves/{is_reset}"))
    visit = await origin.visit(0)
    await until(lambda: origin.requests, "the request is with the origin")
    wire.abort() if is_reset else wire.close()
    await asyncio.wait_for(visit.is_over.wait(), 5)
    line = await weir.access_line(target=f"/leaves/{is_reset}")

    assert (line["outcome"], line["status"]) == ("abandoned", 0)


@pytest.mark.parametrize(
    "half",
    [post(b"x" * 1000)[:-500], get("Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n"],
    ids=["length", "chunked"],
)
@ENDS
async def test_client_that_leaves_within_its_request_is_seen_by_the_origin(
    weir, origin, connect, half, is_reset
):
    """As a broken request, never as a whole one."""
    wire = await connect(weir)
    await wire.send(half)
    visit = await origin.visit(0)
    await until(
        lambda: b"x" * 500 in visit.received or b"hello" in visit.received, "the half is with the origin"
    )
    wire.abort() if is_reset else wire.close()
    await asyncio.wait_for(visit.is_over.wait(), 5)

    assert origin.requests == []
    assert isinstance(visit.broken, Broken | ConnectionError)


@ENDS
async def test_client_that_leaves_within_the_answer_is_seen_by_the_origin(weir, origin, connect, is_reset):
    """An endless answer ends when nobody reads it."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"", "Transfer-Encoding: chunked", length=False))
        while True:
            await visit.send(b"1000\r\n" + b"x" * 4096 + b"\r\n")

    origin.script = script
    wire = await connect(weir)
    await wire.send(get())
    await wire.until(b"x" * 4096)
    wire.abort() if is_reset else wire.close()
    visit = await origin.visit(0)
    await asyncio.wait_for(visit.is_over.wait(), 10)

    assert visit.broken is not None


async def test_gone_client_costs_no_connection_of_others(weir, origin, connect):
    """The aborted upstream connection is not used again with half a request on it."""
    wire = await connect(weir)
    await wire.send(post(b"x" * 1000)[:-500])
    await origin.visit(0)
    wire.close()
    other = await connect(weir)
    await other.send(get(target="/other"))

    assert (await other.response()).status == 200
    assert [r.target for r in origin.requests] == [b"/other"]


# --- uploads that are answered early ---


@pytest.mark.parametrize("status", [200, 401, 413])
@pytest.mark.parametrize("framing", ["length", "chunked"])
async def test_early_answer_to_a_large_upload_arrives(weir, origin, connect, status, framing):
    """The origin answers after the head, drains a little and closes: the client, still sending, reads the answer."""

    async def script(visit):
        await visit.request_head()
        await visit.send(answer(status, b"enough", "Connection: close"))
        visit.finish_sending()
        await visit.left()

    origin.script = script
    wire = await connect(weir)
    sending = asyncio.create_task(upload(wire, framing))
    response = await wire.response()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)

    assert (response.status, response.body) == (status, b"enough")


async def test_early_answer_does_not_let_the_body_become_a_request(weir, origin, connect):
    """What is left of a body is never read as the next request."""

    async def script(visit):
        if (await visit.request_head()) is not None:
            await visit.send(answer(403, b"no"))
            await visit.left()

    origin.script = script
    wire = await connect(weir)
    smuggled = get(target="/smuggled")
    await wire.send(get(f"Content-Length: {len(smuggled) + 10}", method="POST") + b"x" * 10)
    response = await wire.response()
    try:
        await wire.send(smuggled)
        await wire.send(get(target="/next", method="POST"))
    except ConnectionError:
        pass  # closed: fine too
    await asyncio.sleep(0.2)  # time to do it wrong

    assert response.status == 403
    assert b"/smuggled HTTP" not in origin.received.replace(b"x" * 10 + smuggled, b"")


async def test_origin_that_dies_within_an_upload_is_a_502(weir, origin, connect):
    """Without an answer there is ours."""

    async def script(visit):
        await visit.request_head()
        await visit.exactly(1000)
        visit.abort()

    origin.script = script
    wire = await connect(weir)
    sending = asyncio.create_task(upload(wire, "length"))
    response = await wire.response()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)

    assert (response.status, response.json()["status"]) == (502, 502)


async def upload(wire, framing):
    piece = b"x" * 65536
    length = "Transfer-Encoding: chunked" if framing == "chunked" else "Content-Length: 100000000"
    try:
        await wire.send(get(length, method="PUT"))
        for _ in range(100):
            await wire.send(b"10000\r\n" + piece + b"\r\n" if framing == "chunked" else piece)
    except ConnectionError:
        pass  # the answer has come and the connection is closed
