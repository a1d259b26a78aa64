"""Whatever loops over bytes of others takes turns: a client beside it is served within 20 ms."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import math
import socket
import ssl

import pytest

from proxy.config.sections.front import ListenTls
from proxy.net.announced import AnnouncedSite
from proxy.runtime.listener_tls import Handshakes, ListenerTls
from proxy.runtime.sites import ListenerSite
from tests.support.innocent import innocent
from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.papers import Papers
from tests.support.patience import until
from tests.support.records import Records

pytestmark = [pytest.mark.real, pytest.mark.unmeasured]
CHUNKED = "Transfer-Encoding: chunked"
END = b"0\r\n\r\n"
TINY = {
    "of one byte": b"1\r\nx\r\n" * 100_000 + END,
    "with extensions": b"1;a=b\r\nx\r\n" * 60_000 + END,
    "with zeros": b"000001\r\nx\r\n" * 60_000 + END,
}


@pytest.mark.parametrize("body", TINY)
async def test_answer_in_tiny_chunks(start_bench, start_origin, connect, body):
    bench = await start_bench(await start_origin(answering(answer(200, TINY[body], CHUNKED, length=False))))
    wire = await connect(bench)
    async with innocent():
        await wire.send(get())
        while not wire.unread.endswith(END):
            assert await wire.fill()


@pytest.mark.parametrize("body", TINY)
async def test_upload_in_tiny_chunks(start_bench, start_origin, connect, body):
    async def script(visit):
        await visit.request_head()
        while not visit.unread.endswith(END):
            assert await visit.fill()
        await visit.send(answer())

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench)
    async with innocent():
        await wire.send(get(CHUNKED, method="POST"))
        await wire.send(TINY[body])
        assert (await wire.response()).status == 200


HEADS = {
    "many fields": (b"".join(b"a%d:\r\n" % n for n in range(9000)), 502),
    "one field again and again": (b"a:\r\n" * 15_000, 502),
    "as many as there may be": (b"".join(b"a%d: b\r\n" % n for n in range(990)), 200),
    "one long field": (b"a: " + b"b" * 60_000 + b"\r\n", 200),
}


@pytest.mark.parametrize("fields", HEADS)
async def test_large_head_of_an_answer(start_bench, start_origin, connect, fields):
    lines, status = HEADS[fields]
    said = b"HTTP/1.1 200 X\r\nContent-Length: 0\r\n" + lines + b"\r\n"
    bench = await start_bench(await start_origin(answering(said)))
    wire = await connect(bench)
    async with innocent():
        for _ in range(3):
            await wire.send(get())
            assert (await wire.until(b"\r\n\r\n"))[9:12] == b"%d" % status
            if status == 502:
                await wire.until(b"}")


async def test_pipelined_requests(start_bench, connect):
    """Two thousand that are refused without asking anybody."""
    bench = await start_bench(contract={"allow_methods": ["POST"]})
    wire = await connect(bench)
    async with innocent():
        sending = asyncio.create_task(wire.send(get() * 2000))
        for _ in range(2000):
            assert (await wire.response()).status == 405
        await sending


@pytest.mark.parametrize("framing", ["Content-Length: 50000000", "Connection: close"])
async def test_large_answer(start_bench, start_origin, connect, framing):
    said = answer(200, b"x" * 50_000_000, framing, length=False)

    async def script(visit):
        await visit.request()
        await visit.send(said)

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench)
    await wire.send(get("Connection: close"))
    async with innocent():
        size = 0
        while await wire.fill():
            size += len(wire.unread)
            wire.unread.clear()
            wire.received.clear()

    assert size > len(said) - 200


# --- heads of requests ---

REQUEST_HEADS = {
    "many fields": b"".join(b"a%d: b\r\n" % n for n in range(95)),
    "one field again and again": b"a: b\r\n" * 95,
    "too many fields": b"a:\r\n" * 6000,
    "one long field": b"a: " + b"b" * 30_000 + b"\r\n",
    "one long cookie": b"Cookie: " + b"a=b; " * 6000 + b"\r\n",
    "a cookie again and again": b"Cookie: sid=%41\r\n" * 95,
    "a long list of addresses": b"X-Forwarded-For: " + b"1.1.1.1, " * 3000 + b"\r\n",
    "a long Forwarded": b"Forwarded: " + b'for="[::1]:1";by=_a, ' * 1400 + b"\r\n",
    "a long Connection": b"Connection: " + b"a, " * 9000 + b"\r\n",
    "a long If-None-Match": b"If-None-Match: " + b'"a", ' * 6000 + b"\r\n",
    "a long Accept": b"Accept: " + b"a/b;q=0.1, " * 2700 + b"\r\n",
    "a large token": b"Authorization: Bearer " + b"a." * 15_000 + b"\r\n",
}
READERS = {
    "limits": [
        {
            "name": "few",
            "key": ["cookie:sid", "jwt:sub", "header:X-Auth-Token", "query:key", "client-ip"],
            "rate": "1/h",
        },
        {"name": "path", "key": ["path:2+method+host"], "rate": "9/s", "match": {"paths": ["/**/a*b*c/**"]}},
    ],
    "forwarded": {"trust": ["127.0.0.1"]},
    "contract": {"edge_etags": True},
}


@pytest.mark.parametrize("front", ["forward", "decide"])
@pytest.mark.parametrize("fields", REQUEST_HEADS)
async def test_large_head_of_a_request(start_bench, start_origin, connect, fields, front):
    """Of those that ask for a decision too."""
    listen = [{"address": "127.0.0.1:0", "mode": front}]
    bench = await start_bench(await start_origin(), listen=listen, **READERS)
    head = b"GET /a HTTP/1.1\r\nHost: a\r\n" + REQUEST_HEADS[fields] + b"\r\n"
    async with innocent():
        for _ in range(6):
            wire = await connect(bench)
            await wire.send(head * 4)
            await wire.response()
            wire.close()


LONG = {
    "segments": b"/a" * 3900,
    "dots": b"/./a/.." * 1100,
    "escapes": b"/%2e%2E%2f" * 780,
    "parameters": b"/?" + b"key=%41&" * 950,
    "semicolons": b"/a;b" * 1900,
}


@pytest.mark.parametrize("target", LONG)
async def test_long_target(start_bench, start_origin, connect, target):
    bench = await start_bench(await start_origin(), **READERS)
    async with innocent():
        for number in range(30):
            wire = await connect(bench)
            await wire.send(get(target=(LONG[target] + b"%d" % number).decode()))
            await wire.response()
            wire.close()


async def test_head_byte_by_byte(start_bench, start_origin, connect):
    bench = await start_bench(await start_origin())
    wire = await connect(bench)
    head = get("X: " + "y" * 3000)
    async with innocent():
        for at in range(len(head)):
            await wire.send(head[at : at + 1])
            await asyncio.sleep(0)
        assert (await wire.response()).status == 200


# --- trailers ---

TRAILERS = {
    "many": b"".join(b"a%d: b\r\n" % n for n in range(3000)),
    "one again and again": b"a:b\r\n" * 6000,
    "one long one": b"a: " + b"b" * 100_000 + b"\r\n",
    "without an end": b"a: b\r\n" * 100_000,
}


@pytest.mark.parametrize("trailers", TRAILERS)
async def test_trailers_of_an_answer(start_bench, start_origin, connect, trailers):
    said = answer(200, b"1\r\nx\r\n0\r\n" + TRAILERS[trailers] + b"\r\n", CHUNKED, length=False)
    bench = await start_bench(await start_origin(answering(said)))
    wire = await connect(bench)
    async with innocent():
        await wire.send(get("TE: trailers", "Connection: TE"))
        with contextlib.suppress(ConnectionError):
            while await wire.fill() and not wire.unread.endswith(b"\r\n\r\n"):
                pass


@pytest.mark.measured
@pytest.mark.parametrize("trailers", TRAILERS)
async def test_trailers_of_an_upload(start_bench, start_origin, connect, trailers):
    bench = await start_bench(await start_origin())
    wire = await connect(bench)
    async with innocent():
        with contextlib.suppress(ConnectionError):
            await wire.send(get(CHUNKED, method="POST") + b"1\r\nx\r\n0\r\n" + TRAILERS[trailers] + b"\r\n")
        assert (await wire.response()).status in (200, 400, 431)


# --- tunnels ---

SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"
FRAMES = 20_000


def say(sock, data, times):
    """As so many segments, from a thread of its own: its time is not the innocent's."""
    for _ in range(times):
        sock.sendall(data)


async def test_tunnel_of_one_byte_frames(start_bench, start_origin):
    """To and fro."""

    async def echo(visit):
        await visit.request()
        await visit.send(SWITCH)
        while data := (bytes(visit.unread) or (await visit.fill() and bytes(visit.unread))):
            visit.unread.clear()
            visit.received.clear()
            for byte in data:
                await visit.send(bytes([byte]))
                await asyncio.sleep(0)

    bench = await start_bench(await start_origin(echo))
    with socket.create_connection(("127.0.0.1", bench.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.sendall(get("Connection: Upgrade", "Upgrade: chat"))
        await until(lambda: bench.frontend.connections, "it is there")
        async with innocent():
            sending = asyncio.to_thread(say, client, b"x", FRAMES)
            heard = asyncio.to_thread(hear, client, FRAMES)
            await asyncio.gather(sending, heard)


def hear(sock, count):
    """The bytes behind a head."""
    data = b""
    while len(data.partition(b"\r\n\r\n")[2]) < count:
        data += sock.recv(65536)


# --- filters of bodies ---

DEEP = b'{"detail": ' + b"[" * 7000 + b"]" * 7000 + b"}"
BODIES = {
    "words of failures": b"Traceback Exception at java.lang. in line  File SELECT ORA- " * 260,
    "nearly a stack": b'\n  File "a", line 1, in b\n' * 500,
    "secrets": b":&#x2f;&#x2f;key= pwd" * 780,
    "deep JSON": DEEP,
    "many members": b"{" + b",".join(b'"detail%d": "a"' % n for n in range(800)) + b"}",
    "one member again and again": b"{" + b",".join([b'"detail": "a"'] * 1000) + b"}",
    "a bomb": gzip.compress(b"a" * 1_000_000) * 50,
    "no text": bytes(range(256)) * 64,
}
FILTERS = {
    "leak guard": (200, {"errors": {"leak_guard": "report"}}),
    "replacing leak guard": (200, {"errors": {"leak_guard": "redact"}}),
    "redaction": (500, {"errors": {"keep_members": ["detail", "title"], "keep_headers": ["link"]}}),
    "edge etags": (200, {"contract": {"edge_etags": True}}),
}


@pytest.mark.measured
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("name", FILTERS)
async def test_bodies_that_are_looked_at(start_bench, start_origin, connect, name, body):
    status, changes = FILTERS[name]
    coding = ["Content-Encoding: gzip"] if body == "a bomb" else []
    kind = "text/html" if body == "secrets" else "application/json"
    said = answer(status, BODIES[body], f"Content-Type: {kind}", "Link: </a>; rel=b, " * 40, *coding)
    bench = await start_bench(await start_origin(answering(said)), **changes)
    wires = [await connect(bench) for _ in range(10)]
    async with innocent():
        for wire in wires:
            await wire.send(get())
        for wire in wires:
            assert (await wire.response()).status >= 200


@pytest.mark.measured
@pytest.mark.parametrize("name", FILTERS)
async def test_looked_at_in_tiny_chunks(start_bench, start_origin, connect, name):
    status, changes = FILTERS[name]
    fields = (CHUNKED, "Content-Type: application/json")
    said = answer(status, b"1\r\n[\r\n" * 100_000 + END, *fields, length=False)

    async def script(visit):
        await visit.request()
        with contextlib.suppress(ConnectionError):  # a redacted one is read so far only
            await visit.send(said)

    bench = await start_bench(await start_origin(script), **changes)
    wire = await connect(bench)
    async with innocent():
        await wire.send(get())
        if status == 500:
            await wire.response()
        else:
            while not wire.unread.endswith(END):
                assert await wire.fill()


# --- at the door: announced connections and TLS ---

ANNOUNCED = {
    "one after the other": b"PROXY TCP4 192.0.2.1 192.0.2.2 1000 80\r\n" + get(),
    "junk": b"PROXY " + b"x" * 200,
    "half of one": b"PROXY TCP4 192.0.2.1",
    "a long second version": b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x08\x00" + b"\x01" * 2048 + get(),
    "addresses that are none": b"PROXY TCP6 " + b"1:" * 40 + b" ::1 1 1\r\n",
}


def throng(port, data, count):
    """So many connections that each say it at once, from a thread."""
    socks = []
    for _ in range(count):
        sock = socket.create_connection(("127.0.0.1", port))
        socks.append(sock)
        with contextlib.suppress(OSError):
            sock.sendall(data)
    return socks


async def thronged(port, data, count, last=b""):
    """`last` comes all together, when they have waited for each other."""
    socks = []
    try:
        async with innocent():
            socks = await asyncio.to_thread(throng, port, data, count)
            await asyncio.sleep(1.5 if last else 0.3)
            for sock in socks if last else ():
                with contextlib.suppress(OSError):
                    sock.sendall(last)
            await asyncio.sleep(0.3)
    finally:
        for sock in socks:
            sock.close()


@pytest.mark.waits("all of a throng are heard")
@pytest.mark.parametrize("said", ANNOUNCED)
async def test_throng_that_is_announced(start_bench, start_origin, said):
    bench = await start_bench(await start_origin())
    sock = socket.create_server(("127.0.0.1", 0), backlog=256)
    site = AnnouncedSite(bench.runner, sock)
    await site.start()
    await thronged(sock.getsockname()[1], ANNOUNCED[said], 150)
    await bench.is_empty()
    await site.stop()


@pytest.mark.waits("all of a throng are heard")
@pytest.mark.parametrize("said", [b"", b"G", b"GET / HTTP/1.1\r\nHost: a\r\nX:", get(), b"\x16\x03\x01\x00"])
async def test_throng(start_bench, start_origin, said):
    bench = await start_bench(await start_origin())
    await thronged(bench.port, said, 150)
    await bench.is_empty()


def hello():
    """The first words of a client."""
    context = ssl.create_default_context()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


@pytest.fixture
def secure(tmp_path):
    """Opens a listener with TLS of a bench: its port, and what a client trusts."""
    papers = Papers(tmp_path)

    async def open_listener(bench):
        cert, key = papers.issue("DNS:localhost")
        tls = ListenerTls(ListenTls(cert=str(cert), key=str(key)), "listen.tls", Handshakes(lambda: math.inf))
        sock = socket.create_server(("127.0.0.1", 0), backlog=256)
        protocol = bench.parts.protocol(bench.parts.settings.listen[0])
        await ListenerSite(bench.runner, sock, protocol, tls, 10.0).start()
        context = ssl.create_default_context(cafile=str(papers.ca))
        return sock.getsockname()[1], context

    return open_listener


HELLO = hello()
HELLOS = {
    "whole": (HELLO, b""),
    "half": (HELLO[:100], b""),
    "together": (HELLO[:-1], HELLO[-1:]),
    "junk": (b"\x16\x03\x01\x40\x00" + b"x" * 9000, b""),
}


@pytest.mark.measured
@pytest.mark.waits("all of a throng are heard")
@pytest.mark.parametrize("said", HELLOS)
async def test_throng_of_half_handshakes(start_bench, start_origin, secure, said):
    bench = await start_bench(await start_origin())
    port, _ = await secure(bench)
    await thronged(port, HELLOS[said][0], 200, HELLOS[said][1])
    await bench.is_empty()


@pytest.mark.parametrize("size", [1, 16_000])
async def test_pipelined_requests_over_tls(start_bench, secure, size):
    """In records of one byte too."""
    bench = await start_bench(contract={"allow_methods": ["POST"]})
    port, context = await secure(bench)
    client = await asyncio.to_thread(Records, port, context)
    said = client.records(get() * 1500, size)
    with client.sock:
        async with innocent():
            sending = asyncio.to_thread(client.sock.sendall, said)
            _, heard = await asyncio.gather(sending, asyncio.to_thread(client.until, 1500, b"HTTP/1.1 405"))
    assert heard.count(b"HTTP/1.1 405") == 1500


@pytest.mark.parametrize("size", [1, 16_000])
async def test_upload_in_tiny_chunks_over_tls(start_bench, start_origin, secure, size):
    async def script(visit):
        await visit.request_head()
        while not visit.unread.endswith(END):
            assert await visit.fill()
        await visit.send(answer())

    bench = await start_bench(await start_origin(script))
    port, context = await secure(bench)
    client = await asyncio.to_thread(Records, port, context)
    said = client.records(get(CHUNKED, method="POST") + b"1\r\nx\r\n" * 20_000 + END, size)
    with client.sock:
        async with innocent():
            sending = asyncio.to_thread(client.sock.sendall, said)
            _, heard = await asyncio.gather(sending, asyncio.to_thread(client.until, 1, b"\r\n\r\nok"))
    assert b"HTTP/1.1 200" in heard


async def test_tunnel_of_one_byte_records(start_bench, start_origin, secure):
    async def echo(visit):
        await visit.request()
        await visit.send(SWITCH)
        await visit.exactly(FRAMES)
        await visit.send(b"end")

    bench = await start_bench(await start_origin(echo))
    port, context = await secure(bench)
    client = await asyncio.to_thread(Records, port, context)
    client.sock.sendall(client.records(get("Connection: Upgrade", "Upgrade: chat"), 9000))
    said = client.records(b"x" * FRAMES, 1)
    with client.sock:
        async with innocent():
            sending = asyncio.to_thread(client.sock.sendall, said)
            await asyncio.gather(sending, asyncio.to_thread(client.until, 1, b"end"))


async def test_answer_in_tiny_chunks_over_tls(start_bench, start_origin, secure):
    said = answer(200, b"1\r\nx\r\n" * 100_000 + END, CHUNKED, length=False)
    bench = await start_bench(await start_origin(answering(said)))
    port, context = await secure(bench)
    client = await asyncio.to_thread(Records, port, context)
    client.sock.sendall(client.records(get(), 9000))
    with client.sock:
        async with innocent():
            heard = await asyncio.to_thread(client.until, 1, END)
    assert heard.count(b"x") >= 100_000
