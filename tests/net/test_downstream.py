"""Clients' connections: cut into requests fairly, held back, discarded, ended without loss."""

from __future__ import annotations

import asyncio
import gc
import time
import tracemalloc

import pytest

from proxy.http1.chunked import TURN
from proxy.net import upload
from proxy.net.connection import LINGER_SECONDS
from proxy.net.upstream import UpstreamConnection
from tests.net.bench import limit
from tests.support.messages import answer, chunked, get, post
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.wire import CLEAN, Broken

FAST = {"downstream": {"timeouts": {"head": "300ms", "body": "300ms", "idle": "300ms"}}}
PATIENT = {"downstream": {"timeouts": {"body": "300ms"}}}


async def quiet(look, *, seconds=0.4):
    """The value of `look` once it has not changed for a while."""
    last = look()
    while True:
        await asyncio.sleep(seconds)
        if (now := look()) == last:
            return now
        last = now


def endless(piece=b"x" * 65536):
    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"", "Transfer-Encoding: chunked", length=False))
        while True:
            await visit.send(b"%x\r\n%b\r\n" % (len(piece), piece), within=20)

    return script


# --- pipelining ---


@pytest.mark.unmeasured
async def test_thousands_of_requests_in_one_write_are_answered_in_order(start_bench, start_origin, connect):
    """Bodies of both framings, HEAD and refusals among them; the last is cut in the middle of its head."""
    origin = await start_origin(answering(lambda request: answer(200, request.target + request.body)))
    bench = await start_bench(origin, contract={"allow_methods": ["GET", "HEAD", "POST"]})
    wire = await connect(bench)
    kinds = [
        lambda target: (get(target=target), "GET", target),
        lambda target: (post(b"abc", target=target), "POST", target + b"abc"),
        lambda target: (
            get("Transfer-Encoding: chunked", target=target, method="POST") + chunked(b"a", b"bc"),
            "POST",
            target + b"abc",
        ),
        lambda target: (get(target=target, method="HEAD"), "HEAD", b""),
        lambda target: (post(b"not allowed", target=target, method="PUT"), "PUT", None),
    ]
    work = [kinds[n % len(kinds)](b"/%d" % n) for n in range(3000)]
    sending = asyncio.create_task(
        wire.send(b"".join(data for data, _, _ in work) + get(target=b"/half")[:-5])
    )
    for _, method, body in work:
        response = await wire.response(method)
        if body is None:
            assert response.status == 405
        else:
            assert (response.status, response.body) == (200, body)
    await sending
    await wire.send(get()[-5:])

    assert (await wire.response()).body == b"/half"
    assert len(bench.exchanges) == 3001


async def test_refusals_that_are_pipelined_do_not_starve_others(start_bench, connect):
    """A client that sends thousands of requests at once has its turn, then others have theirs."""
    bench = await start_bench(contract={"allow_methods": ["POST"]})
    counts = [0]
    loop = asyncio.get_running_loop()

    def tick():
        counts.append(len(bench.exchanges))
        if counts[-1] < 2000:
            loop.call_soon(tick)

    loop.call_soon(tick)
    greedy, modest = await connect(bench), await connect(bench)
    await greedy.send(get() * 2000)
    await modest.send(get("Connection: close"))
    await modest.rest()
    between = len(bench.exchanges)
    for _ in range(2000):
        await greedy.response()
    await until(lambda: counts[-1] == 2001)

    assert between < 1000
    assert max(after - before for before, after in zip(counts, counts[1:], strict=False)) <= 2 * upload.TURN


@pytest.mark.unmeasured
async def test_answers_to_pipelined_refusals_do_not_pile_up(start_bench, connect):
    """A client that does not read its refusals is not read either."""
    bench = await start_bench(**limit())
    wire = await connect(bench, receive_bytes=4096)

    async def send_on():
        while True:
            await wire.send(get() * 1000)

    flood = asyncio.create_task(send_on())
    await until(lambda: any(connection.is_write_paused for connection in bench.frontend.connections))
    count = len(bench.exchanges)
    (connection,) = bench.frontend.connections
    await asyncio.sleep(0.1)

    assert not flood.done()
    assert connection.is_write_paused
    assert connection.transport.get_write_buffer_size() < 256 * 1024
    assert count == len(bench.exchanges)
    flood.cancel()
    wire.abort()


@pytest.mark.parametrize(
    "junk", [b"\r\n" * 500_000, b"\r\n" * 500_000 + get()], ids=["only", "before a request"]
)
async def test_empty_lines_cost_nothing_much(start_bench, start_origin, connect, junk):
    """They are skipped before a request (RFC 9112 section 2.2), not one by one through a copy of the rest."""
    bench = await start_bench(await start_origin())
    wire = await connect(bench)
    begin = time.process_time()
    await wire.send(junk + get())

    assert (await wire.response()).status == 200
    assert time.process_time() - begin < 0.5


async def test_byte_by_byte_is_the_same_request(start_bench, start_origin, connect):
    """Heads, lengths, chunks and trailers may come a byte at a time."""
    origin = await start_origin(answering(lambda request: answer(200, request.body)))
    bench = await start_bench(origin)
    wire = await connect(bench)
    data = (
        b"\r\n"
        + get("Transfer-Encoding: chunked", method="PUT")
        + chunked(b"ab", b"cde", trailers=b"X: y\r\n")
    )
    data += post(b"fgh")
    await wire.send_pieces([data[n : n + 1] for n in range(len(data))], gap=0.0)

    assert [(await wire.response()).body for _ in range(2)] == [b"abcde", b"fgh"]
    assert origin.requests[0].trailers == [(b"X", b"y")]


# --- refused requests and their bodies ---


@pytest.mark.parametrize("size", [1, 64 * 1024])
async def test_small_body_of_a_refused_request_is_dropped(start_bench, start_origin, connect, size):
    """The connection goes on, and nothing of the body is taken for a request."""
    origin = await start_origin()
    bench = await start_bench(origin, **limit(burst=1))
    wire = await connect(bench)
    await wire.send(get() + post(get(target=b"/smuggled").ljust(size, b"x")[:size]))
    assert (await wire.response()).status == 200
    assert (await wire.response()).status == 429
    await wire.send(get("X-Auth-Token: another"))

    assert (await wire.response()).status == 200
    assert [r.target for r in origin.requests] == [b"/", b"/"]


async def test_body_of_a_refused_request_may_come_in_pieces(start_bench, start_origin, connect):
    """What follows the last one is a request."""
    bench = await start_bench(await start_origin(), contract={"allow_methods": ["GET"]})
    wire = await connect(bench)
    await wire.send(get("Content-Length: 9", method="POST"))
    assert (await wire.response()).status == 405
    (connection,) = bench.frontend.connections
    await wire.send(b"abc")
    await until(lambda: connection.body.left == 6)
    await wire.send(b"def")
    await until(lambda: connection.body.left == 3)
    await wire.send(b"ghi" + get())

    assert (await wire.response()).status == 200


@pytest.mark.parametrize(
    "head",
    [
        get(f"Content-Length: {64 * 1024 + 1}", method="POST"),
        get("Transfer-Encoding: chunked", method="POST"),
        get("Content-Length: 5", "Expect: 100-continue", method="POST"),
    ],
    ids=["large", "chunked", "awaits a 100"],
)
async def test_refused_request_whose_body_cannot_be_dropped_ends_the_connection(start_bench, connect, head):
    """After its answer, which says so; what the client still sends does not reset it."""
    bench = await start_bench(contract={"allow_methods": ["GET"]})
    wire = await connect(bench)
    await wire.send(head)
    response = await wire.response()
    await wire.send(b"x" * 100_000)

    assert (response.status, response.value("Connection")) == (405, b"close")
    assert (await wire.rest(), wire.end) == (b"", CLEAN)


@pytest.mark.moved
async def test_body_that_never_comes_ends_a_refused_connection(start_bench, connect):
    """Dropping has a deadline too."""
    bench = await start_bench(contract={"allow_methods": ["GET"]}, **FAST)
    wire = await connect(bench)
    await wire.send(get("Content-Length: 5", method="POST"))
    assert (await wire.response()).status == 405
    await wire.rest(within=3.0)

    assert bench.ledger.outcomes == ["refused"]


# --- a client that does not read ---


async def test_answer_to_a_client_that_does_not_read_stays_with_the_origin(
    start_bench, start_origin, connect
):
    """Two hundred megabytes; what Weir holds of them is bounded."""
    sent = 0

    async def script(visit):
        nonlocal sent
        await visit.request()
        await visit.send(answer(200, b"", f"Content-Length: {200 * 2**20}", length=False))
        for _ in range(200 * 16):
            await visit.send(b"x" * 65536, within=20)
            sent += 65536

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get())
    await until(lambda: sent)
    await quiet(lambda: sent)
    (connection,) = bench.frontend.connections

    assert connection.transport.get_write_buffer_size() < 2**20
    assert sent < 30 * 2**20
    wire.abort()
    assert (await bench.recorded()).outcome == "abandoned"


async def test_slowest_clients_give_way_when_all_hold_too_much(start_bench, start_origin, connect):
    """A bound for the sum of what clients leave unread: those that take nothing go before one that reads."""
    most = 1024 * 1024
    bench = await start_bench(
        await start_origin(endless()), downstream={"limits": {"buffers": "1MiB"}}, send_bytes=4096
    )
    reader = await connect(bench, receive_bytes=4096)
    await reader.send(get(target="/reader"))

    async def read():
        while await reader.fill():
            reader.unread.clear()
            reader.received.clear()
            await asyncio.sleep(0.001)

    reading = asyncio.create_task(read())
    await until(lambda: any(taken > 0 for taken in bench.frontend._took.values()), "it is seen to read")
    for _ in range(20):
        await (await connect(bench, receive_bytes=4096)).send(get())
        await asyncio.sleep(0.03)
    await bench.recorded(3)
    await until(lambda: sum(each.held_bytes for each in bench.frontend.connections) <= most + 512 * 1024)

    assert set(bench.ledger.reasons) == {"crowded_out"}
    assert b"/reader" not in [exchange.target for exchange in bench.exchanges]
    assert len(bench.frontend.connections) > 1
    reading.cancel()


async def test_piece_that_a_client_has_taken_in_part_counts_as_a_whole(start_bench, start_origin, connect):
    """The transport keeps it until its last byte is taken. Nothing counts any more when all is taken."""
    origin = await start_origin(answering(answer(200, b"x" * 60_000)))
    bench = await start_bench(origin, send_bytes=4096)
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get())
    (connection,) = await until(lambda: list(bench.frontend.connections), "a connection")
    await until(lambda: connection.untaken_bytes >= 40_000, "it waits for its client")
    while connection.untaken_bytes > 20_000:
        await wire.fill()

    assert connection.held_bytes > 40_000
    assert len((await wire.response()).body) == 60_000
    assert connection.held_bytes == 0


async def test_heads_that_do_not_end_give_way_when_all_hold_too_much(start_bench, start_origin, connect):
    """They count towards the same sum. One that ends in time is served, and holds nothing any more."""
    most = 1024 * 1024
    bench = await start_bench(await start_origin(), downstream={"limits": {"buffers": "1MiB"}})
    last = await connect(bench)
    for _ in range(60):
        await (await connect(bench)).send(get("X: " + "y" * 30_000)[:-2])
    await until(lambda: len(bench.frontend.connections) < 50)
    await until(lambda: sum(each.held_bytes for each in bench.frontend.connections) <= most)
    await last.send(get("X: " + "y" * 30_000)[:-2])
    await last.send(b"\r\n")

    assert (await last.response()).status == 200
    assert 10 < len(bench.frontend.connections) < 40
    assert len(bench.frontend.slow) == len(bench.frontend.connections) - 1


async def test_room_is_made_again_after_a_mistake(start_bench, connect):
    """One that breaks off before anybody was cut off."""
    bench = await start_bench(downstream={"limits": {"buffers": "64KiB"}})
    bench.frontend.slow["nobody"] = 0
    half = get("X: " + "y" * 30_000)[:-2]
    for _ in range(4):
        await (await connect(bench)).send(half)
    await until(lambda: bench.complaints, "it has failed once")
    del bench.frontend.slow["nobody"]
    for _ in range(4):
        await (await connect(bench)).send(half)
    await until(lambda: bench.frontend.crowded_out["unfinished_head"])
    bench.complaints.clear()


async def test_client_that_stops_reading_is_left(start_bench, start_origin, connect):
    """After the time for a body: recorded once, and the origin is told."""
    origin = await start_origin(endless())
    bench = await start_bench(origin, **PATIENT)
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get())
    exchange = await bench.recorded()
    visit = await origin.visit()
    await asyncio.wait_for(visit.is_over.wait(), 5)

    assert (exchange.outcome, exchange.fault.reason) == ("faulted", "read_timeout")
    await bench.is_empty()


async def test_client_that_stops_reading_after_its_answer_was_whole_is_left(
    start_bench, start_origin, connect
):
    """The exchange is recorded already; the connection has its own end."""
    origin = await start_origin(answering(answer(200, b"x" * 200_000)))
    bench = await start_bench(origin, send_bytes=4096, **PATIENT)
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get() * 2)
    (connection,) = await until(lambda: list(bench.frontend.connections))
    while not bench.exchanges:
        await wire.fill()
        await asyncio.sleep(0)
    assert connection.is_write_paused
    await bench.is_empty()

    assert bench.ledger.outcomes == ["served"]


async def test_client_that_uploads_but_does_not_read_is_left(start_bench, start_origin, connect):
    """The end of its body must not make Weir forget that it does not read."""
    is_read = asyncio.Event()

    async def script(visit):
        await visit.request_head()
        await visit.send(answer(200, b"", "Transfer-Encoding: chunked", length=False))
        while True:
            await visit.send(b"10000\r\n" + b"x" * 65536 + b"\r\n", within=20)

    bench = await start_bench(await start_origin(script), **PATIENT)
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get("Content-Length: 6", method="POST") + b"abc")
    await until(lambda: any(c.is_write_paused for c in bench.frontend.connections))
    await wire.send(b"def")
    await bench.is_empty()

    assert bench.ledger.reasons == ["read_timeout"]
    assert not is_read.is_set()


@pytest.mark.moved
async def test_slow_reader_that_goes_on_is_not_left(start_bench, start_origin, connect):
    """The time is between two pieces that it takes, not for all that waits for it."""
    size = 300_000
    origin = await start_origin(answering(answer(200, b"x" * size)))
    bench = await start_bench(origin, send_bytes=4096, **PATIENT)
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get())
    clock = asyncio.get_running_loop().time
    begin = clock()
    while len(wire.received) < size and await wire.fill():
        if clock() - begin < 1.5:
            await asyncio.sleep(0.05)

    assert len(wire.received) > size
    assert bench.ledger.outcomes == ["served"]


async def test_last_answer_reaches_a_slow_reader(start_bench, start_origin, connect):
    """The end of a connection waits for its last bytes for as long as they go out."""
    size = 60_000
    origin = await start_origin(answering(answer(200, b"x" * size)))
    bench = await start_bench(origin, send_bytes=4096)
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get("Connection: close"))
    await until(lambda: bench.exchanges)
    await asyncio.sleep(LINGER_SECONDS + 0.5)
    await wire.rest()

    assert len(wire.received) > size
    assert wire.end == CLEAN


# --- the end ---


async def test_answer_written_in_the_tick_of_the_end_goes_out(start_bench, connect):
    """A client that sends a request and its end at once: a refusal is answered before Weir sees the end."""
    bench = await start_bench(contract={"allow_methods": ["POST"]})
    wire = await connect(bench)
    await wire.send(get())
    wire.finish_sending()

    assert (await wire.response()).status == 405
    assert (await wire.rest(), wire.end) == (b"", CLEAN)


async def test_client_that_ends_its_side_while_it_is_not_reading_is_gone(start_bench, start_origin, connect):
    """Its request is aborted at once, not when the last byte has gone."""
    origin = await start_origin(endless())
    bench = await start_bench(origin)
    wire = await connect(bench, receive_bytes=4096)
    await wire.send(get())
    (connection,) = await until(lambda: list(bench.frontend.connections))
    await until(lambda: connection.is_write_paused)
    wire.finish_sending()
    visit = await origin.visit()
    await asyncio.wait_for(visit.is_over.wait(), 5)

    assert bench.ledger.outcomes == ["abandoned"]
    wire.abort()


@pytest.mark.moved
@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"", None), (b"GET", 408), (get("Content-Length: 2", method="POST") + b"a", 408)],
    ids=["nothing", "half a head", "half a body"],
)
async def test_every_wait_for_a_client_has_an_end(start_bench, start_origin, connect, sent, status):
    """Idle ones end without a word."""
    bench = await start_bench(await start_origin(), **FAST)
    wire = await connect(bench)
    await wire.send(sent)
    said = await wire.rest(within=5)

    assert (said[9:12] == b"408") if status else (said == b"")
    assert wire.end == CLEAN
    wire.close()
    await bench.is_empty()


async def test_input_after_the_end_is_bounded(start_bench, connect):
    """Who goes on sending after a refusal is heard out for a while, not by size, and then cut off."""
    bench = await start_bench(contract={"allow_methods": ["GET"]})
    wire = await connect(bench)
    await wire.send(get("Transfer-Encoding: chunked", method="POST"))
    assert (await wire.response()).status == 405
    (connection,) = bench.frontend.connections
    for _ in range(400):
        await wire.send(b"x" * 65536)
    assert not wire.end
    connection.linger_until = connection.deadline = bench.sweeper.now  # as if half a minute had passed
    with pytest.raises(ConnectionError):
        while True:
            await wire.send(b"x" * 65536)
            await asyncio.sleep(0.001)
    await bench.is_empty()


# --- uploads ---


@pytest.mark.parametrize("framing", ["Content-Length: 209715200", "Transfer-Encoding: chunked"])
async def test_upload_to_an_origin_that_does_not_read_stays_with_the_client(
    start_bench, start_origin, connect, framing
):
    """Two hundred megabytes; what Weir holds of them is bounded."""
    is_over = asyncio.Event()

    async def script(visit):
        await is_over.wait()

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench)
    await wire.send(get(framing, method="PUT"))
    piece, sent = b"%x\r\n%b\r\n" % (65536, b"x" * 65536) if "chunked" in framing else b"x" * 65536, 0
    with pytest.raises(TimeoutError):
        while sent < 200 * 2**20:
            await wire.send(piece, within=0.5)
            sent += len(piece)
    (connection,), (upstream,) = bench.frontend.connections, bench.address.open

    assert upstream.transport.get_write_buffer_size() < 2**20
    assert len(connection.buffer) < 2**20
    wire.abort()
    is_over.set()


async def test_chunks_of_one_byte_pass(start_bench, start_origin, connect):
    """And cost others no more than a turn."""
    origin = await start_origin(answering(lambda request: answer(200, b"%d" % len(request.body))))
    bench = await start_bench(origin)
    wire = await connect(bench)
    body = b"1\r\nx\r\n" * 50_000
    await wire.send(get("Transfer-Encoding: chunked", method="POST"))
    await wire.send_pieces([body[: len(body) // 2], body[len(body) // 2 :], b"0\r\n\r\n"], gap=0.1)

    assert (await wire.response()).body == b"50000"


async def test_body_that_becomes_too_large_is_refused_while_it_streams(start_bench, start_origin, connect):
    """Counted without its chunks' framing; the origin never sees the end of it."""
    origin = await start_origin()
    bench = await start_bench(origin, downstream={"limits": {"body": "10B"}})
    wire = await connect(bench)
    await wire.send(get("Transfer-Encoding: chunked", method="POST") + chunked(b"12345", b"67890")[:-5])
    visit = await origin.visit()
    await until(lambda: b"67890" in visit.received)
    await wire.send(b"1\r\nx\r\n0\r\n\r\n")

    assert (await wire.response()).status == 413
    assert origin.requests == []
    with pytest.raises((Broken, ConnectionError)):
        await wire.exactly(1)


async def test_chunks_of_one_byte_do_not_starve_others(start_bench, start_origin, connect, monkeypatch):
    """Decoding them costs by the chunk, so a turn is bounded by bytes too."""
    given = []

    async def script(visit):
        await visit.request()
        await visit.send(answer())

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench)
    await wire.send(get("Transfer-Encoding: chunked", method="POST"))
    (connection,) = await until(lambda: [c for c in bench.frontend.connections if c.body and c.body.receiver])
    monkeypatch.setattr(UpstreamConnection, "send_body", lambda upstream, data: given.append(len(data)))
    connection.data_received(b"1\r\nx\r\n" * 50_000)

    assert given == [TURN]
    await until(lambda: sum(given) == 50_000)
    wire.abort()


# --- what rests ---


async def test_large_head_is_not_kept_by_a_connection_at_rest(start_bench, connect):
    """Ten thousand idle connections may each have sent one."""
    bench = await start_bench(contract={"allow_methods": ["POST"]})
    wires = [await connect(bench) for _ in range(50)]
    request = get(*[f"X-{n}: {'v' * 300}" for n in range(90)])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for wire in wires:
        await wire.send(request)
        await wire.response()
    gc.collect()
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()

    assert kept / 50 < 8 * 1024  # the client's end and the record of the exchange among it


# --- answers to HEAD have no body, also at the door (RFC 9110 section 9.3.2) ---


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ([get("Content-Length: 11", method="HEAD")], 413),
        ([get("X: " + "x" * 40_000, method="HEAD")[:30_000], b"x" * 30_000], 431),
        ([get(target="/" + "x" * 9_000, method="HEAD")[:8_500]], 414),
        ([b"HEAD / HTTP/1.1\r\nA : b\r\nHost: a\r\n\r\n"], 400),
    ],
    ids=["length", "large head", "long line", "malformed"],
)
async def test_refused_head_request_gets_no_body(start_bench, connect, pieces, status):
    """A client would take it for the start of the next answer."""
    bench = await start_bench(downstream={"limits": {"body": "10B"}})
    wire = await connect(bench)
    await wire.send_pieces(pieces, gap=0.05)
    response = await wire.response("HEAD")

    assert response.status == status
    assert int(response.value("Content-Length")) > 0
    assert await wire.rest() == b""


async def test_body_too_large_by_its_length_is_told_with_its_request(start_bench, connect):
    """Who sends what is too large, and where to, is in the record of the exchange."""
    bench = await start_bench(downstream={"limits": {"body": "10B"}})
    wire = await connect(bench)
    await wire.send(get("Content-Length: 11", method="PUT", target="/files/7"))
    response = await wire.response()
    (exchange,) = await until(lambda: bench.exchanges)

    assert response.status == 413
    assert response.value("Connection") == b"close"
    assert (exchange.method, exchange.target, exchange.status) == (b"PUT", b"/files/7", 413)
