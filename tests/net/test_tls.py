"""A listener with TLS: its connections end without loss, although TLS knows no half of an end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import threading

import pytest
from aiohttp import web

from proxy.net.credentials import TlsError
from proxy.net.tls import show
from tests.net.bench import limit, settings
from tests.support.messages import answer, get, post
from tests.support.origin import answering
from tests.support.papers import Papers
from tests.support.patience import until
from tests.support.records import Records

pytestmark = pytest.mark.real
SHORT = {"downstream": {"timeouts": {"body": "300ms", "idle": "300ms"}}}


@pytest.fixture
def contexts(tmp_path):
    """The server's and the client's."""
    papers = Papers(tmp_path)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(*papers.issue("IP:127.0.0.1", "DNS:localhost"))
    return server, ssl.create_default_context(cafile=str(papers.ca))


@pytest.fixture
async def call(start_bench, start_origin, contexts):
    """A bench behind TLS, a way to call it, and its port."""
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

    yield bench, open_stream, sock.getsockname()[1]
    for writer in writers:
        writer.transport.abort()


@pytest.mark.parametrize("size", [2, 60_000, 2_000_000])
async def test_last_answer_is_whole(call, size):
    """Then comes the end, as TLS tells it."""
    _, open_stream, _ = call
    reader, writer = await open_stream()
    writer.write(get("Connection: close", target=f"/{size}"))
    said = await reader.read()

    assert said.endswith(b"\r\n\r\n" + b"x" * size)


async def test_connection_at_rest_ends(call):
    """As without TLS."""
    bench, open_stream, _ = call
    bench.reload(settings(SHORT, servers=[bench.address.name]))
    reader, writer = await open_stream()
    writer.write(get())
    said = await reader.read()

    assert said.endswith(b"\r\n\r\nxx")
    assert bench.ledger.outcomes == ["served"]


async def test_client_that_stops_reading_is_left(call):
    """As without TLS."""
    bench, open_stream, _ = call
    bench.reload(settings(SHORT, servers=[bench.address.name]))
    _, writer = await open_stream()
    writer.transport.pause_reading()
    writer.write(get(target="/30000000"))
    exchange = await bench.recorded()
    await until(lambda: not bench.frontend.connections)

    assert exchange.fault.reason == "read_timeout"


@pytest.mark.parametrize("why", ["drain", "idle timeout"])
async def test_request_that_lies_in_the_kernel_is_served(call, contexts, why):
    """As without TLS."""
    bench, _, port = call
    client = await asyncio.to_thread(Records, port, contexts[1])
    await until(lambda: bench.frontend.connections)
    (connection,) = bench.frontend.connections
    client.sock.sendall(client.records(get(), 9000))  # the loop has no turn in between
    if why == "drain":
        connection.rest_no_more()
    else:
        bench.sweeper.sweep(connection.deadline)
    with client.sock:
        heard = await asyncio.to_thread(client.until, 1, b"\r\n\r\nxx")

    assert heard.startswith(b"HTTP/1.1 200 ")


async def test_server_that_vanished_is_found_dead(start_bench, start_origin, connect, tmp_path):
    """By the kernel, as without TLS."""
    papers = Papers(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*papers.issue("IP:127.0.0.1"))
    bench = await start_bench(await start_origin(context=context), upstream={"tls": {"ca": str(papers.ca)}})
    wire = await connect(bench)
    await wire.send(get())
    await wire.response()
    (upstream,) = bench.address.open
    sock = upstream.transport.get_extra_info("socket")

    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 140_000


# --- servers that are not there, behind a port that is ---


async def hangs_up(visit):
    """As a port forwarder does whose container is gone."""


async def hangs_up_on_hearing(visit):
    await visit.exactly(1)


async def resets(visit):
    await visit.exactly(1)
    visit.abort()


@pytest.mark.parametrize("script", [hangs_up, hangs_up_on_hearing, resets])
async def test_handshake_that_breaks_off_costs_no_request(
    start_bench, start_origin, connect, tmp_path, script
):
    """Nothing of the request has left: another server gets it, whatever it is, and no budget is spent."""
    papers = Papers(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*papers.issue("IP:127.0.0.1"))
    gone = (await start_origin(script)).url.replace("http:", "https:")
    alone = await start_bench(gone, **limit(burst=2))
    tls = {"tls": {"ca": str(papers.ca)}, "ejection": {"failures": None}}
    bench = await start_bench(gone, await start_origin(context=context), upstream=tls)
    bench.shared.retries._left = 0
    wire, other = await connect(bench), await connect(alone)
    statuses = []
    for _ in range(20):
        await wire.send(post(b"body"))
        statuses.append((await wire.response()).status)
    for _ in range(5):
        await other.send(get())
        response = await other.response()
        assert (response.status, response.value("Retry-After")) == (502, b"1")
        assert b"r=2" in response.value("RateLimit")

    assert statuses == [200] * 20


# --- last words ---


def hang_up_early(listener, context, said):
    """On each connection: reads a little, answers, and closes with the rest of the upload unread."""
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:  # the end of the test
            return
        plain.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_NODELAY, 1
        )  # or its own close loses what waits for an ACK
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as secured:
            secured.recv(1000)
            secured.sendall(said)


EARLY = {
    "with a length": answer(413, b"too large"),
    "chunked": answer(413, b"3\r\nbig\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=False),
}


@pytest.mark.parametrize("said", EARLY)
async def test_early_answer_over_tls_is_read(start_bench, connect, tmp_path, said):
    """After the write that failed, from the socket, through TLS."""
    papers = Papers(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*papers.issue("DNS:localhost"))
    statuses = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=hang_up_early, args=(listener, context, EARLY[said]))
        serving.start()
        tls = {"ca": str(papers.ca), "server_name": "localhost"}
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        bench = await start_bench(url, upstream={"tls": tls, "ejection": {"failures": 1}})
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(12):
            wire = await connect(bench)
            with contextlib.suppress(ConnectionError):
                await wire.send(get("Content-Length: 4000000", method="POST"))
                for _ in range(40):
                    await wire.send(b"x" * 32768)
            statuses.append((await wire.response()).status)
            wire.close()
        await bench.is_empty()
        listener.shutdown(socket.SHUT_RDWR)
        serving.join()

    assert statuses == [413] * 12
    assert len(os.listdir("/proc/self/fd")) <= before


# --- files ---


def shown(cert, key=None):
    return show(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), str(cert), key and str(key))


def test_certificate_and_key_may_be_one_file(tmp_path):
    cert, key = Papers(tmp_path).issue("DNS:shop.example")
    both = tmp_path / "both.pem"
    both.write_bytes(key.read_bytes() + cert.read_bytes())

    assert shown(both).names == shown(cert, key).names == ("shop.example",)


def test_certificate_whose_names_cannot_be_read_is_told(tmp_path):
    """OpenSSL takes it: a name of another alphabet, which must be written in ASCII (RFC 5280 section 4.2.1.6)."""
    with pytest.raises(TlsError, match="holds a certificate that cannot be read"):
        shown(*Papers(tmp_path).issue("DNS:b\u00fccher.example"))


def test_file_that_is_no_file_is_told(tmp_path):
    """Such as a folder, which a mount may have made of it."""
    with pytest.raises(TlsError, match="cannot read"):
        shown(tmp_path)
