"""Ends of one side: a client that sends no more but waits, tunnels that go on one way, clients that are not heard."""

from __future__ import annotations

import asyncio
import ssl
import time

import pytest

from proxy.config.loader import loads
from proxy.net.upstream import FAREWELL_SECONDS
from tests.support.innocent import innocent
from tests.support.messages import answer, chunked, get, post
from tests.support.origin import answering
from tests.support.papers import Papers
from tests.support.patience import until
from tests.support.wire import CLEAN

ANSWER = {"downstream": {"half_close": "answer"}}
UPGRADE = get("Connection: Upgrade", "Upgrade: chat")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"


async def slow(request):
    await asyncio.sleep(0.05)
    return answer(200, b"%d" % len(request.body))


# --- a client that ends its side behind its request ---


@pytest.mark.parametrize(
    ("sent", "bodies"),
    [
        (get(), [b"0"]),
        (post(b"x" * 300_000), [b"300000"]),
        (get("Transfer-Encoding: chunked", method="POST") + chunked(b"abc"), [b"3"]),
        (get() * 3, [b"0"] * 3),
        (get() + get()[:-2], [b"0"]),
    ],
    ids=["a request", "an upload", "chunks", "three requests", "one and a half"],
)
async def test_half_closed_client_is_answered(start_bench, start_origin, connect, sent, bodies):
    """All that it has sent whole, in order; then the connection ends, at once."""
    bench = await start_bench(await start_origin(answering(slow)), **ANSWER)
    wire = await connect(bench)
    await wire.send(sent)
    wire.finish_sending()
    answers = [await wire.response() for _ in bodies]

    assert [told.body for told in answers] == bodies
    assert (await wire.rest(within=1), wire.end) == (b"", CLEAN)
    assert bench.ledger.outcomes == ["served"] * len(bodies)


async def test_half_closed_client_hears_of_a_request_that_cannot_be_read(start_bench, start_origin, connect):
    """Behind the answer to the one before it."""
    bench = await start_bench(await start_origin(answering(slow)), **ANSWER)
    wire = await connect(bench)
    await wire.send(get() + b"GET /\0 HTTP/1.1\r\n\r\n")
    wire.finish_sending()

    assert [(await wire.response()).status for _ in range(2)] == [200, 400]
    assert (await wire.rest(within=1), wire.end) == (b"", CLEAN)
    assert bench.ledger.outcomes == ["served", "refused"]


@pytest.mark.parametrize("sent", [get() * 3, get(version="HTTP/1.0")], ids=["three requests", "HTTP/1.0"])
async def test_half_closed_client_is_answered_when_its_token_is_there(
    start_bench, start_origin, connect, sent
):
    """It waits as others do (`max_wait`)."""
    patient = {"name": "few", "key": ["const"], "rate": "10/s", "burst": 1, "max_wait": "5s"}
    bench = await start_bench(await start_origin(answering(slow)), **ANSWER, limits=[patient])
    other, wire = await connect(bench), await connect(bench)
    await other.send(get())
    await bench.recorded()
    await wire.send(sent)
    wire.finish_sending()
    answers = [await wire.response() for _ in range(sent.count(b"GET"))]

    assert {told.status for told in answers} == {200}
    assert (await wire.rest(within=1), wire.end) == (b"", CLEAN)


async def test_half_closed_client_is_answered_by_a_second_attempt(start_bench, start_origin, connect):
    """The server has closed the connection that was kept."""

    async def once(visit):
        await visit.request()
        await visit.send(answer(200, b"%d" % visit.number))
        await visit.request()

    bench = await start_bench(await start_origin(once), **ANSWER)
    wire = await connect(bench)
    await wire.send(get() * 2)
    wire.finish_sending()
    answers = [await wire.response() for _ in range(2)]

    assert [told.body for told in answers] == [b"0", b"1"]
    assert (await wire.rest(within=1), wire.end) == (b"", CLEAN)


@pytest.mark.parametrize(
    "sent",
    [get() * 2500, get() + post(b"hello") * 200, post(b"x" * 3000) * 60],
    ids=[
        "more than is read ahead",
        "refused uploads, many turns",
        "refused uploads, more than is read ahead",
    ],
)
async def test_end_behind_many_requests_cuts_none_off(start_bench, connect, sent):
    """Wherever among them the end is seen."""
    bench = await start_bench(**ANSWER, contract={"allow_methods": ["PUT"]})
    wire = await connect(bench)
    sending = asyncio.create_task(wire.send(sent))
    count = sent.count(b" HTTP/1.1")
    sending.add_done_callback(lambda _: wire.finish_sending())
    answers = [await wire.response() for _ in range(count)]

    assert {told.status for told in answers} == {405}
    assert (await wire.rest(within=5), wire.end) == (b"", CLEAN)
    assert bench.ledger.outcomes == ["refused"] * count


async def test_half_closed_client_has_left_where_that_is_set(start_bench, start_origin, connect):
    """`half_close: abort`, which a config must say: the service's work is broken off at once."""
    assert loads("upstream: {servers: ['http://127.0.0.1:1']}", "", {}).downstream.half_close == "answer"
    origin = await start_origin(answering(slow))
    bench = await start_bench(origin, downstream={"half_close": "abort"})
    wire = await connect(bench)
    await wire.send(get())
    visit = await origin.visit()
    wire.finish_sending()

    assert (await wire.rest(within=1), wire.end) == (b"", CLEAN)
    assert bench.ledger.outcomes == ["abandoned"]
    await visit.left()


@pytest.mark.parametrize(
    "sent",
    [
        post(b"hello")[:-1],
        get("Transfer-Encoding: chunked", method="POST") + b"5\r\nhello\r\n",
    ],
    ids=["length", "chunked"],
)
async def test_half_a_request_is_no_request(start_bench, start_origin, connect, sent):
    """Whoever ends within it has left."""
    origin = await start_origin(answering(slow))
    bench = await start_bench(origin, **ANSWER)
    wire = await connect(bench)
    await wire.send(sent)
    wire.finish_sending()
    await bench.recorded()

    assert (bench.ledger.outcomes, origin.requests) == (["abandoned"], [])


async def test_half_closed_client_that_leaves_is_noticed(start_bench, start_origin, connect):
    """By its reset, although nothing of it is read any more."""
    gone = asyncio.Event()

    async def silent(visit):
        await visit.request()
        await visit.left()
        gone.set()

    bench = await start_bench(await start_origin(silent), **ANSWER)
    wire = await connect(bench)
    await wire.send(get())
    wire.finish_sending()
    await until(lambda: [c for c in bench.frontend.connections if c.is_half_closed])
    assert bench.exchanges == []
    wire.abort()
    await asyncio.wait_for(gone.wait(), 5)

    assert (await bench.recorded()).outcome == "abandoned"


async def test_client_that_closed_while_it_waited_for_its_turn_makes_room(start_bench, start_origin, connect):
    """A close looks like the half of one: those behind it move up all the same, and nothing of it is forwarded."""
    patient = {"name": "few", "key": ["const"], "rate": "1/s", "burst": 1, "max_wait": "10s"}
    origin = await start_origin(answering(lambda request: answer(200, request.target)))
    bench = await start_bench(origin, **ANSWER, limits=[patient])
    first, *leaving, last = [await connect(bench) for _ in range(6)]
    await first.send(get(target="/first"))
    await first.response()
    for wire in leaving:
        await wire.send(get(target="/left"))
        wire.close()
    await last.send(get(target="/last"))
    started = time.monotonic()

    assert (await last.response()).body == b"/last"
    assert time.monotonic() - started < 2.0  # its own second; behind the four it would be the fifth
    assert [request.target for request in origin.requests] == [b"/first", b"/last"]
    assert sorted(bench.ledger.outcomes) == ["abandoned"] * 4 + ["served"] * 2


async def test_slot_of_a_client_that_closed_is_free(start_bench, start_origin, connect):
    """Its request to the service is aborted, and the next one has its place."""
    gone = asyncio.Event()

    async def serve(visit):
        request = await visit.request()
        if request.target == b"/left":
            await visit.left()
            gone.set()
        else:
            await visit.send(answer(200))

    alone = {"name": "one", "key": ["const"], "concurrency": 1}
    origin = await start_origin(serve)
    bench = await start_bench(origin, **ANSWER, limits=[alone])
    wire, other = await connect(bench), await connect(bench)
    await wire.send(get(target="/left"))
    await until(lambda: origin.requests)
    wire.close()
    await asyncio.wait_for(gone.wait(), 5)
    await bench.recorded()
    await other.send(get())

    assert (await other.response()).status == 200
    assert bench.ledger.outcomes == ["abandoned", "served"]


@pytest.mark.waits("an answer that is late")
@pytest.mark.parametrize("concurrency", [None, 5])
async def test_half_closed_client_hears_that_its_answer_is_still_to_come(
    start_bench, start_origin, connect, concurrency
):
    """Once, before the answer, where it holds what others may wait for; not a client of HTTP/1.0."""

    async def late(request):
        await asyncio.sleep(0.7)
        return answer(200, b"late")

    limits = [{"name": "few", "key": ["const"], "concurrency": concurrency}] if concurrency else []
    bench = await start_bench(await start_origin(answering(late)), **ANSWER, limits=limits)
    wire, old = await connect(bench), await connect(bench)
    await wire.send(get())
    await old.send(get(version="HTTP/1.0"))
    wire.finish_sending()
    old.finish_sending()
    told, plain = await wire.response(), await old.response()

    assert [interim.status for interim in told.interim] == ([102] if concurrency else [])
    assert told.body == b"late"
    assert (plain.interim, plain.body) == ([], b"late")


# --- tunnels ---


async def test_tunnel_goes_on_when_its_client_sends_no_more(start_bench, start_origin, connect):
    async def talk(visit):
        await visit.request()
        await visit.send(SWITCH)
        said = await visit.rest()
        for _ in range(3):
            await asyncio.sleep(0.02)
            await visit.send(said)

    bench = await start_bench(await start_origin(talk))
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()
    await wire.send(b"question ")
    wire.finish_sending()

    assert (await wire.rest(within=5), wire.end) == (b"question " * 3, CLEAN)
    assert (await bench.recorded()).outcome == "tunnelled"


async def test_tunnel_hears_of_a_client_that_ended_its_side_before_it_was_one(
    start_bench, start_origin, connect
):
    """Its first words and its end came behind the request, before the server had answered."""

    async def talk(visit):
        await visit.request()
        await asyncio.sleep(0.05)
        await visit.send(SWITCH)
        await visit.send(await visit.rest(within=5) * 2)

    bench = await start_bench(await start_origin(talk), **ANSWER)
    wire = await connect(bench)
    await wire.send(UPGRADE + b"question ")
    wire.finish_sending()
    status = (await wire.response()).status

    assert status == 101
    assert (await wire.rest(within=5), wire.end) == (b"question " * 2, CLEAN)
    assert (await bench.recorded()).outcome == "tunnelled"


@pytest.mark.real
async def test_tunnel_to_a_server_over_tls_ends_with_the_client_that_ended_before_it_began(
    start_bench, start_origin, connect, tmp_path
):
    """TLS knows no half of an end; what the client said before its own arrives."""
    papers, heard = Papers(tmp_path), asyncio.get_running_loop().create_future()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*papers.issue("IP:127.0.0.1"))

    async def talk(visit):
        await visit.request()
        await until(lambda: [client for client in bench.frontend.connections if client.is_half_closed])
        await visit.send(SWITCH)
        heard.set_result(await visit.rest())

    tls = {"upstream": {"tls": {"ca": str(papers.ca)}}}
    bench = await start_bench(await start_origin(talk, context=context), **ANSWER, **tls)
    wire = await connect(bench)
    await wire.send(UPGRADE + b"question")
    wire.finish_sending()

    assert (await wire.response()).status == 101
    assert (await wire.rest(), wire.end) == (b"", CLEAN)
    assert await asyncio.wait_for(heard, 5) == b"question"
    assert (await bench.recorded()).outcome == "tunnelled"
    await until(lambda: not bench.address.open)


async def test_what_was_sent_in_a_tunnel_arrives_when_both_sides_have_ended(
    start_bench, start_origin, connect
):
    """The server ends its side first thing and reads what the client had sent before its own end only then."""
    is_sent, heard = asyncio.Event(), asyncio.get_running_loop().create_future()

    async def talk(visit):
        await visit.request()
        await visit.send(SWITCH)
        await is_sent.wait()
        visit.finish_sending()
        await asyncio.sleep(0.05)
        heard.set_result(await visit.rest())

    bench = await start_bench(await start_origin(talk))
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()
    (client,) = bench.frontend.connections
    sent, towards_server = 0, client.body.receiver.transport
    while not towards_server.get_write_buffer_size():  # the kernel takes no more
        await wire.send(b"x" * 8192)
        sent += 8192
        await asyncio.sleep(0.001)
    wire.finish_sending()
    await until(lambda: [c for c in bench.frontend.connections if c.is_half_closed])
    is_sent.set()

    assert len(await asyncio.wait_for(heard, 5)) == sent
    assert (await wire.rest(within=5), wire.end) == (b"", CLEAN)
    assert (await bench.recorded()).outcome == "tunnelled"


async def test_tunnel_goes_on_when_its_server_sends_no_more(start_bench, start_origin, connect):
    heard = asyncio.get_running_loop().create_future()

    async def talk(visit):
        await visit.request()
        await visit.send(SWITCH + b"that is all")
        visit.finish_sending()
        heard.set_result(await visit.rest())

    bench = await start_bench(await start_origin(talk))
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()
    assert (await wire.rest(within=5), wire.end) == (b"that is all", CLEAN)
    for _ in range(3):
        await asyncio.sleep(0.02)
        await wire.send(b"answer ")
    wire.close()

    assert await asyncio.wait_for(heard, 5) == b"answer " * 3
    assert (await bench.recorded()).outcome == "tunnelled"


async def test_tunnel_whose_server_is_gone_does_not_wait_for_a_silent_client(
    start_bench, start_origin, connect
):
    async def talk(visit):
        await visit.request()
        await visit.send(SWITCH)

    bench = await start_bench(await start_origin(talk), downstream={"timeouts": {"body": "200ms"}})
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()

    assert (await bench.recorded()).outcome == "tunnelled"


# --- clients that are not read, and so not heard ---


CHUNKED = get("Transfer-Encoding: chunked", method="POST")
END = b"0\r\n\r\n"
LENGTH = get("Content-Length: 900000", method="POST")
CUT = {
    "length, 64 KiB and more unread": LENGTH + b"x" * 100_000,
    "a large chunk, 64 KiB and more unread": CHUNKED + b"fffff\r\n" + b"x" * 100_000,
    "small chunks, 64 KiB and more unread": CHUNKED + chunked(*[b"x" * 50] * 2500).removesuffix(END),
    "tiny chunks, 64 KiB and more unread": CHUNKED + chunked(*[b"x"] * 30_000).removesuffix(END),
    "what looks like an end": CHUNKED + b"fffff\r\n" + b"\r\n0\r\n\r\n" * 12_000,
    "a chunk in little": CHUNKED + b"5\r\nhello",
    "behind a chunk": CHUNKED + b"5\r\nhello\r\n",
    "within the last line": CHUNKED + b"5\r\nhello\r\n0\r\n\r",
    "within a size": CHUNKED + b"5\r\nhello\r\n1",
    "only a head": CHUNKED,
}
LEAVING = {
    **{f"{name}, {way}": (sent, way, "answer") for name, sent in CUT.items() for way in ("resets", "ends")},
    "pipelined, resets": (get() * 2500, "resets", "answer"),
    "pipelined, ends": (get() * 2500, "ends", "abort"),
}


def leave(wire, way):
    if way == "resets":
        wire.abort()
    else:
        wire.finish_sending()


async def occupied(start_bench, start_origin, connect, mode):
    """The only connection that the server takes is in use: whoever comes now has to wait."""

    async def silent(visit):
        await visit.request()
        await visit.left()

    upstream = {"limits": {"connections": 1, "wait": "30s"}}
    bench = await start_bench(await start_origin(silent), upstream=upstream, downstream={"half_close": mode})
    first = await connect(bench)
    await first.send(get())
    await until(lambda: bench.address.load == 1)
    return bench, first


@pytest.mark.real
@pytest.mark.parametrize("what", LEAVING)
async def test_client_that_leaves_while_it_is_not_read_is_noticed(start_bench, start_origin, connect, what):
    """Its request waits for a server; more than 64 KiB of it lie in the kernel, or less lies here."""
    sent, way, mode = LEAVING[what]
    bench, first = await occupied(start_bench, start_origin, connect, mode)
    second = await connect(bench)
    await second.send(sent)
    if len(sent) > 65536:
        await until(lambda: [c for c in bench.frontend.connections if c.is_read_paused])
    else:
        await until(lambda: bench.shared.pool.waiting)
    leave(second, way)

    assert (await bench.recorded()).outcome == "abandoned"
    assert not bench.shared.pool.waiting
    first.abort()


WHOLE = {
    "a large chunk": CHUNKED + chunked(b"z" * 200_000),
    "small chunks": CHUNKED + chunked(*[b"z" * 50] * 4000),
    "with trailers": CHUNKED + chunked(b"z" * 100_000)[:-2] + b"A: b\r\n\r\n",
    "with requests behind it": CHUNKED + chunked(b"z" * 100_000) + get() + post(b"hello"),
    "and half a request": CHUNKED + chunked(b"z" * 100_000) + get()[:-3],
    "in little": CHUNKED + chunked(b"hello"),
}


@pytest.mark.real
@pytest.mark.parametrize("what", WHOLE)
async def test_whole_upload_in_chunks_is_answered_however_long_it_waits(
    start_bench, start_origin, connect, what
):
    """Its client has ended its side behind it, and nobody has read it yet."""
    is_open = asyncio.Event()

    async def gate(request):
        if request.method == b"PUT":
            await is_open.wait()
        return answer(200, b"%d" % len(request.body))

    bench = await start_bench(
        await start_origin(answering(gate)), upstream={"limits": {"connections": 1, "wait": "30s"}}, **ANSWER
    )
    first, second = await connect(bench), await connect(bench)
    await first.send(get(method="PUT"))
    await until(lambda: bench.address.load == 1)
    sent = WHOLE[what]
    await second.send(sent)
    second.finish_sending()
    await until(lambda: [c for c in bench.frontend.connections if c._fd >= 0])
    await asyncio.sleep(5 * bench.sweeper.interval)  # in which it would have been taken for one that has left
    is_open.set()
    response = await second.response()

    assert (response.status, response.body) == (200, b"%d" % (5 if what == "in little" else sent.count(b"z")))
    first.abort()


HELD_BACK = {
    "length": get("Content-Length: 90000000", method="POST"),
    "a chunk": CHUNKED + b"7fffffff\r\n",
}


@pytest.mark.real
@pytest.mark.parametrize("is_paused", [True, False], ids=["not read", "read"])
@pytest.mark.parametrize("way", ["resets", "ends"])
@pytest.mark.parametrize("head", HELD_BACK)
async def test_client_that_leaves_while_its_server_does_not_read_is_noticed(
    start_bench, start_origin, connect, head, way, is_paused
):
    """The server's connection is closed with it, and its place is free again."""
    is_over = asyncio.Event()

    async def deaf(visit):
        await is_over.wait()

    bench = await start_bench(await start_origin(deaf), **ANSWER)
    wire = await connect(bench)
    await wire.send(HELD_BACK[head])
    (client,) = bench.frontend.connections

    def is_held_back():
        return client.is_read_paused if is_paused else client.body is not None and not client.body.receiver

    while not is_held_back():
        await wire.send(b"x" * 20_000)
        await asyncio.sleep(0.001)
    leave(wire, way)

    assert (await bench.recorded()).outcome == "abandoned"
    await bench.is_empty()
    is_over.set()


@pytest.mark.unmeasured
@pytest.mark.real
async def test_clients_that_leave_together_while_they_are_not_read(start_bench, start_origin, connect):
    """They take turns, and so do the chunks of each."""
    bench, first = await occupied(start_bench, start_origin, connect, "answer")
    tiny = CHUNKED + b"1;a\r\nx\r\n" * 1500 + b"fffff\r\n" + b"x" * 100_000
    wires = [await connect(bench) for _ in range(100)]
    for wire in wires:
        await wire.send(tiny)
    await until(lambda: len([c for c in bench.frontend.connections if c.is_read_paused]) == len(wires))
    async with innocent():
        for wire in wires:
            wire.finish_sending()
        await bench.recorded(len(wires))

    assert set(bench.ledger.reasons) == {"client_gone"}
    first.abort()


@pytest.mark.real
async def test_tunnel_whose_client_resets_while_its_server_does_not_read_is_over(
    start_bench, start_origin, connect
):
    """An end alone would not be: what was sent before it is still to arrive."""
    is_over = asyncio.Event()

    async def deaf(visit):
        await visit.request()
        await visit.send(SWITCH)
        await is_over.wait()

    bench = await start_bench(await start_origin(deaf))
    wire = await connect(bench)
    await wire.send(UPGRADE)
    await wire.response()
    (client,) = bench.frontend.connections
    while not client.is_read_paused:
        await wire.send(b"x" * 20_000)
        await asyncio.sleep(0.001)
    wire.abort()

    assert (await bench.recorded()).outcome == "tunnelled"
    await until(lambda: not bench.address.load, within=3 * FAREWELL_SECONDS)
    is_over.set()
