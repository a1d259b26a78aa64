"""The search for a server that can be had: restarts, dead families of addresses, servers that accept and close."""

from __future__ import annotations

import asyncio
import socket

import pytest

from proxy.net.dial import open_connection
from proxy.net.server_address import ServerAddress
from proxy.net.upstream import UpstreamConnection
from tests.net.bench import limit
from tests.net.serving import AT_ONCE, asked, dead, named, states
from tests.support.messages import get, post
from tests.support.patience import until


async def closing(visit):
    """As a port forwarder does whose container is gone: it accepts, and closes."""


async def refuses(origin):
    await origin.stop()


async def accepts_and_closes(origin):
    origin.script = closing
    for visit in origin.visits:
        visit.finish_sending()


async def sent(connect, bench, request, times=20):
    wire = await connect(bench)
    statuses = []
    for _ in range(times):
        await wire.send(request)
        statuses.append((await wire.response()).status)
    return statuses


async def has_no_idle(bench, number):
    await until(lambda: not bench.addresses[number].idle, "its connections are known to be closed")


def hanging(bench, ips, seconds):
    """Connections to these addresses open late."""
    dial = bench.shared.pool.dial
    dialled = []

    async def late(address, upstream):
        dialled.append(address.ip)
        if address.ip in ips:
            await asyncio.sleep(seconds)
        await dial(address, upstream)

    bench.shared.pool.dial = late
    return dialled


# --- servers that are restarted, one after the other ---


@pytest.mark.parametrize("dies", [refuses, accepts_and_closes])
@pytest.mark.parametrize("count", [2, 3])
async def test_rolling_restart_is_no_outage(start_bench, start_origin, connect, count, dies):
    """Each server in turn is away; the ones before it are still ejected when the next one goes."""
    origins = [await start_origin(named(b"%d" % number)) for number in range(count)]
    bench = await start_bench(*origins)
    statuses = await sent(connect, bench, get())
    for number, origin in enumerate(origins):
        await dies(origin)
        await has_no_idle(bench, number)
        statuses += await sent(connect, bench, get())
        origins[number] = await start_origin(named(b"back")) if dies is refuses else origin
        origin.script = named(b"back")
        if dies is refuses:
            await origin.start()

    assert set(statuses) == {200}


async def test_request_with_a_body_survives_a_restart_too(start_bench, start_origin, connect):
    """Nothing of it has left when a connection is refused; and that is not paid out of the retry budget."""
    first, second = await start_origin(), await start_origin()
    bench = await start_bench(first, second)
    bench.shared.retries._left = 0
    await first.stop()
    statuses = await sent(connect, bench, post(b"body"), 30)
    await first.start()
    await second.stop()
    await has_no_idle(bench, 1)
    statuses += await sent(connect, bench, post(b"body"), 30)

    assert set(statuses) == {200}


async def test_server_that_is_back_is_soon_found(start_bench, start_origin, connect, caplog):
    """Long before its ejection would end; one connection a second looks."""
    caplog.set_level("INFO", "weir.upstream")
    gone, other = await start_origin(), await start_origin()
    bench = await start_bench(gone, other, upstream=AT_ONCE | {"ejection": {"failures": 1, "first": "5m"}})
    await gone.stop()
    await asked(connect, bench, 20)
    assert states(bench) == ["ejected", "serving"]
    failures = dict(bench.ledger.upstream_failures)
    await gone.start()
    await until(lambda: states(bench) == ["serving", "serving"], within=3)

    assert bench.ledger.upstream_failures == failures
    words = ["server_down", "server_ejected", "server_up", "server_back"]
    assert [record.message for record in caplog.records] == words


@pytest.mark.real
async def test_passed_check_ends_an_ejection(start_bench, start_origin, connect):
    """Whatever the server was ejected for."""
    origin, other = await start_origin(closing), await start_origin()
    health = {"health": {"path": "/", "interval": "100ms", "timeout": "100ms", "fall": 1000}}
    bench = await start_bench(origin, other, upstream={"ejection": {"failures": 1, "first": "5m"}} | health)
    await asked(connect, bench, 20)
    assert states(bench)[0] == "ejected"
    origin.script = named(b"back")
    await until(lambda: states(bench)[0] != "ejected", within=3)


async def test_two_that_accept_and_close_take_turns(start_bench, start_origin, connect):
    """When another one has to go, the one that is out longest may be well again."""
    first, second = await start_origin(closing), await start_origin()
    bench = await start_bench(first, second, upstream=AT_ONCE | {"ejection": {"failures": 2, "first": "5m"}})
    await asked(connect, bench, 20)
    assert states(bench) == ["ejected", "serving"]
    first.script = second.script
    await accepts_and_closes(second)
    await has_no_idle(bench, 1)
    first_out = bench.addresses[0]
    await until(lambda: first_out.knock_at <= bench.sweeper.now)
    statuses = await sent(connect, bench, post(), 10)

    assert statuses == [502] * 2 + [200] * 8
    assert states(bench) == ["serving", "ejected"]


# --- what may be sent again ---


@pytest.mark.parametrize(
    ("request_", "others", "budget", "statuses"),
    [(get(), 1, 9, {200}), (post(), 1, 9, {200, 502}), (get(), 0, 9, {502}), (get(), 1, 0, {200, 502})],
    ids=["GET", "POST", "only server", "no budget"],
)
async def test_fresh_connection_that_closes_unanswered(
    start_bench, start_origin, connect, request_, others, budget, statuses
):
    """The request may have been seen: another server gets it only if it is idempotent, and within the budget."""

    async def reading(visit):
        await visit.request()

    servers = [await start_origin(reading), *[await start_origin() for _ in range(others)]]
    bench = await start_bench(*servers, upstream={"ejection": {"failures": 5}})
    bench.shared.retries._left = budget

    assert set(await sent(connect, bench, request_, 20)) == statuses


@pytest.mark.real
async def test_tls_handshake_is_paid_for(start_bench, start_origin, connect):
    """It costs a server more than a refused connection does."""

    async def no_tls(visit):
        await visit.send(b"this is no TLS")

    servers = [(await start_origin(no_tls)).url.replace("http", "https") for _ in range(2)]
    bench = await start_bench(*servers)
    for budget, tries in ((1, 2), (0, 1)):
        bench.shared.retries._left = budget
        before = sum(bench.ledger.upstream_failures.values())
        assert await sent(connect, bench, get(), 1) == [502]
        assert sum(bench.ledger.upstream_failures.values()) - before == tries


async def test_mistake_of_ours_is_no_silence(start_bench, connect, caplog):
    """Whatever opening a connection raises, somebody waits for an answer."""
    bench = await start_bench(dead())

    async def dial(address, upstream):
        raise ValueError("unforeseen")

    bench.shared.pool.dial = dial
    assert await sent(connect, bench, get(), 1) == [500]
    assert "crashed" in [record.message for record in caplog.records]


async def test_client_gets_its_tokens_back(start_bench, connect):
    """With a word when to come again: the service has not been asked."""
    bench = await start_bench(dead(), **limit(burst=2))
    wire = await connect(bench)
    for _ in range(5):
        await wire.send(get())
        response = await wire.response()
        assert (response.status, response.value("Retry-After")) == (502, b"1")
        assert b"r=2" in response.value("RateLimit")


# --- names with a dead family (RFC 8305) ---


async def at_both(bench, connect, port_of):
    """The server has an address of each family now."""
    (server,) = bench.shared.pool._servers
    bench.shared.pool.resolved(server, ["127.0.0.1", "::1"])
    return server


async def test_family_that_refuses_costs_no_request(start_bench, start_origin, connect):
    """A cold burst, with no budget for retries at all."""
    bench = await start_bench(await start_origin())
    bench.shared.retries._left = 0
    await at_both(bench, connect, bench)
    wires = [await connect(bench) for _ in range(60)]
    for wire in wires:
        await wire.send(post(b"body"))

    assert {(await wire.response()).status for wire in wires} == {200}


@pytest.mark.moved
@pytest.mark.parametrize("late", ["127.0.0.1", "::1"])
async def test_address_that_swallows_everything_is_raced(start_bench, start_origin, connect, late):
    """After a quarter of a second; then the others avoid it."""
    origin = await start_origin()
    bench = await start_bench(origin)
    await start_origin(host="::1", port=origin.port)
    await at_both(bench, connect, bench)
    dialled = hanging(bench, {late}, 1.0)
    bench.shared.pool._balancer._draw = lambda: 0.0 if late == "127.0.0.1" else 0.9
    clock = asyncio.get_running_loop().time
    began = clock()
    (response,) = await asked(connect, bench, 1)
    took = clock() - began

    assert response.status == 200
    assert 0.2 < took < 0.9
    assert dialled[0] == late
    late_one = next(each for each in bench.addresses if each.ip == late)
    await until(lambda: late_one.idle, "the late one is kept for the next request")


@pytest.mark.moved
async def test_all_that_swallow_everything_are_a_504(start_bench, connect):
    """In the time that one of them takes, not in that of both."""
    bench = await start_bench(dead(), dead(), upstream={"timeouts": {"connect": "400ms"}})
    hanging(bench, {None}, 60)
    clock = asyncio.get_running_loop().time
    began = clock()
    (response,) = await asked(connect, bench, 1)

    assert (response.status, response.value("Retry-After")) == (504, b"1")
    assert clock() - began < 1.2
    assert bench.shared.pool.searches == {}


async def test_client_that_leaves_ends_the_search(start_bench, start_origin, connect):
    """What was under way is kept in the pool, and nothing more is tried."""
    bench = await start_bench(await start_origin(), await start_origin())
    dialled = hanging(bench, {None}, 0.4)
    wire = await connect(bench)
    await wire.send(get())
    await until(lambda: dialled)
    wire.abort()
    await until(lambda: not bench.shared.pool.searches)
    await until(lambda: bench.shared.pool.counts()["idle"] == 1)

    assert len(dialled) == 1


@pytest.mark.real
async def test_name_is_reached_before_its_first_lookup_ends(start_bench, start_origin):
    """By whichever of its addresses answers; small writes are not held back (TCP_NODELAY)."""
    origin = await start_origin()
    bench = await start_bench(f"http://localhost:{origin.port}")
    pool = bench.shared.pool
    upstream = UpstreamConnection(ServerAddress(pool._servers[0], pool))
    await open_connection(upstream.address, upstream)
    sock = upstream.transport.get_extra_info("socket")

    assert sock.getpeername()[1] == origin.port
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    upstream.close()
