"""A listener behind a balancer that says who the client is (PROXY protocol): whom Weir takes it for."""

from __future__ import annotations

import asyncio
import ssl
import subprocess

import pytest

from tests.clients.test_proxy_protocol import TCP4, TCP6, v2
from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.papers import Papers
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.programs import program
from tests.support.wire import CLEAN

pytestmark = pytest.mark.measured

ADA = b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 80\r\n"
BOB = b"PROXY TCP4 203.0.113.8 10.0.0.1 5000 80\r\n"


@pytest.fixture
def behind(start_weir):
    """Starts a Weir whose listener wants the header."""

    def start(origin, changes=None, **listen):
        port = free_port()
        entry = {"address": f"127.0.0.1:{port}", "proxy_protocol": True, **listen}
        weir = start_weir({"listen": [entry]} | (changes or {}), upstream=origin)
        weir.port = port
        return weir

    return start


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (ADA, b"203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 5000 80\r\n", b"2001:db8::7"),
        (b"PROXY UNKNOWN\r\n", b"127.0.0.1"),
        (v2(block=TCP4), b"203.0.113.7"),
        (v2(family=0x21, block=TCP6 + b"\x04\x00\x03abc"), b"2001:db8::7"),
        (v2(command=0x20, family=0), b"127.0.0.1"),
    ],
    ids=["v1 IPv4", "v1 IPv6", "v1 unknown", "v2 IPv4", "v2 IPv6 and a TLV", "v2 local"],
)
@pytest.mark.parametrize("pieces", [1, 1000], ids=["whole", "byte by byte"])
async def test_client_is_who_the_header_says(behind, start_origin, connect, header, client, pieces):
    """In what the service is told and in the access log; requests on the connection follow as usual."""
    origin = await start_origin()
    weir = behind(origin)
    wire = await connect(weir)
    if pieces == 1:
        await wire.send(header + get())
    else:
        for byte in header:
            await wire.send(bytes((byte,)))
        await wire.send(get())
    assert (await wire.response()).status == 200
    await wire.send(get(target="/second"))
    assert (await wire.response()).status == 200
    assert [request.value("X-Forwarded-For") for request in origin.requests] == [client, client]
    line = await weir.access_line(target="/second")
    assert line["peer"].encode() == client


@pytest.mark.parametrize("pieces", [1, 2], ids=["whole", "the end on its own"])
async def test_end_of_one_side_behind_a_header_and_requests_is_passed_on(
    behind, start_origin, connect, pieces
):
    """Whoever ends its side behind whole requests is answered."""
    weir = behind(await start_origin(), {"downstream": {"half_close": "answer"}})
    wire = await connect(weir)
    await wire.send(ADA + get() + get())
    if pieces == 2:
        assert (await wire.response()).status == 200
    wire.finish_sending()
    for _ in range(3 - pieces):
        assert (await wire.response()).status == 200

    assert (await wire.rest(), wire.end) == (b"", CLEAN)


@pytest.mark.parametrize(
    "sent",
    [
        get(),
        b"PROXY TCP9 a b 1 2\r\n" + get(),
        v2(block=b"", length=9999) + b"\0" * 9999,
        b"\x16\x03\x01\x02\x00" * 9,
    ],
    ids=["HTTP", "a family that is none", "too long", "TLS"],
)
async def test_what_is_not_announced_is_closed_without_an_answer(behind, start_origin, connect, sent):
    """Nothing is guessed, nothing forwarded; it is counted."""
    origin = await start_origin()
    weir = behind(origin)
    wire = await connect(weir)
    await wire.send(sent)
    assert await wire.rest() == b""
    assert origin.requests == []
    await until(lambda: weir.metrics().total("weir_refused_heads_total", reason="not_announced") == 1)
    assert (await weir.access_line(fault="not_announced"))["status"] == 0


async def test_not_announced_is_not_answered_when_all_places_are_taken(behind, start_origin, connect):
    """503 would be an answer; who has announced itself is told so."""
    weir = behind(await start_origin(), {"downstream": {"limits": {"connections": 1}}})
    first = await connect(weir)
    await first.send(ADA + get())
    await first.response()
    junk = await connect(weir)
    await junk.send(b"\x16\x03\x01")
    said = await junk.rest()
    second = await connect(weir)
    await second.send(BOB)

    assert said == b""
    assert (await second.response()).status == 503


async def test_header_that_does_not_come_in_time(behind, start_origin, connect):
    """`downstream.timeouts.head` bounds it; one that leaves before is nobody."""
    weir = behind(await start_origin(), {"downstream": {"timeouts": {"head": "300ms"}}})
    gone, slow = await connect(weir), await connect(weir)
    gone.close()
    await slow.send(ADA[:-1])
    assert await slow.rest() == b""
    await until(lambda: weir.metrics().total("weir_refused_heads_total", reason="not_announced") == 1)


async def test_those_that_have_not_announced_anybody_are_bounded_too(behind, start_origin, connect):
    """By the bound of all connections: one more is closed, the others are served once they speak."""
    weir = behind(await start_origin(), {"downstream": {"limits": {"connections": 2}}})
    silent = [await connect(weir) for _ in range(2)]
    for wire in silent:
        await wire.send(ADA[:10])
    one_more = await connect(weir)
    assert await one_more.rest() == b""
    for wire in silent:
        await wire.send(ADA[10:] + get())
        assert (await wire.response()).status == 200


async def test_limits_charge_the_announced_client(behind, start_origin, connect):
    """Each its own bucket, though all come from one balancer."""
    limits = {"limits": [{"name": "each", "key": ["client-ip"], "rate": "1/h"}]}
    weir = behind(await start_origin(), limits)

    async def statuses(header):
        wire = await connect(weir)
        await wire.send(header + get() + get())
        return [(await wire.response()).status for _ in range(2)]

    assert await statuses(ADA) == [200, 429]
    assert await statuses(BOB) == [200, 429]
    assert await statuses(ADA) == [429, 429]


async def test_connections_are_counted_by_the_announced_client(behind, start_origin, connect):
    changes = {"downstream": {"limits": {"connections_per_address": 1}}}
    weir = behind(await start_origin(), changes)
    first = await connect(weir)
    await first.send(ADA + get())
    assert (await first.response()).status == 200
    for header, status in ((ADA, 503), (BOB, 200)):
        wire = await connect(weir)
        await wire.send(header + (get() if status == 200 else b""))
        assert (await wire.response()).status == status


async def test_announced_proxy_is_asked_for_its_client(behind, start_origin, connect):
    """`forwarded.trust` is about whom the header names, not about the balancer."""
    limits = {"limits": [{"name": "each", "key": ["client-ip"], "rate": "1/h"}]}
    weir = behind(await start_origin(), limits | {"forwarded": {"trust": ["203.0.113.7/32"]}})
    for header, client, status in (
        (ADA, "1.1.1.1", 200),
        (ADA, "2.2.2.2", 200),
        (BOB, "3.3.3.3", 200),
        (BOB, "4.4.4.4", 429),
    ):
        wire = await connect(weir)
        await wire.send(header + get(f"X-Forwarded-For: {client}"))
        assert (await wire.response()).status == status


@pytest.mark.parametrize("send", ["send-proxy", "send-proxy-v2"])
async def test_haproxy_in_front(behind, start_origin, connect, tmp_path, send):
    """The program that the protocol comes from; its health checks too."""
    origin = await start_origin()
    weir = behind(origin)
    port = free_port()
    config = tmp_path / "haproxy.cfg"
    config.write_text(
        f"defaults\n  mode tcp\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n"
        f"listen front\n  bind 127.0.0.1:{port}\n  server weir 127.0.0.1:{weir.port} {send} check inter 100ms\n"
    )
    haproxy = subprocess.Popen([program("haproxy"), "-db", "-f", str(config)])
    try:

        async def served():
            try:
                wire = await connect(port)
                await wire.send(get())
                return (await wire.response()).status == 200
            except Exception:
                return False

        async with asyncio.timeout(10):
            while not await served():
                await asyncio.sleep(0.05)
        assert origin.requests[0].value("X-Forwarded-For") == b"127.0.0.1"
    finally:
        haproxy.terminate()
        haproxy.wait(10)
    assert weir.metrics().total("weir_refused_heads_total", reason="not_announced") == 0


async def test_tls_begins_after_the_header(behind, start_origin, tmp_path):
    """As balancers send it: whatever of TLS comes with the header is not lost."""
    origin = await start_origin(answering(answer(200, b"over TLS", "Connection: close")))
    papers = Papers(tmp_path)
    cert, key = papers.issue("DNS:localhost")
    weir = behind(origin, tls={"cert": str(cert), "key": str(key)})
    context = ssl.create_default_context(cafile=str(papers.ca))
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection("127.0.0.1", weir.port)
    header = ADA

    async def step(action):
        nonlocal header
        while True:
            try:
                return action()
            except ssl.SSLWantReadError:
                writer.write(header + outgoing.read())
                header = b""
                data = await reader.read(65536)
                assert data, "the connection ended"
                incoming.write(data)

    async with asyncio.timeout(10):
        await step(tls.do_handshake)
        tls.write(get())
        reply = await step(lambda: tls.read(65536))
        while b"over TLS" not in reply:
            reply += await step(lambda: tls.read(65536))
    assert reply.startswith(b"HTTP/1.1 200 ")
    (request,) = origin.requests
    assert request.value("X-Forwarded-For") == b"203.0.113.7"
    assert request.value("X-Forwarded-Proto") == b"https"
    writer.close()
