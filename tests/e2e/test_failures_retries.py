"""What a stale pooled connection costs: nothing if the request may be sent again, else an honest 502."""

from __future__ import annotations

import asyncio

import pytest

from tests.support.messages import answer, get, post
from tests.support.wire import CLEAN


def forgetful(*, first_answer: bytes = answer()):
    """An origin whose first connection dies at its second request, as if it had just closed it; the others work."""

    async def script(visit):
        if visit.number == 0:
            await visit.request()
            await visit.send(first_answer)
            await visit.request()
            return
        while await visit.request() is not None:
            await visit.send(answer(200, b"from a fresh connection"))

    return script


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"])
async def test_idempotent_request_on_a_stale_connection_is_sent_again(weir, origin, connect, method):
    """Once, on a fresh connection: nothing of it can have been processed."""
    origin.script = forgetful()
    wire = await connect(weir)
    await wire.send(get(target="/warm"))
    await wire.response()
    await wire.send(get(target="/again", method=method))
    response = await wire.response(method)

    assert response.status == 200
    assert [r.target for r in origin.requests] == [b"/warm", b"/again", b"/again"]
    assert [len(visit.received) > 0 for visit in origin.visits] == [True, True]


@pytest.mark.parametrize(
    "request_", [post(target="/again"), get(target="/again", method="PATCH")], ids=["POST", "PATCH"]
)
async def test_other_request_on_a_stale_connection_is_not_sent_again(weir, origin, connect, request_):
    """It may have been processed: the client decides."""
    origin.script = forgetful()
    wire = await connect(weir)
    await wire.send(get(target="/warm"))
    await wire.response()
    await wire.send(request_)
    response = await wire.response()

    assert (response.status, response.json()["status"]) == (502, 502)
    assert [r.target for r in origin.requests] == [b"/warm", b"/again"]


async def test_request_is_sent_again_once_only(weir, origin, connect):
    """If the fresh connection dies too, that is the answer."""

    async def script(visit):
        if await visit.request() and visit.number == 0:
            await visit.send(answer())
            await visit.request()

    origin.script = script
    wire = await connect(weir)
    await wire.send(get(target="/warm"))
    await wire.response()
    await wire.send(get(target="/again"))
    response = await wire.response()

    assert (response.status, response.json()["status"]) == (502, 502)
    assert [r.target for r in origin.requests] == [b"/warm", b"/again", b"/again"]


async def test_request_is_not_sent_again_once_an_answer_began(weir, origin, connect):
    """A byte of an answer says that the request was processed."""

    async def script(visit):
        await visit.request()
        await visit.send(answer())
        await visit.request()
        await visit.send(b"H")

    origin.script = script
    wire = await connect(weir)
    await wire.send(get(target="/warm"))
    await wire.response()
    await wire.send(get(target="/again"))
    response = await wire.response()

    assert (response.status, response.json()["status"]) == (502, 502)
    assert [r.target for r in origin.requests] == [b"/warm", b"/again"]


async def test_connection_that_the_origin_closed_at_rest_is_forgotten(weir, origin, connect):
    """Even a POST goes well: Weir saw the end before it needed the connection."""

    async def script(visit):
        await visit.request()
        await visit.send(answer())
        if visit.number == 0:
            visit.finish_sending()
            await visit.left()

    origin.script = script
    wire = await connect(weir)
    await wire.send(get())
    await wire.response()
    visit = await origin.visit(0)
    await asyncio.wait_for(visit.is_over.wait(), 5)
    await wire.send(post())

    assert (await wire.response()).status == 200
    assert visit.end == CLEAN
