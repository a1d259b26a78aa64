"""A listener with TLS and clients that mean no good, or cannot do better: nothing hangs, nothing is logged as a bug."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from tests.support.messages import get
from tests.support.patience import until
from tests.support.ports import free_port


@pytest.fixture
def serving(start_weir, start_origin, papers):
    async def start(**changes):
        cert, key = papers.issue("DNS:shop.example")
        port = free_port()
        listen = [{"address": f"127.0.0.1:{port}", "tls": {"cert": str(cert), "key": str(key)}}]
        weir = start_weir({"listen": listen, **changes}, upstream=await start_origin())
        weir.port = port
        return weir

    return start


def client(papers, **more):
    context = ssl.create_default_context(cafile=papers.ca)
    for name, value in more.items():
        setattr(context, name, value)
    return context


def hello(papers):
    """The first bytes of a client."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    with pytest.raises(ssl.SSLWantReadError):
        client(papers).wrap_bio(incoming, outgoing, server_hostname="shop.example").do_handshake()
    return outgoing.read()


async def opened(weir):
    return await asyncio.open_connection("127.0.0.1", weir.port)


async def ended(reader, within=10.0):
    """Until the other side has closed, however it did."""
    async with asyncio.timeout(within):
        try:
            return await reader.read()
        except ConnectionError:
            return b""


async def serves(weir, papers, context=None):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", weir.port, ssl=context or client(papers), server_hostname="shop.example"
    )
    writer.write(get("Connection: close"))
    said = await reader.read()
    writer.transport.abort()
    return said.startswith(b"HTTP/1.1 200 ")


def in_handshake(weir):
    return weir.metrics().total("weir_connections", side="downstream", state="handshake")


def silent(weir):
    """Nothing of the log is above INFO."""
    return [line for line in weir.log() if line.get("level") not in ("info", "debug")] == []


JUNK = {
    "plain request": get(),
    "bytes of no kind": bytes(range(256)) * 40,
    "ssh": b"SSH-2.0-OpenSSH_9.2\r\n",
    "record of a wrong type": b"\x17\x03\x03\x00\x05hello",
    "record that is too long": b"\x16\x03\x01\xff\xff" + b"a" * 65535,
    "hello of zeros": b"\x16\x03\x01\x00\x40\x01\x00\x00\x3c" + b"\x00" * 60,
    "alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "SSL 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\x00" * 37,
}


async def test_junk_ends_the_connection(serving, papers):
    """At once, without a word in the log; the next client is served."""
    weir = await serving()
    for name, data in JUNK.items():
        reader, writer = await opened(weir)
        writer.write(data)
        said = await ended(reader)
        writer.close()
        assert b"HTTP" not in said, name
    assert await serves(weir, papers)
    assert in_handshake(weir) == 0
    assert silent(weir)


async def test_client_that_leaves_in_the_handshake_is_forgotten(serving, papers):
    """Before its first byte, within its hello, behind it, or behind the server's."""
    weir = await serving()
    first = hello(papers)
    for data in (b"", first[:1], first[:100], first):
        for is_reset in (False, True):
            reader, writer = await opened(weir)
            writer.write(data)
            if data == first:
                await reader.read(1)
            if is_reset:
                writer.transport.abort()
            else:
                writer.close()
    await until(lambda: in_handshake(weir) == 0, "nothing is left of them")

    assert await serves(weir, papers)
    assert silent(weir)


async def test_handshake_must_end_in_time(serving, papers):
    """As a request's head must: downstream.timeouts.head. A byte now and then does not help."""
    weir = await serving(downstream={"timeouts": {"head": "1s"}})
    first = hello(papers)
    loop = asyncio.get_running_loop()
    began = loop.time()
    quiet, slow = await opened(weir), await opened(weir)

    async def drip():
        for byte in first:
            slow[1].write(bytes([byte]))
            await asyncio.sleep(0.05)

    dripping = asyncio.create_task(drip())
    await asyncio.gather(ended(quiet[0]), ended(slow[0]))
    took = loop.time() - began
    dripping.cancel()
    for _, writer in (quiet, slow):
        writer.transport.abort()

    assert 0.9 < took < 10
    assert in_handshake(weir) == 0
    assert silent(weir)


async def test_handshakes_are_bounded(serving, papers):
    """As many as connections may be; more are closed at once, and places are free again when some end."""
    weir = await serving(downstream={"limits": {"connections": 3}})
    waiting = [await opened(weir) for _ in range(3)]
    await until(lambda: in_handshake(weir) == 3, "they are known")
    reader, writer = await opened(weir)
    said = await ended(reader, within=5.0)
    writer.close()
    waiting[0][1].transport.abort()
    await until(lambda: in_handshake(weir) == 2, "one has left")
    is_served = await serves(weir, papers)
    for _, each in waiting:
        each.transport.abort()

    assert said == b""
    assert is_served
    assert silent(weir)


async def test_connections_are_refused_by_an_answer_once_secure(serving, papers):
    """What counts then is the number of connections, as without TLS."""
    weir = await serving(downstream={"limits": {"connections": 1}})
    context = client(papers)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", weir.port, ssl=context, server_hostname="shop.example"
    )
    second, other = await asyncio.open_connection(
        "127.0.0.1", weir.port, ssl=context, server_hostname="shop.example"
    )
    said = await ended(second)
    for each in (writer, other):
        each.transport.abort()

    assert said.startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(
    ("offered", "agreed"),
    [(["http/1.1"], "http/1.1"), (["h2", "http/1.1"], "http/1.1"), (["h2"], None), ([], None)],
)
async def test_protocol_is_http_1(serving, papers, offered, agreed):
    """Who offers HTTP/2 alone agrees on nothing, and is served if it speaks HTTP/1.1 all the same."""
    weir = await serving()
    context = client(papers)
    if offered:
        context.set_alpn_protocols(offered)
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", weir.port, ssl=context, server_hostname="shop.example"
    )
    found = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.write(get("Connection: close"))
    said = await reader.read()
    writer.transport.abort()

    assert found == agreed
    assert said.startswith(b"HTTP/1.1 200 ")


async def test_preface_of_http_2_is_refused(serving, papers):
    """By an answer of HTTP/1.1; nothing is forwarded."""
    weir = await serving()
    context = client(papers)
    context.set_alpn_protocols(["h2"])
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", weir.port, ssl=context, server_hostname="shop.example"
    )
    writer.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
    said = await ended(reader)
    writer.transport.abort()

    assert said.startswith(b"HTTP/1.1 ")
    assert said.split()[1] == b"400"


# --- sessions ---


def handshake(port, context, session=None):
    """Blocking, since asyncio takes no session: whether it was resumed, and the session for the next one."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as sock,
        context.wrap_socket(sock, server_hostname="shop.example", session=session) as secure,
    ):
        secure.sendall(get("Connection: close"))
        said = b""
        while data := secure.recv(65536):
            said += data
        assert said.startswith(b"HTTP/1.1 200 ")
        return secure.session_reused, secure.session


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_sessions_are_resumed(serving, papers, version):
    """By tickets."""
    weir = await serving()
    context = client(papers, minimum_version=version, maximum_version=version)
    first, session = await asyncio.to_thread(handshake, weir.port, context)
    second, session = await asyncio.to_thread(handshake, weir.port, context, session)
    third, _ = await asyncio.to_thread(handshake, weir.port, context, session)

    assert (first, second, third) == (False, True, True)
    assert session.has_ticket


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3], ids=["1.2", "1.3"])
async def test_session_of_a_worker_harms_none_of_the_others(start_weir, start_origin, papers, redis, version):
    """A ticket that another worker has written leads to a whole handshake, not to a failure."""
    cert, key = papers.issue("DNS:shop.example")
    port = free_port()
    listen = [{"address": f"127.0.0.1:{port}", "tls": {"cert": str(cert), "key": str(key)}}]
    start_weir({"listen": listen, "workers": 2, "store": {"url": redis.url}}, upstream=await start_origin())
    context = client(papers, minimum_version=version, maximum_version=version)
    reused, session = [], None
    for _ in range(16):
        was, session = await asyncio.to_thread(handshake, port, context, session)
        reused.append(was)

    assert any(reused)
