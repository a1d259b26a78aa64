"""Answers whose connection over TLS is no more: what can be read of them is read, and no descriptor stays open."""

from __future__ import annotations

import os
import ssl

import pytest

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
