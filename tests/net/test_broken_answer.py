"""Answers whose connection over TLS is no more: what can be read of them is read, and no descriptor stays open."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import threading

import pytest

from proxy.config.sections.upstream import UpstreamTls
from proxy.net.broken_answer import LastWords
from proxy.net.tls import ServerFront, ServersTls
from tests.net.test_servers import no_descriptors
from tests.support.messages import answer, get, post
from tests.support.origin import answering
from tests.support.papers import Papers

pytestmark = pytest.mark.real


@pytest.fixture
def serve(start_bench, start_origin, tmp_path):
    """A bench before a service with TLS."""

    async def start(script):
        papers = Papers(tmp_path)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*papers.issue("IP:127.0.0.1"))
        origin = await start_origin(script, context=context)
        return await start_bench(origin, upstream={"tls": {"ca": str(papers.ca)}})

    return start


def open_files():
    return len(os.listdir("/proc/self/fd"))


async def test_record_that_cannot_be_deciphered_is_a_502(serve, connect):
    """Under an upload, when what the server may have said is kept for later; nothing more lies in the socket."""

    async def script(visit):
        await visit.request_head()
        sock = visit._channel._writer.get_extra_info("socket")
        os.write(sock.fileno(), b"\x17\x03\x03\x00\x40" + bytes(64))
        await visit.left()

    bench = await serve(script)
    before = 0
    for number in range(4):
        wire = await connect(bench)
        await wire.send(get("Content-Length: 100", method="POST") + b"x" * 50)
        assert (await wire.response()).status == 502
        wire.close()
        await bench.recorded(number + 1)
        await bench.is_empty()
        before = before or open_files()

    assert bench.ledger.reasons == ["connection_lost"] * 4
    assert open_files() <= before


async def test_upload_needs_no_descriptor_more(serve, connect):
    """Where there is none, the last words of its server would be lost, and nothing else is."""
    bench = await serve(answering(lambda request: answer(200, request.body)))
    wire = await connect(bench)
    await wire.send(get())
    await wire.response()
    with no_descriptors():
        await wire.send(post(b"all of it"))
        response = await wire.response()
        await wire.send(post(b"and more"))
        last = await wire.response()

    assert (response.body, last.body) == (b"all of it", b"and more")
    assert bench.ledger.outcomes == ["served"] * 3


async def test_what_lies_unread_when_a_write_fails_is_deciphered(tmp_path):
    """It came in the turn in which the write failed: the loop has not read it, and will not."""
    papers = Papers(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*papers.issue("IP:127.0.0.1"))
    ready, asked, said = threading.Event(), threading.Event(), threading.Event()

    def serve():
        with context.wrap_socket(listener.accept()[0], server_side=True) as secured:
            ready.set()
            asked.wait(10)
            secured.sendall(b"farewell")
            said.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = asyncio.create_task(asyncio.to_thread(serve))
        transport, _ = await asyncio.get_running_loop().create_connection(
            asyncio.Protocol,
            *listener.getsockname(),
            ssl=ServerFront.of(ServersTls(UpstreamTls(ca=str(papers.ca)))),
            server_hostname="127.0.0.1",
        )
        assert await asyncio.to_thread(ready.wait, 10)
        words = LastWords(transport)
        asked.set()
        assert said.wait(10)  # no turn of the loop
        words.begin(BrokenPipeError())
        read = words.read()
        words.drop()
        transport.abort()
        await server

    assert read == b"farewell"
    assert not words.is_clean
