"""Connections to servers: broken and hostile answers, deadlines, tunnels, and what goes back to the pool."""

from __future__ import annotations

import asyncio
import contextlib
import socket

import pytest

from tests.support.messages import answer, get, post
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.wire import CLEAN, RESET, Broken

CHUNKED_HEAD = answer(200, b"", "Transfer-Encoding: chunked", length=False)
UPGRADE = get("Connection: Upgrade", "Upgrade: chat")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"


def saying(sent, *, then="waits", after=0.0):
    """An origin that reads a request and says so much."""

    async def script(visit):
        await visit.request()
        await asyncio.sleep(after)
        await visit.send(sent)
        if then == "resets":
            await asyncio.sleep(0.05)
            visit.abort()
        elif then == "waits":
            await visit.left()

    return script


# --- what goes back to the pool ---


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("GET", answer(200, b"ok") + b"x"),
        ("GET", answer(200, b"ok") * 2),
        ("GET", answer(200, b"2\r\nok\r\n0\r\n\r\nHTTP/1.1", "Transfer-Encoding: chunked", length=False)),
        ("GET", answer(204, b"body", length=False)),
        ("GET", answer(304, b"body", "Content-Length: 4", length=False)),
        ("HEAD", answer(200, b"body")),
        ("HEAD", answer(200, b"0\r\n\r\n", "Transfer-Encoding: chunked", length=False)),
        ("GET", answer(200, b"ok", "Connection: close")),
        ("GET", answer(200, b"ok", "Connection: x, Close")),
        ("GET", answer(200, b"ok").replace(b"HTTP/1.1", b"HTTP/1.0")),
        ("GET", answer(204, b"", "Content-Length: 4", length=False)),
    ],
)
async def test_connection_that_cannot_be_trusted_is_used_once(
    start_bench, start_origin, connect, method, sent
):
    """Bytes after an answer, or its own word: the next request goes out on another one."""
    origin = await start_origin(saying(sent))
    bench = await start_bench(origin)
    wire = await connect(bench)
    for number in range(3):
        await wire.send(get(method=method))
        await wire.response(method)
        assert len(origin.visits) == number + 1
        assert bench.address.idle == {}
    assert bench.ledger.outcomes == ["served"] * 3


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("HEAD", answer(200, b"", "Content-Length: 9", length=False)),
        ("HEAD", answer(200, b"", "Transfer-Encoding: chunked", length=False)),
        ("GET", answer(304, b"", "Content-Length: 9", length=False)),
        ("GET", answer(204, b"", length=False)),
        ("GET", answer(200, b"0\r\nX: y\r\n\r\n", "Transfer-Encoding: chunked", length=False)),
        ("GET", answer(200, b"")),
    ],
)
async def test_connection_is_kept(start_bench, start_origin, connect, method, sent):
    """Pipelined requests use it one after the other."""
    origin = await start_origin(answering(sent))
    bench = await start_bench(origin)
    wire = await connect(bench)
    await wire.send(get(method=method) * 20)
    for _ in range(20):
        await wire.response(method)

    assert len(origin.visits) == 1
    assert bench.shared.pool.counts() == {"active": 0, "idle": 1}


async def test_word_of_a_server_at_rest_ends_its_connection(start_bench, start_origin, connect):
    """What nobody asked for cannot become somebody's answer."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"mine"))
        await asyncio.sleep(0.05)
        await visit.send(answer(200, b"nobody's"))
        await visit.left()

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench)
    for _ in range(2):
        await wire.send(get())
        assert (await wire.response()).body == b"mine"
        await until(lambda: not bench.address.open)


async def test_early_answer_to_an_upload_ends_its_connection(start_bench, start_origin, connect):
    """Half a request is on it. The client's connection lives on if the rest is small enough to be dropped."""

    async def script(visit):
        await visit.request_head()
        await visit.send(answer(200, b"early"))
        await visit.left()

    origin = await start_origin(script)
    bench = await start_bench(origin)
    wire = await connect(bench)
    for _ in range(2):
        await wire.send(get("Content-Length: 5", method="POST") + b"ab")
        assert (await wire.response()).body == b"early"
        await wire.send(b"cde")
    assert bench.address.idle == {}
    assert bench.ledger.outcomes == ["served"] * 2


# --- 1xx ---


async def test_flood_of_interim_answers_is_a_502(start_bench, start_origin, connect):
    """Some are passed on, no more."""
    bench = await start_bench(await start_origin(saying(b"HTTP/1.1 102 Processing\r\n\r\n" * 10_000)))
    wire = await connect(bench)
    await wire.send(get())
    response = await wire.response()

    assert response.status == 502
    assert len(response.interim) < 20


# --- deadlines ---

QUICK = {"upstream": {"timeouts": {"response": "400ms"}}}


@pytest.mark.moved
async def test_time_for_a_body_begins_with_its_head(start_bench, start_origin, connect):
    """A head that took nearly all the time leaves the body its own."""

    async def script(visit):
        await visit.request()
        for piece in (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", b"a", b"b"):
            await asyncio.sleep(0.3)
            await visit.send(piece)
        await visit.left()

    bench = await start_bench(await start_origin(script), **QUICK)
    wire = await connect(bench)
    await wire.send(get())

    assert (await wire.response()).body == b"ab"


@pytest.mark.moved
@pytest.mark.parametrize("piece", [b"1\r\nx\r\n", b""], ids=["dripping", "silent"])
async def test_answer_that_is_replaced_may_not_drip_for_ever(start_bench, start_origin, connect, piece):
    """A second in all, however it comes."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(500, b"", "Transfer-Encoding: chunked", length=False))
        while True:
            await visit.send(piece)
            await asyncio.sleep(0.05)

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench)
    await wire.send(get())
    response = await wire.response(within=3)

    assert response.status == 500
    assert response.json()["requestId"]
    assert bench.exchanges[0].redacted_status == 500


async def test_server_that_does_not_take_a_request_is_a_504(start_bench, start_origin, connect):
    """The client's own deadline does not run while the server is the slow one."""
    is_over = asyncio.Event()

    async def script(visit):
        await is_over.wait()

    bench = await start_bench(await start_origin(script), downstream={"timeouts": {"body": "200ms"}}, **QUICK)
    wire = await connect(bench)
    sending = asyncio.create_task(
        wire.send(get("Content-Length: 50000000", method="PUT") + b"x" * 50_000_000)
    )
    response = await wire.response()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    is_over.set()

    assert response.status == 504
    wire.abort()


# --- the end of a body ---


async def test_early_end_of_a_closing_answer_is_its_end(start_bench, start_origin, connect):
    """Even if the server has not taken the request's body: the end of its answer has come."""

    async def script(visit):
        await visit.request_head()
        await visit.send(answer(200, b"all", length=False))
        visit.finish_sending()
        await visit.is_over.wait()

    origin = await start_origin(script)
    bench = await start_bench(origin)
    wire = await connect(bench)
    await wire.send(get("Content-Length: 50000000", method="PUT"))
    sending = asyncio.create_task(wire.send(b"x" * 50_000_000))
    response = await wire.response()
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    for visit in origin.visits:
        visit.is_over.set()

    assert response.body == b"all"
    assert bench.ledger.outcomes == ["served"]
    wire.abort()


@pytest.mark.parametrize("request_", [get("Connection: close"), get(version="HTTP/1.0")], ids=["1.1", "1.0"])
async def test_broken_answer_with_a_length_is_delivered_and_then_ends(
    start_bench, start_origin, connect, request_
):
    """What came is the client's; the missing rest shows."""
    bench = await start_bench(await start_origin(saying(answer(200, b"x" * 50_000)[:-1], then="closes")))
    wire = await connect(bench)
    await wire.send(request_)
    with pytest.raises(Broken) as broken:
        await wire.response()

    assert (len(broken.value.received), broken.value.end) == (49_999, CLEAN)


@pytest.mark.parametrize(
    "sent",
    [CHUNKED_HEAD + b"5\r\nhello\r\n", answer(200, b"hello", length=False)],
    ids=["chunked", "until close"],
)
async def test_broken_answer_without_a_length_is_a_reset_to_an_old_client(
    start_bench, start_origin, connect, sent
):
    """Its end would look like the end of the answer."""
    bench = await start_bench(await start_origin(saying(sent, then="resets")))
    wire = await connect(bench)
    await wire.send(get(version="HTTP/1.0"))
    await wire.rest()

    assert wire.end == RESET


# --- answers of services that are less strict than we are ---


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        ("Transfer-Encoding: chunked", b"5  \r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"5 ;a=b\r\nhello\r\n0\r\n\r\n"),
        ("Transfer-Encoding: chunked", b"0000000000000005\r\nhello\r\n0\r\nContent-Length: 5\r\n\r\n"),
        ("Content-Length: 5, 5", b"hello"),
    ],
)
async def test_answer_with_one_reading_reaches_the_client_strictly_framed(
    start_bench, start_origin, connect, fields, body
):
    """On a connection that goes on."""
    said = answer(200, body, fields, length=False)
    bench = await start_bench(await start_origin(answering(said)))
    wire = await connect(bench)
    for _ in range(2):
        await wire.send(get())
        assert (await wire.response()).body == b"hello"

    expected = b"\r\n\r\n5\r\nhello\r\n0\r\n\r\n" if "chunked" in fields else b"\r\nContent-Length: 5\r\n"
    assert bytes(wire.received).count(expected) == 2


# --- tunnels ---


def tunnel(talk, *, early=b""):
    async def script(visit):
        await visit.request()
        await visit.send(SWITCH + early)
        await talk(visit)

    return script


async def echo(visit):
    while await visit.fill():
        data = bytes(visit.unread)
        visit.unread.clear()
        await visit.send(data, within=20)


async def test_tunnel_passes_what_both_sides_say_early(start_bench, start_origin, connect):
    """The client behind its request, the server behind its 101."""
    bench = await start_bench(await start_origin(tunnel(echo, early=b"welcome ")))
    wire = await connect(bench)
    await wire.send(UPGRADE + b"early " + b"x" * 200_000)
    response = await wire.response()

    assert (response.status, response.value("Upgrade")) == (101, b"chat")
    assert await wire.exactly(8 + 6 + 200_000) == b"welcome early " + b"x" * 200_000


@pytest.mark.waits("what could pile up has time to")
async def test_tunnel_holds_back_whoever_is_faster(start_bench, start_origin, connect):
    """Fifty megabytes there and back through a client that reads late."""
    bench = await start_bench(await start_origin(tunnel(echo)))
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()
    size = 50 * 2**20
    sending = asyncio.create_task(wire.send(b"x" * size, within=15))
    await asyncio.sleep(0.5)
    (connection,), (upstream,) = bench.frontend.connections, bench.address.open
    assert connection.transport.get_write_buffer_size() < 2**20
    assert upstream.transport.get_write_buffer_size() < 2**20
    received = 0
    while received < size:
        received += len(await wire.exactly(min(size - received, 65536)))
    await sending

    assert len(wire.unread) == 0


@pytest.mark.moved
async def test_tunnel_may_rest(start_bench, start_origin, connect):
    """Longer than any time that an exchange has, also after one side was held back."""
    bench = await start_bench(
        await start_origin(tunnel(echo)),
        downstream={"timeouts": {"head": "200ms", "body": "200ms", "idle": "200ms"}},
        upstream={"timeouts": {"response": "200ms", "idle": "200ms"}},
    )
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()
    for data in (b"x", b"y" * 8_000_000, b"z"):
        sending = asyncio.create_task(wire.send(data))
        assert await wire.exactly(len(data)) == data
        await sending
        await asyncio.sleep(0.6)

    assert bench.exchanges == []


@pytest.mark.moved
@pytest.mark.parametrize("who", ["client", "server"])
async def test_silent_tunnel_ends(start_bench, start_origin, connect, who):
    """Bytes of either side keep it; when neither says anything any more, both see its end."""
    over = asyncio.Event()

    async def talk(visit):
        for _ in range(6 if who == "server" else 0):
            await visit.send(b"x")
            await asyncio.sleep(0.1)
        over.set()
        await visit.left()

    origin = await start_origin(tunnel(talk))
    bench = await start_bench(origin, downstream={"timeouts": {"tunnel": "300ms"}})
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()
    for _ in range(6 if who == "client" else 0):
        await wire.send(b"x")
        await asyncio.sleep(0.1)
    await over.wait()
    assert bench.exchanges == []
    exchange = await bench.recorded()
    await asyncio.wait_for((await origin.visit()).is_over.wait(), 5)

    assert (await wire.rest(), wire.end) == (b"x" * 6 if who == "server" else b"", CLEAN)
    assert (exchange.outcome, exchange.fault.reason) == ("tunnelled", "tunnel_timeout")


@pytest.mark.real
async def test_server_that_vanished_is_found_dead(start_bench, start_origin, connect):
    """Without an end or a reset: by the kernel's probes, and by bytes that nobody acknowledges."""
    bench = await start_bench(await start_origin(tunnel(echo)))
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()
    (upstream,) = bench.address.open
    sock = upstream.transport.get_extra_info("socket")

    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 140_000


async def test_last_words_of_a_client_reach_the_server(start_bench, start_origin, connect):
    """A tunnel's end loses nothing of what was said before it."""
    heard = bytearray()
    is_listening = asyncio.Event()

    async def listen(visit):
        await is_listening.wait()
        heard.extend(await visit.rest(within=5))

    origin = await start_origin(tunnel(listen))
    bench = await start_bench(origin)
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()
    (upstream,) = bench.address.open
    size = 0
    while upstream.transport.get_write_buffer_size() == 0:  # the kernel still takes all of it
        await wire.send(b"x" * 32768)
        size += 32768
        await asyncio.sleep(0.002)
    wire.finish_sending()
    is_listening.set()
    visit = await origin.visit()
    await asyncio.wait_for(visit.is_over.wait(), 5)

    assert (len(heard), visit.end) == (size, CLEAN)
    await bench.recorded()
    assert bench.ledger.outcomes == ["tunnelled"]


async def test_last_words_of_a_server_reach_the_client(start_bench, start_origin, connect):
    """The same the other way."""

    async def talk(visit):
        await visit.send(b"x" * 300_000)

    bench = await start_bench(await start_origin(tunnel(talk)))
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(UPGRADE)
    await wire.response()

    assert (len(await wire.rest()), wire.end) == (300_000, CLEAN)
    wire.close()
    await bench.recorded()
    assert bench.ledger.outcomes == ["tunnelled"]


async def test_unasked_switch_is_a_502(start_bench, start_origin, connect):
    """And not a tunnel for the requests that follow."""
    origin = await start_origin(saying(SWITCH))
    bench = await start_bench(origin)
    wire = await connect(bench)
    await wire.send(get() + get(target=b"/next"))
    response = await wire.response()

    assert response.status == 502
    assert (bench.exchanges[0].source, bench.ledger.reasons[0]) == ("weir", "unasked_upgrade")
    assert (await wire.response()).status == 502
    assert len(origin.visits) == 2


async def test_refused_switch_is_an_answer(start_bench, start_origin, connect):
    """The connection goes on in HTTP."""
    bench = await start_bench(await start_origin(answering(answer(426, b"no"))))
    wire = await connect(bench)
    for _ in range(2):
        await wire.send(UPGRADE)
        assert (await wire.response()).status == 426


# --- sent once ---


async def test_request_with_a_body_meets_a_stale_connection_once(start_bench, start_origin, connect):
    """A POST, and a PUT whose body has gone: 502, never a second time."""

    async def script(visit):
        await visit.request()
        await visit.send(answer())
        await visit.request()

    origin = await start_origin(script)
    bench = await start_bench(origin)
    wire = await connect(bench)
    for method in ("POST", "PUT"):
        await wire.send(get())
        await wire.response()
        await wire.send(post(method=method))
        assert (await wire.response()).status == 502
    assert [r.method for r in origin.requests] == [b"GET", b"POST", b"GET", b"PUT"]
    assert bench.ledger.reasons == [None, "stale_connection"] * 2


# --- early answers ---


def hanging_up(said, *, reads=0):
    """Answers before the body has come, and closes with the rest of it unread: the kernel sends a reset behind."""

    async def script(visit):
        await visit.request_head()
        if reads:
            await visit.exactly(reads)
        await visit.send(said)

    return script


EARLY = {
    "with a length": answer(413, b"too large", "Connection: close"),
    "chunked": answer(401, b"3\r\nwho\r\n0\r\n\r\n", "Transfer-Encoding: chunked", length=False),
    "until close": answer(403, b"no", "Connection: close", length=False),
}


@pytest.mark.real
@pytest.mark.parametrize("is_chunked", [False, True])
@pytest.mark.parametrize("said", EARLY)
async def test_early_answer_to_an_upload_is_read(start_bench, start_origin, connect, said, is_chunked):
    """It lies in the socket when the next write fails. The server is not blamed."""
    bench = await start_bench(
        await start_origin(hanging_up(EARLY[said], reads=10)), upstream={"ejection": {"failures": 1}}
    )
    head = (
        get("Transfer-Encoding: chunked", method="POST")
        if is_chunked
        else get("Content-Length: 4000000", method="POST")
    )
    piece = b"8000\r\n" + b"x" * 32768 + b"\r\n" if is_chunked else b"x" * 32774
    statuses = []
    for _ in range(8):
        wire = await connect(bench)
        with contextlib.suppress(ConnectionError):
            await wire.send(head)
            for _ in range(20):
                await wire.send(piece)
        statuses.append((await wire.response_head()).status)
        wire.close()

    assert statuses == [int(EARLY[said][9:12])] * 8
    assert bench.address.standing.failures == 0
