"""Several servers: who gets the work, and who is left out."""

from __future__ import annotations

import contextlib
import os
import resource

import pytest

from tests.net.serving import AT_ONCE, asked, dead, named, states
from tests.support.messages import answer, get
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.wire import Broken


@contextlib.contextmanager
def no_descriptors():
    """No file or socket can be opened meanwhile."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.dup(0))
        yield
    finally:
        for descriptor in taken:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_dead_server_is_left_out_and_no_client_notices(start_bench, start_origin, connect):
    """Its refused connections are made up for by the other; after five it is not tried any more."""
    origin = await start_origin()
    bench = await start_bench(dead(), origin)
    responses = await asked(connect, bench, 60)

    assert {response.status for response in responses} == {200}
    assert states(bench) == ["ejected", "serving"]
    assert list(bench.ledger.upstream_failures.values()) == [5]
    assert list(bench.ledger.ejections.values()) == [1]


async def test_server_that_answers_junk_is_left_out_too(start_bench, start_origin, connect):
    """Failures count wherever in the answer they are."""

    async def broken(visit):
        await visit.request()
        await visit.send(answer(200, b"half")[:-2])

    bench = await start_bench(await start_origin(broken), await start_origin())
    for _ in range(100):
        wire = await connect(bench)
        await wire.send(get())
        with contextlib.suppress(Broken):
            await wire.response()
        if "ejected" in states(bench):
            break
    assert states(bench) == ["ejected", "serving"]
    assert {response.status for response in await asked(connect, bench, 20)} == {200}


async def test_answers_in_between_keep_a_server_in(start_bench, start_origin, connect):
    """Only failures in a row count."""

    async def shaky(visit):
        if visit.number % 4:
            return
        await visit.request()
        await visit.send(answer(200, b"", "Connection: close"))

    bench = await start_bench(await start_origin(shaky), await start_origin(shaky), upstream=AT_ONCE)
    await asked(connect, bench, 40)
    assert states(bench) == ["serving", "serving"]
    assert bench.ledger.ejections == {}


@pytest.mark.moved
async def test_ejected_server_comes_back(start_bench, start_origin, connect):
    """And serves, once it can."""
    port = free_port()
    other = await start_origin(named(b"other"))
    ejection = {"failures": 2, "first": "200ms"}
    bench = await start_bench(f"http://127.0.0.1:{port}", other, upstream={"ejection": ejection} | AT_ONCE)
    await asked(connect, bench, 20)
    assert "ejected" in states(bench)
    await start_origin(named(b"back"), port=port)
    await until(lambda: states(bench) == ["serving", "serving"], "it is back")
    bodies = {response.body for response in await asked(connect, bench, 40)}
    assert bodies == {b"back", b"other"}


@pytest.mark.moved
async def test_server_that_stays_dead_is_out_for_longer_each_time(start_bench, start_origin, connect, caplog):
    """One attempt each time it comes back."""
    ejection = {"failures": 3, "first": "50ms"}
    bench = await start_bench(dead(), await start_origin(), upstream={"ejection": ejection} | AT_ONCE)
    wire = await connect(bench)

    async def ask_until_out(times):
        while sum(bench.ledger.ejections.values()) < times:
            await wire.send(get())
            assert (await wire.response()).status == 200

    for times in (1, 2, 3):
        await ask_until_out(times)
        failures = sum(bench.ledger.upstream_failures.values())
        assert failures == 3 + times - 1
        await until(lambda: states(bench)[0] != "ejected")
    seconds = [
        record.fields["seconds"] for record in caplog.records if record.getMessage() == "server_ejected"
    ]
    assert seconds == [0.05, 0.1, 0.2]


@pytest.mark.parametrize(("servers", "out"), [(1, 0), (2, 1), (3, 1), (5, 2)])
async def test_at_most_half_are_out(start_bench, connect, servers, out):
    """The rest is tried on: the failure is told, not made worse."""
    bench = await start_bench(*(dead() for _ in range(servers)), upstream={"ejection": {"failures": 1}})
    responses = await asked(connect, bench, 40)
    assert {response.status for response in responses} == {502}
    assert states(bench).count("ejected") == out


async def test_failure_with_details_that_come_slowly_ejects_nobody(start_bench, start_origin, connect):
    """It is an answer; that its client is not kept waiting for the rest is a choice of ours."""

    async def slow(visit):
        await visit.request()
        await visit.send(answer(500, b"details")[:-2])
        await visit.rest(within=60)

    ejecting = {"ejection": {"failures": 1}}
    bench = await start_bench(await start_origin(slow), await start_origin(slow), upstream=ejecting)
    (response,) = await asked(connect, bench, 1)
    assert response.status == 500
    assert states(bench) == ["serving", "serving"]


async def test_tunnel_is_an_answer(start_bench, start_origin, connect):
    """A service that does nothing else must not add up its failures for ever."""

    async def switch(visit):
        await visit.request()
        await visit.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
        await visit.rest(within=60)

    bench = await start_bench(await start_origin(switch))
    bench.address.failed()
    wire = await connect(bench)
    await wire.send(get("Connection: Upgrade", "Upgrade: chat"))
    assert (await wire.response()).status == 101
    assert bench.address.standing.failures == 0


@pytest.mark.real
async def test_lack_of_descriptors_is_no_servers_fault(start_bench, start_origin, connect):
    """Clients that use them up must not have servers ejected."""
    ejecting = {"ejection": {"failures": 1}}
    bench = await start_bench(await start_origin(), await start_origin(), upstream=ejecting)
    wire = await connect(bench)
    with no_descriptors():
        await wire.send(get())
        response = await wire.response()
    assert (response.status, response.value("Retry-After"), bench.ledger.reasons) == (503, b"1", ["shortage"])
    assert states(bench) == ["serving", "serving"]


async def test_mistake_while_connecting_is_answered(start_bench, start_origin, connect, caplog):
    """Nothing that runs in the background ends unseen: a request would wait for it for ever."""
    bench = await start_bench(await start_origin())

    async def crashing(address, upstream):
        raise RuntimeError("a mistake of ours")

    bench.shared.pool.dial = crashing
    (told,) = await asked(connect, bench, 1)

    assert (told.status, bench.ledger.reasons) == (500, ["internal"])
    assert "a mistake of ours" in caplog.text


async def test_mistake_about_a_dead_server_is_answered(start_bench, connect, caplog):
    """Also one that is made while its failure is noted."""
    bench = await start_bench(dead(), dead(), upstream={"ejection": {"failures": 1}})

    def crash(_):
        raise RuntimeError("a mistake of ours")

    bench.ledger.count_ejection = crash
    (told,) = await asked(connect, bench, 1)

    assert (told.status, bench.ledger.reasons) == (500, ["internal"])
    assert "a mistake of ours" in caplog.text


async def test_ejection_can_be_switched_off(start_bench, start_origin, connect):
    bench = await start_bench(dead(), await start_origin(), upstream={"ejection": {"failures": None}})
    await asked(connect, bench, 40)
    assert states(bench) == ["serving", "serving"]


async def test_server_that_is_back_gets_little_at_first(start_bench, start_origin, connect):
    """A tenth of its share when a slow start begins."""
    first, other = await start_origin(named(b"first")), await start_origin(named(b"other"))
    bench = await start_bench(first, other, upstream={"slow_start": "1h"})
    pool = bench.shared.pool
    server = pool.addresses[0]
    for is_well in (False, False, False, True, True):
        pool.checked(server, "" if is_well else "status 500")
    assert states(bench) == ["returning", "serving"]
    bodies = [response.body for response in await asked(connect, bench, 300)]
    assert 5 <= bodies.count(b"first") <= 70  # of 300, a tenth of what the other gets: 27


@pytest.mark.moved
async def test_slow_start_ends(start_bench, start_origin, connect):
    """With the whole share, though nothing but time has changed."""
    first, other = await start_origin(named(b"first")), await start_origin(named(b"other"))
    bench = await start_bench(first, other, upstream={"slow_start": "300ms"})
    pool = bench.shared.pool
    for is_well in (False, False, False, True, True):
        pool.checked(pool.addresses[0], "" if is_well else "status 500")
    assert states(bench) == ["returning", "serving"]
    await until(lambda: states(bench) == ["serving", "serving"])
    bodies = [response.body for response in await asked(connect, bench, 200)]
    assert bodies.count(b"first") >= 60


async def test_weights_share_out_the_work(start_bench, start_origin, connect):
    """Three to one."""
    heavy, light = await start_origin(named(b"heavy")), await start_origin(named(b"light"))
    bench = await start_bench(upstream={"servers": [{"url": heavy.url, "weight": 3}, light.url]})
    bodies = [response.body for response in await asked(connect, bench, 400)]
    assert 70 <= bodies.count(b"light") <= 135


async def test_server_that_dies_with_pooled_connections_open_fails_nobody(start_bench, start_origin, connect):
    """A request that meets one of them goes to another server, since this one may be gone altogether."""

    async def mortal(visit):
        await visit.request()
        await visit.send(answer(200, b"alive"))
        await visit.request()
        await visit.origin.close_listener()

    origin, other = await start_origin(mortal), await start_origin(named(b"other"))
    bench = await start_bench(origin, other)
    busy = bench.shared.pool.addresses[1]
    busy.connecting.update(range(9))  # so that the first is the one to choose
    bodies = [response.body for response in await asked(connect, bench, 2)]
    busy.connecting.clear()
    assert bodies == [b"alive", b"other"]
    assert bench.ledger.upstream_failures[origin.url, "stale_connection"] == 1
