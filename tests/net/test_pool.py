"""Connections to servers: which one is taken, how many there are, and when they are let go of."""

from __future__ import annotations

import asyncio
import socket
import ssl

import pytest

from proxy import faults
from proxy.net.server_address import fault_of
from tests.net.bench import settings
from tests.support.messages import answer, get, post
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.ports import free_port


async def held(visit):
    await visit.request()
    await visit.origin.go_on.wait()
    await visit.send(answer())
    await visit.request()


@pytest.mark.moved
async def test_last_connection_used_is_the_next_one_used(start_bench, start_origin, connect):
    """The rest can age and go, before the server closes them."""
    origin = await start_origin(held)
    origin.go_on = asyncio.Event()
    bench = await start_bench(origin, upstream={"timeouts": {"idle": "500ms"}})
    wires = [await connect(bench) for _ in range(5)]
    for wire in wires:
        await wire.send(get())
    await until(lambda: len(origin.visits) == 5)
    assert bench.shared.pool.counts() == {"active": 5, "idle": 0}
    (told,) = bench.shared.pool.status()
    assert (told["server"], told["state"], told["active"], told["idle"]) == (origin.url, "serving", 5, 0)
    origin.go_on.set()
    for wire in wires:
        await wire.response()
    assert bench.shared.pool.counts() == {"active": 0, "idle": 5}
    last = next(reversed(bench.address.idle))

    assert bench.address.take_idle() is last
    bench.address.release(last)
    await until(lambda: bench.address.idle == {})


def lasting(keep_alive):
    return answering(answer(200, b"", f"Keep-Alive: {keep_alive}"))


@pytest.mark.parametrize(
    ("keep_alive", "connections"),
    [("timeout=1", 3), ("timeout=0, max=100", 3), ("timeout=30, max=100", 1), ("max=5", 1), ("timeout=x", 1)],
)
async def test_server_says_how_long_connections_rest(
    start_bench, start_origin, connect, keep_alive, connections
):
    """Less a second, so that the end that it announces meets no request; what says nothing changes nothing."""
    origin = await start_origin(lasting(keep_alive))
    bench = await start_bench(origin)
    wire = await connect(bench)
    for _ in range(3):
        await wire.send(post(b"body"))
        assert (await wire.response()).status == 200
    assert len(origin.visits) == connections


@pytest.mark.moved
async def test_connection_is_let_go_of_before_the_server_does(start_bench, start_origin, connect):
    """A second before, which the sweep may not keep to the tenth."""
    origin = await start_origin(lasting("timeout=2"))
    bench = await start_bench(origin)
    bench.sweeper.interval = 60.0
    bench.sweeper.sweep(asyncio.get_running_loop().time())
    wire = await connect(bench)
    await wire.send(get())
    await wire.response()
    assert len(bench.address.idle) == 1
    await asyncio.sleep(1.05)

    assert bench.address.take_idle() is None


async def test_stale_connection_is_told_of_with_what_the_server_said(
    start_bench, start_origin, connect, caplog
):
    """Once an hour, with how long it rested: what to set `upstream.timeouts.idle` to."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"", "Keep-Alive: timeout=7"))
        await visit.request()

    bench = await start_bench(await start_origin(script))
    wire = await connect(bench)
    for _ in range(4):
        await wire.send(get())
        assert (await wire.response()).status == 200
    (told,) = [record.fields for record in caplog.records if record.message == "stale_connection"]

    assert (told["server"], told["keep_alive"], told["idle_timeout"]) == (bench.address.name, 7.0, 55.0)
    assert 0 <= told["rested"] < 5


async def test_one_request_at_a_time_needs_one_connection(start_bench, start_origin, connect):
    """Whichever client asks."""
    origin = await start_origin()
    bench = await start_bench(origin)
    for _ in range(20):
        wire = await connect(bench)
        await wire.send(get())
        await wire.response()
    assert len(origin.visits) == 1


async def test_connection_that_is_closing_is_not_taken(start_bench, start_origin, connect):
    """Its end has not been told yet."""
    origin = await start_origin()
    bench = await start_bench(origin)
    wire = await connect(bench)
    await wire.send(get())
    await wire.response()
    (upstream,) = bench.address.idle
    upstream.close()

    assert bench.address.take_idle() is None
    assert bench.shared.pool.counts()["idle"] == 0


async def test_retired_server_keeps_no_connection(start_bench, start_origin, connect):
    """Those at rest close at once, the others after their exchange."""
    origin = await start_origin(held)
    origin.go_on = asyncio.Event()
    bench = await start_bench(origin)
    busy = await connect(bench)
    await busy.send(get())
    await origin.visit()
    old = bench.shared.pool
    bench.reload(settings({"upstream": {"timeouts": {"connect": "4s"}}}, servers=[origin.url]))
    assert old.counts() == {"active": 1, "idle": 0}
    origin.go_on.set()
    assert (await busy.response()).status == 200
    await until(lambda: old.counts() == {"active": 0, "idle": 0})


async def test_less_loaded_server_is_chosen(start_bench, start_origin, connect):
    """Slow requests on one send the next ones to the other."""
    slow, quick = await start_origin(held), await start_origin(answering(answer(200, b"quick")))
    slow.go_on = asyncio.Event()
    bench = await start_bench(slow, quick)
    asked = []
    while not slow.requests:
        asked.append(await connect(bench))
        await asked[-1].send(get())
        await until(lambda: slow.requests or len(bench.exchanges) == len(asked))
    for _ in range(10):
        wire = await connect(bench)
        await wire.send(get())
        assert (await wire.response()).body == b"quick"
    slow.go_on.set()


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (ConnectionRefusedError(), faults.CONNECT_REFUSED),
        (FileNotFoundError(), faults.CONNECT_REFUSED),
        (TimeoutError(), faults.CONNECT_TIMEOUT),
        (socket.gaierror(), faults.DNS_FAILED),
        (ssl.SSLCertVerificationError(), faults.TLS_FAILED),
        (ssl.SSLError(), faults.TLS_FAILED),
    ],
)
def test_every_error_of_connecting_has_a_row(error, fault):
    """So that the log says why."""
    assert fault_of(error) is fault


async def test_connection_count_is_right_after_failures(start_bench, connect):
    """Nothing is left of attempts that failed."""
    bench = await start_bench(f"http://127.0.0.1:{free_port()}")
    wire = await connect(bench)
    await wire.send(get() * 50)
    for _ in range(50):
        assert (await wire.response()).status == 502
    assert bench.address.load == 0
    assert bench.ledger.upstream_failures == {(bench.address.name, "connect_refused"): 50}


async def test_outage_is_one_line_at_its_start_and_one_at_its_end(start_bench, start_origin, connect, caplog):
    """However many requests meet it: a storm of them must not become a storm of lines."""
    caplog.set_level("INFO", "weir.upstream")
    port = free_port()
    bench = await start_bench(f"http://127.0.0.1:{port}")
    wire = await connect(bench)
    for _ in range(20):
        await wire.send(get())
        await wire.response()
    await start_origin(answering(answer(200, b"back")), port=port)
    await wire.send(get() * 2)
    back = [await wire.response() for _ in range(2)]

    assert [response.body for response in back] == [b"back"] * 2
    assert [record.message for record in caplog.records] == ["server_down", "server_up"]


@pytest.mark.real
async def test_unix_socket_is_a_server_too(start_bench, connect, tmp_path):
    """By its path."""

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(200, b"from a path"))
        writer.close()

    path = str(tmp_path / "s")
    server = await asyncio.start_unix_server(serve, path)
    bench = await start_bench(f"http+unix://{path}")
    wire = await connect(bench)
    await wire.send(get())

    assert (await wire.response()).body == b"from a path"
    server.close()
    await server.wait_closed()
