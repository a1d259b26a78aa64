"""How long an answer counts as under way, by servers that send it: until it is out, and no longer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import aiohttp
import pytest
import uvicorn
from aiohttp import web
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from proxy.middleware import Limiter, LimitMiddleware
from proxy.middleware.aiohttp_app import protect
from tests.support.messages import get
from tests.support.patience import until
from tests.support.ports import free_port

pytestmark = pytest.mark.real

AT_ONCE = {"name": "at-once", "key": ["client-ip"], "concurrency": 1}
SIZE = 32 << 20  # octets: more than the buffers of two sockets
SMALL_BUFFER = 4096  # octets


@asynccontextmanager
async def aiohttp_server(limiter, handler):
    """The port."""
    app = web.Application()
    app.router.add_get("/", handler)
    protect(app, limiter)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield port
    finally:
        await runner.cleanup()


@asynccontextmanager
async def uvicorn_server(app):
    """The port."""
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started or serving.done(), "uvicorn serves")
    try:
        yield port
    finally:
        server.should_exit = True
        await serving


def of_a_file(path):
    with path.open("wb") as file:
        file.truncate(SIZE)

    async def handler(_):
        return web.FileResponse(path)

    return handler


def in_pieces(_):
    async def pieces():
        for _ in range(SIZE >> 16):
            yield bytes(1 << 16)

    async def handler(_):
        return web.Response(body=pieces(), headers={"Content-Length": str(SIZE)})

    return handler


@pytest.mark.parametrize("made", [of_a_file, in_pieces])
@pytest.mark.parametrize("leaves", [False, True], ids=["reads all", "leaves"])
async def test_download_holds_its_slot_until_it_is_out(made, leaves, tmp_path, connect):
    """aiohttp sends these behind all middlewares. A client that leaves gives its slot back."""
    limiter = Limiter([AT_ONCE])
    async with aiohttp_server(limiter, made(tmp_path / "file")) as port:
        first = await connect(port, receive_bytes=SMALL_BUFFER)
        second = await connect(port)
        await first.send(get())
        await first.until(b"\r\n\r\n")
        await second.send(get())
        refused = await second.response()
        held = len(limiter.store.held.slots)
        if leaves:
            first.abort()
        else:
            await first.exactly(SIZE)
        await until(lambda: not len(limiter.store.held.slots), "the slot comes back")
        await second.send(get())
        served = await second.response()
        await until(lambda: limiter.metrics.outcomes.get("served") == 2, "both are counted")

    assert (refused.status, held) == (429, 1)
    assert (served.status, len(served.body)) == (200, SIZE)
    assert limiter.metrics.ended[b"GET", 200, "upstream", "served"] == 2


def returns(_):
    return web.Response(status=201)


def redirects(_):
    raise web.HTTPFound("/other")


def breaks(_):
    raise ZeroDivisionError


def finds_nothing(_):
    return web.FileResponse("/nowhere/to/be/found")


@pytest.mark.parametrize(
    ("answer", "status", "outcome"),
    [
        (returns, 201, "served"),
        (redirects, 302, "served"),
        (breaks, 500, "faulted"),
        (finds_nothing, 404, "served"),
    ],
)
async def test_answers_of_aiohttp_are_counted_by_their_status(answer, status, outcome, connect):
    limiter = Limiter([AT_ONCE])

    async def handler(request):
        return answer(request)

    async with aiohttp_server(limiter, handler) as port:
        wire = await connect(port)
        await wire.send(get())
        response = await wire.response()
        await until(lambda: limiter.metrics.outcomes, "it is counted")

        assert not limiter.store.held.slots
    assert response.status == status
    assert limiter.metrics.ended == {(b"GET", status, "upstream", outcome): 1}


async def test_requests_of_one_connection_that_come_at_once_are_served_one_by_one(connect):
    """The slot of one is back before the next asks for it."""
    limiter = Limiter([AT_ONCE])

    async def handler(_):
        return web.Response(text="served")

    async with aiohttp_server(limiter, handler) as port:
        wire = await connect(port)
        await wire.send(get() * 5)

        assert [(await wire.response()).status for _ in range(5)] == [200] * 5


async def test_work_behind_an_answer_holds_no_slot(connect):
    """Starlette and FastAPI do background tasks before they return."""
    limiter = Limiter([AT_ONCE])
    may_end, ended = asyncio.Event(), []

    async def work():
        await may_end.wait()
        ended.append(True)

    async def endpoint(_):
        return PlainTextResponse("served", background=BackgroundTask(work))

    app = LimitMiddleware(Starlette(routes=[Route("/", endpoint)]), limiter)
    async with uvicorn_server(app) as port:
        found = []
        for _ in range(3):
            wire = await connect(port)
            await wire.send(get())
            found.append((await wire.response()).status)
        held, done = len(limiter.store.held.slots), len(ended)
        may_end.set()
        await until(lambda: len(ended) == 3, "the work is done")

    assert found == [200] * 3
    assert (held, done) == (0, 0)


async def test_answer_with_a_header_that_is_no_text_goes_out(connect):
    """As without a limit: aiohttp decodes such bytes in its own way."""

    async def handler(request):
        return web.Response(headers={"X-Echo": request.headers["X-In"]})

    async with aiohttp_server(Limiter([AT_ONCE]), handler) as port:
        wire = await connect(port)
        await wire.send(get("X-In: caf\xe9"))
        response = await wire.response()

    assert (response.status, response.value("X-Echo")) == (200, b"caf")  # aiohttp drops the rest


async def test_view_has_a_limit_of_its_own(connect):
    """The limit stands at a method, which is given the view and not the request."""
    limiter = Limiter([AT_ONCE])
    exports = limiter.limit("exports", "1/h")

    class View(web.View):
        @exports
        async def get(self):
            return web.Response()

    async with aiohttp_server(limiter, View) as port:
        wire = await connect(port)
        statuses = []
        for _ in range(2):
            await wire.send(get())
            statuses.append((await wire.response()).status)

    assert statuses == [200, 429]


@pytest.mark.parametrize(("is_unix", "found"), [(True, [200, 200]), (False, [200, 429])])
async def test_client_of_aiohttp_without_an_address_is_trusted_on_a_unix_socket_alone(
    is_unix, found, tmp_path, monkeypatch
):
    """Of TCP, one that was reset before aiohttp asked has none either: what it says of clients counts for nothing."""

    async def handler(_):
        return web.Response()

    limit = {"name": "few", "key": ["client-ip"], "rate": "1/h"}
    app = web.Application()
    app.router.add_get("/", handler)
    protect(app, Limiter([limit], forwarded={"trust": ["unix:"]}))
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    path, port = str(tmp_path / "sock"), free_port()
    monkeypatch.setattr(web.BaseRequest, "remote", None)
    await (web.UnixSite(runner, path) if is_unix else web.TCPSite(runner, "127.0.0.1", port)).start()
    connector = aiohttp.UnixConnector(path) if is_unix else aiohttp.TCPConnector()
    statuses = []
    async with aiohttp.ClientSession(connector=connector) as session:
        for claim in ("192.0.2.1", "192.0.2.2"):
            async with session.get(f"http://127.0.0.1:{port}/", headers={"X-Forwarded-For": claim}) as answer:
                statuses.append(answer.status)
    await runner.cleanup()

    assert statuses == found
