"""The admin plane in front of strangers."""

from __future__ import annotations

import asyncio
import json
import socket
from dataclasses import replace

import pytest
from aiohttp import web

from proxy.admin import app as admin_app_module
from proxy.admin import bounds
from proxy.admin.app import admin_app
from proxy.admin.bounds import CONNECTIONS_MAX, HEADERS_MAX, AdminConnections
from tests.admin.test_app import TOKEN, Now
from tests.support.patience import until

ASK = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"


class Plane:
    """An admin plane on a port of its own."""

    def __init__(self, dial, app=None):
        self._dial = dial
        self.runner = web.AppRunner(app or admin_app(Now().sources(TOKEN)), shutdown_timeout=0.1)

    async def start(self):
        await self.runner.setup()
        factory = AdminConnections(self.runner.server)
        self.server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]

    async def stop(self):
        self.server.close()
        await self.runner.cleanup()

    async def connect(self, data=b""):
        reader, writer = await self._dial(self.port)
        writer.write(data)
        return reader, writer


@pytest.fixture
async def plane(dial):
    plane = Plane(dial)
    await plane.start()
    yield plane
    await plane.stop()


async def until_end(reader):
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize("sent", [b"", ASK[:-2], b"POST /limits/a/reset HTTP/1.1\r\nHost: a\r\nX: "])
async def test_head_has_a_time_to_arrive(plane, monkeypatch, sent):
    """Pieces that trickle in do not lengthen it."""
    monkeypatch.setattr(bounds, "IDLE_SECONDS", 0.3)
    reader, writer = await plane.connect(sent)
    ended = asyncio.ensure_future(until_end(reader))
    while not ended.done():
        writer.write(b"y" if sent else b"")
        await asyncio.sleep(0.02)

    assert await ended == b""


async def test_connection_at_rest_has_a_time(plane, monkeypatch):
    monkeypatch.setattr(bounds, "IDLE_SECONDS", 0.3)
    reader, writer = await plane.connect(ASK)

    assert (await until_end(reader)).startswith(b"HTTP/1.1 200 OK\r\n")


async def test_newest_are_served_and_the_oldest_give_way(plane, monkeypatch):
    """Long before their time is over."""
    monkeypatch.setattr(bounds, "IDLE_SECONDS", 60.0)
    there = [await plane.connect() for _ in range(CONNECTIONS_MAX + 5)]
    reader, writer = await plane.connect(ASK)
    line = await asyncio.wait_for(reader.readline(), 10)
    ended = [await until_end(reader) for reader, _ in there[:3]]

    assert line == b"HTTP/1.1 200 OK\r\n"
    assert ended == [b""] * 3
    assert not there[-1][0].at_eof()


async def test_one_that_is_gone_while_it_is_answered_is_in_nobodys_way(dial):
    """It stays among the oldest for as long as its answer takes, and has nothing left to abort."""
    asked, is_over = asyncio.Event(), asyncio.Event()

    async def answer(request):
        asked.set()
        await is_over.wait()
        return web.Response()

    app = web.Application()
    app.router.add_get("/healthz", answer)
    plane = Plane(dial, app)
    await plane.start()
    reader, writer = await plane.connect(ASK)
    await asyncio.wait_for(asked.wait(), 10)
    (gone,) = plane.runner.server.connections
    writer.close()
    await until(lambda: gone.transport is None, "it is gone")
    there = [await plane.connect() for _ in range(CONNECTIONS_MAX)]
    reader, writer = await plane.connect(ASK)
    is_over.set()
    line = await asyncio.wait_for(reader.readline(), 10)

    assert line == b"HTTP/1.1 200 OK\r\n"
    assert not there[0][0].at_eof()
    await plane.stop()


async def test_answer_that_is_not_taken_is_let_go(plane, monkeypatch):
    """By the kernel, which sees that nothing is acknowledged into an open window."""
    monkeypatch.setattr(bounds, "UNTAKEN_SECONDS", 7.0)
    _, writer = await plane.connect()
    (connection,) = plane.runner.server.connections
    sock = connection.transport.get_extra_info("socket")

    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) in (7000, 30000)


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 9000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: a\r\n" * (HEADERS_MAX + 1) + b"\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"hello\r\n\r\n",
    ],
)
async def test_what_is_no_http_gets_a_small_answer_and_no_line_in_the_log(plane, caplog, sent):
    """Else a stranger could fill the log. Nothing of the request is in the answer, and no version."""
    reader, writer = await plane.connect(sent)
    head, _, body = (await until_end(reader)).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.0 400 ")
    assert b"Cache-Control: no-store" in head
    assert json.loads(body) == {"status": 400, "title": "Bad Request"}
    assert b"aiohttp" not in head
    assert b"Python" not in head
    assert not caplog.records


async def failing(request):
    """Outside of what the plane looks after itself."""
    if request.path == "/late":
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"a beginning")
    raise RuntimeError("a secret")


@pytest.fixture
async def broken(dial):
    app = web.Application()
    app.add_routes([web.get("/{any:.*}", failing)])
    plane = Plane(dial, app)
    await plane.start()
    yield plane
    await plane.stop()


async def test_mistake_of_ours_gets_a_small_answer_and_a_line_in_the_log(broken, caplog):
    """Who asks learns nothing of what went wrong."""
    reader, _ = await broken.connect(ASK)
    head, _, body = (await until_end(reader)).partition(b"\r\n\r\n")
    (record,) = caplog.records

    assert head.startswith(b"HTTP/1.1 500 ")
    assert json.loads(body) == {"status": 500, "title": "Internal Server Error"}
    assert b"aiohttp" not in head
    assert record.getMessage() == "admin_failed"
    assert str(record.exc_info[1]) == "a secret"


async def test_mistake_within_an_answer_ends_its_connection(broken):
    """No second answer comes behind the beginning of the first."""
    reader, _ = await broken.connect(ASK.replace(b"/healthz", b"/late"))
    told = await until_end(reader)

    assert told.startswith(b"HTTP/1.1 200 ")
    assert b"a beginning" in told
    assert b"500" not in told


@pytest.mark.waits("a body that does not come is given up")
async def test_body_has_a_time_and_a_size(aiohttp_client, monkeypatch):
    class Never:
        verbs = ("reset",)

        async def apply(self, verb, limit, body):
            raise AssertionError(limit)

    monkeypatch.setattr(admin_app_module, "BODY_SECONDS", 0.2)
    sources = replace(Now().sources("token"), keys=Never())
    client = await aiohttp_client(admin_app(sources))
    headers = {"Authorization": "Bearer token"}

    async def slow():
        yield b"{"
        await asyncio.sleep(5)

    late = await client.post("/limits/a/reset", data=slow(), headers=headers)
    large = await client.post("/limits/a/reset", data=b"x" * 70_000, headers=headers)

    assert (late.status, large.status) == (408, 413)
    assert (await late.json())["title"] == "Request Timeout"
