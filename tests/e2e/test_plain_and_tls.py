"""What must hold on plain connections and over TLS alike: how connections begin to rest, break and end."""

from __future__ import annotations

import asyncio
import http.client
import signal
import socket
import ssl
import struct

import pytest

from tests.support.messages import answer, get, post
from tests.support.patience import until

UPGRADE = get("Connection: Upgrade", "Upgrade: chat")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
CLOSES = b"\r\nConnection: close\r\n"


@pytest.fixture(params=[False, True], ids=["plain", "tls"])
def is_secure(request):
    return request.param


@pytest.fixture
def front(is_secure, new_weir, papers):
    """Starts a Weir, and gives what opens a connection to it: a reader and a writer."""

    def start(origin, changes=None):
        weir = new_weir(changes, upstream=origin)
        address = f"127.0.0.1:{weir.port}"
        context = None
        if is_secure:
            cert, key = papers.issue("DNS:localhost")
            weir.write_config({"listen": [{"address": address, "tls": {"cert": str(cert), "key": str(key)}}]})
            context = ssl.create_default_context(cafile=str(papers.ca))
        weir.start()
        name = "localhost" if context else None

        async def open_connection():
            return await asyncio.open_connection("127.0.0.1", weir.port, ssl=context, server_hostname=name)

        return weir, open_connection

    return start


# --- a drain ---


async def post_until_told(connection):
    """POSTs with pauses, as a program whose pool does not look whether a connection is still open."""
    reader, writer = connection
    told = b""
    while CLOSES not in told:
        writer.write(post())
        told = await asyncio.wait_for(reader.readuntil(b"\r\n\r\nok"), 20)
        await asyncio.sleep(0.05)
    writer.close()


async def test_drain_loses_no_post_on_a_kept_connection(front, start_origin):
    """Each client is told by an answer; a POST that meets a closed connection could not be sent again."""
    weir, open_connection = front(await start_origin(), {"drain": {"delay": "300ms"}})
    clients = [asyncio.create_task(post_until_told(await open_connection())) for _ in range(10)]
    await asyncio.sleep(0.2)
    weir.signal(signal.SIGTERM)
    ends = await asyncio.gather(*clients, return_exceptions=True)

    assert ends == [None] * 10
    assert await asyncio.to_thread(weir.wait) == 0


# --- the end of a connection while the client still sends ---


def upload(weir, context, size):
    """As most programs do it: all is sent, then the answer is read."""
    connection = (
        http.client.HTTPSConnection("localhost", weir.port, timeout=20, context=context)
        if context
        else http.client.HTTPConnection("127.0.0.1", weir.port, timeout=20)
    )
    try:
        connection.request("POST", "/", b"x" * size)
        return connection.getresponse().status
    finally:
        connection.close()


async def test_refused_upload_shows_its_answer(front, is_secure, start_origin, papers):
    """However large it is: it is read on for as long as it comes, half a minute at most."""
    weir, open_connection = front(
        await start_origin(), {"limits": [{"name": "one", "rate": "1/h", "key": ["const"]}]}
    )
    reader, writer = await open_connection()
    writer.write(get())
    await reader.readuntil(b"\r\n\r\nok")
    context = ssl.create_default_context(cafile=str(papers.ca)) if is_secure else None

    assert await asyncio.to_thread(upload, weir, context, 40_000_000) == 429
    writer.close()


async def test_last_words_of_a_tunnel_arrive(front, start_origin):
    """The server says them and closes, with the client's bytes unread, while more of them come."""

    async def script(visit):
        await visit.request()
        await visit.send(SWITCH)
        await visit.exactly(1000)
        await visit.send(b"too much")

    _, open_connection = front(await start_origin(script))
    heard = []
    for _ in range(10):
        reader, writer = await open_connection()
        writer.write(UPGRADE)
        await reader.readuntil(b"\r\n\r\n")

        async def talk(writer=writer):
            while True:
                writer.write(b"x" * 16384)
                await writer.drain()
                await asyncio.sleep(0)

        talking = asyncio.create_task(talk())
        heard.append(await asyncio.wait_for(reader.read(), 20))
        talking.cancel()
        writer.close()

    assert heard == [b"too much"] * 10


# --- a client that leaves while nobody reads it ---

CUT = {
    "length": get("Content-Length: 90000000", method="POST"),
    "chunked": get("Transfer-Encoding: chunked", method="POST") + b"7fffffff\r\n",
    "small chunks": get("Transfer-Encoding: chunked", method="POST")
    + b"4;a\r\n0\r\n\r\r\n" * 20_000
    + b"7fffffff\r\n",
}


def leave(writer, way):
    """By an end of TCP or by a reset, as the kernel does it for a program that is no more."""
    if way == "resets":
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize("way", ["ends", "resets"])
@pytest.mark.parametrize("framing", CUT)
async def test_client_that_leaves_within_its_upload_frees_its_place(front, start_origin, framing, way):
    """One whose server does not read, and one that no server has room for."""
    is_over = asyncio.Event()

    async def script(visit):
        if visit.number:
            await visit.request()
            await visit.send(answer())
        else:
            await visit.request_head()
            await is_over.wait()

    weir, open_connection = front(
        await start_origin(script),
        {
            "downstream": {"half_close": "answer"},
            "upstream": {"limits": {"connections": 1, "wait": "30s"}},
            "limits": [{"name": "at-once", "key": ["const"], "concurrency": 2}],
        },
    )
    writers = []
    for _ in range(2):
        _, writer = await open_connection()
        writer.write(CUT[framing] + b"x" * 300_000)
        writers.append(writer)
        await until(lambda: weir.metrics().total("weir_limit_in_flight", limit="at-once") == len(writers))
    await asyncio.sleep(0.5)  # what can arrive has arrived
    for writer in reversed(writers):
        leave(writer, way)
    await until(lambda: len(weir.access_lines()) == 2, within=5)
    reader, writer = await open_connection()
    writer.write(get())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)

    assert {line["outcome"] for line in weir.access_lines()[:2]} == {"abandoned"}
    assert head.startswith(b"HTTP/1.1 200")
    assert weir.metrics().total("weir_limit_in_flight", limit="at-once") == 0
    writer.close()
    is_over.set()
