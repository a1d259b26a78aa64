"""A listener with TLS: its connections end without loss, although TLS knows no half of an end."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest
from aiohttp import web

from tests.net.bench import settings
from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.papers import Papers
from tests.support.patience import until

pytestmark = pytest.mark.real
SHORT = {"downstream": {"timeouts": {"body": "300ms", "idle": "300ms"}}}


@pytest.fixture
def contexts(tmp_path):
    """The server's and the client's."""
    papers = Papers(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*papers.issue("IP:127.0.0.1"))
    return server, ssl.create_default_context(cafile=str(papers.ca))


@pytest.fixture
async def call(start_bench, start_origin, contexts):
    """A bench behind TLS, and a way to call it."""
    origin = await start_origin(
        answering(lambda request: answer(200, b"x" * int(request.target[1:] or b"2")))
    )
    bench = await start_bench(origin)
    sock = socket.create_server(("127.0.0.1", 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    await web.SockSite(bench.runner, sock, ssl_context=contexts[0]).start()
    writers = []

    async def open_stream():
        reader, writer = await asyncio.open_connection(*sock.getsockname(), ssl=contexts[1])
        writers.append(writer)
        return reader, writer

    yield bench, open_stream
    for writer in writers:
        writer.transport.abort()


@pytest.mark.parametrize("size", [2, 60_000, 2_000_000])
async def test_last_answer_is_whole(call, size):
    """Then comes the end, as TLS tells it."""
    _, open_stream = call
    reader, writer = await open_stream()
    writer.write(get("Connection: close", target=f"/{size}"))
    said = await reader.read()

    assert said.endswith(b"\r\n\r\n" + b"x" * size)


async def test_connection_at_rest_ends(call):
    """As without TLS."""
    bench, open_stream = call
    bench.reload(settings(SHORT, servers=[bench.address.name]))
    reader, writer = await open_stream()
    writer.write(get())
    said = await reader.read()

    assert said.endswith(b"\r\n\r\nxx")
    assert bench.ledger.outcomes == ["served"]


async def test_client_that_stops_reading_is_left(call):
    """As without TLS."""
    bench, open_stream = call
    bench.reload(settings(SHORT, servers=[bench.address.name]))
    _, writer = await open_stream()
    writer.transport.pause_reading()
    writer.write(get(target="/30000000"))
    exchange = await bench.recorded()
    await until(lambda: not bench.frontend.connections)

    assert exchange.fault.reason == "read_timeout"
