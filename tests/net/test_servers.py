"""Several servers: who gets the work, who is left out, who waits, and what the names say."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource

import pytest

from tests.net.bench import settings
from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.wire import Broken

AT_ONCE = {"slow_start": "0s"}


def named(name):
    return answering(answer(200, name))


def dead():
    return f"http://127.0.0.1:{free_port()}"


def states(bench):
    return [told["state"] for told in bench.shared.pool.status()]


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


async def asked(connect, bench, times, target="/"):
    """So many requests one after the other: the answers."""
    wire = await connect(bench)
    responses = []
    for _ in range(times):
        await wire.send(get(target=target))
        responses.append(await wire.response())
    return responses


class Gate:
    """An origin that answers only when it is let."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()

    async def __call__(self, visit):
        while await visit.request() is not None:
            await self.is_open.wait()
            await visit.send(answer())


# --- servers that fail ---


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


async def test_lack_of_descriptors_is_no_servers_fault(start_bench, start_origin, connect):
    """Clients that use them up must not have servers ejected."""
    ejecting = {"ejection": {"failures": 1}}
    bench = await start_bench(await start_origin(), await start_origin(), upstream=ejecting)
    wire = await connect(bench)
    with no_descriptors():
        await wire.send(get())
        response = await wire.response()
    assert (response.status, bench.ledger.reasons) == (502, ["connect_refused"])
    assert states(bench) == ["serving", "serving"]


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


# --- more requests than servers may have ---


async def waiting_clients(connect, bench, count):
    """So many clients, each with a request on its way, in this order."""
    wires = []
    for number in range(count):
        wire = await connect(bench)
        await wire.send(get(target=f"/{number}"))
        wires.append(wire)
        await until(lambda: bench.address.load + len(bench.shared.pool.waiting) == len(wires))
    return wires


def crowded(connections=1, queue=10, wait="5s"):
    return {"limits": {"connections": connections, "queue": queue, "wait": wait}}


async def test_requests_beyond_the_bound_wait_for_their_turn(start_bench, start_origin, connect):
    """In the order in which they came; the server never has more than it may."""
    gate = Gate()
    origin = await start_origin(gate)
    bench = await start_bench(origin, upstream=crowded(connections=2))
    wires = await waiting_clients(connect, bench, 6)
    assert (len(origin.visits), len(bench.shared.pool.waiting)) == (2, 4)

    gate.is_open.set()
    assert [(await wire.response()).status for wire in wires] == [200] * 6
    assert [request.target for request in origin.requests] == [b"/%d" % n for n in range(6)]
    assert len(origin.visits) == 2


async def test_full_queue_refuses_at_once(start_bench, start_origin, connect):
    """503, when to come again, and the error object; the client's connection stays."""
    gate = Gate()
    bench = await start_bench(await start_origin(gate), upstream=crowded(queue=1))
    served, waiting = await waiting_clients(connect, bench, 2)
    wire = await connect(bench)
    for _ in range(2):
        await wire.send(get())
        response = await wire.response()
        assert (response.status, response.value("Retry-After")) == (503, b"1")
        assert response.json()["status"] == 503
    assert bench.ledger.reasons == ["queue_full"] * 2
    assert bench.ledger.upstream_failures == {("", "queue_full"): 2}

    gate.is_open.set()
    assert [(await wire.response()).status for wire in (served, waiting)] == [200, 200]


async def test_no_queue_at_all(start_bench, start_origin, connect):
    """What is beyond the bound is refused, what is below it is not."""
    gate = Gate()
    bench = await start_bench(await start_origin(gate), await start_origin(gate), upstream=crowded(queue=0))
    wires = [await connect(bench) for _ in range(3)]
    for wire in wires:
        await wire.send(get())
    assert (await wires[2].response()).status == 503
    gate.is_open.set()
    assert [(await wire.response()).status for wire in wires[:2]] == [200, 200]


async def test_wait_has_an_end(start_bench, start_origin, connect):
    gate = Gate()
    bench = await start_bench(await start_origin(gate), upstream=crowded(wait="100ms"))
    served, waiting = await waiting_clients(connect, bench, 2)
    response = await waiting.response()
    assert (response.status, response.value("Retry-After")) == (503, b"1")
    assert bench.ledger.reasons == ["queue_timeout"]
    gate.is_open.set()
    assert (await served.response()).status == 200


async def test_client_that_leaves_gives_up_its_place(start_bench, start_origin, connect):
    """Those behind it move up."""
    gate = Gate()
    bench = await start_bench(await start_origin(gate), upstream=crowded(queue=2))
    served, leaving, waiting = await waiting_clients(connect, bench, 3)
    leaving.close()
    await until(lambda: len(bench.shared.pool.waiting) == 1)
    late = await connect(bench)
    await late.send(get())
    gate.is_open.set()
    assert [(await wire.response()).status for wire in (served, waiting, late)] == [200] * 3


@pytest.mark.parametrize("script", [answering(answer()), None], ids=["stays", "closed at once"])
async def test_connection_that_is_being_opened_counts_once(start_bench, start_origin, connect, script):
    """In every tick: a slot that looked taken would refuse others, or let them wait for nothing."""

    async def close(visit):
        visit.close()

    bench = await start_bench(await start_origin(script or close))
    loads = set()
    wire = await connect(bench)
    await wire.send(get())
    while not bench.exchanges:
        loads.add(bench.address.load)
        await asyncio.sleep(0)
    assert loads == {0, 1}


async def test_server_that_is_well_again_takes_those_that_wait(start_bench, start_origin, connect):
    """At once: nothing else need happen."""
    gate = Gate()
    bench = await start_bench(
        await start_origin(gate), await start_origin(gate), upstream=crowded() | AT_ONCE
    )
    pool = bench.shared.pool
    first, other = pool.addresses
    for _ in range(3):
        pool.checked(first, "status 500")
    wires = [await connect(bench) for _ in range(2)]
    for wire in wires:
        await wire.send(get())
    await until(lambda: other.load == 1 and len(pool.waiting) == 1)
    for _ in range(2):
        pool.checked(first, "")
    await until(lambda: first.load == 1 and not pool.waiting, within=2)
    gate.is_open.set()
    assert [(await wire.response()).status for wire in wires] == [200, 200]


async def test_server_that_returns_takes_those_that_wait(start_bench, start_origin, connect):
    """The same when its ejection ends."""
    gate = Gate()
    changes = crowded() | AT_ONCE | {"ejection": {"failures": 1, "first": "200ms"}}
    bench = await start_bench(await start_origin(gate), await start_origin(gate), upstream=changes)
    pool = bench.shared.pool
    first, other = pool.addresses
    first.failed()
    wires = [await connect(bench) for _ in range(2)]
    for wire in wires:
        await wire.send(get())
    await until(lambda: (first.load, other.load) == (1, 1) and not pool.waiting, within=2)
    gate.is_open.set()
    assert [(await wire.response()).status for wire in wires] == [200, 200]


async def test_client_that_sends_ahead_overtakes_nobody(start_bench, start_origin, connect):
    """Its next request is there before the one that waits can be served."""
    gate = Gate()
    origin = await start_origin(gate)
    bench = await start_bench(origin, upstream=crowded())
    hasty, waiting = await connect(bench), await connect(bench)
    await hasty.send(get(target="/1") + get(target="/3"))
    await until(lambda: origin.requests)
    await waiting.send(get(target="/2"))
    await until(lambda: bench.shared.pool.waiting)
    gate.is_open.set()

    assert [(await wire.response()).status for wire in (hasty, waiting, hasty)] == [200] * 3
    assert [request.target for request in origin.requests] == [b"/1", b"/2", b"/3"]


async def test_connection_that_cannot_be_had_makes_room(start_bench, connect):
    """Whoever waits is not forgotten when the one before fails."""
    bench = await start_bench(dead(), upstream=crowded())
    wires = [await connect(bench) for _ in range(5)]
    for wire in wires:
        await wire.send(get())
    assert [(await wire.response()).status for wire in wires] == [502] * 5


async def test_broken_answer_makes_room(start_bench, start_origin, connect):
    """The next one gets a connection of its own."""
    gate = asyncio.Event()

    async def script(visit):
        await visit.request()
        await gate.wait()

    bench = await start_bench(await start_origin(script), upstream=crowded())
    wires = await waiting_clients(connect, bench, 3)
    gate.set()
    assert [(await wire.response()).status for wire in wires] == [502] * 3


async def test_those_that_wait_move_to_new_settings(start_bench, start_origin, connect):
    """A reload with more room serves them at once."""
    gate = Gate()
    origin = await start_origin(gate)
    bench = await start_bench(origin, upstream=crowded())
    served, waiting = await waiting_clients(connect, bench, 2)
    bench.reload(settings({"upstream": crowded(connections=5)}, servers=[origin.url]))
    await until(lambda: len(origin.requests) == 2)
    gate.is_open.set()
    assert [(await wire.response()).status for wire in (served, waiting)] == [200, 200]


async def test_full_server_leaves_the_work_to_one_with_room(start_bench, start_origin, connect):
    """Whatever was drawn."""
    gate = Gate()
    origins = [await start_origin(gate) for _ in range(3)]
    bench = await start_bench(*origins, upstream=crowded(queue=0))
    wires = [await connect(bench) for _ in range(3)]
    for wire in wires:
        await wire.send(get())
    await until(lambda: [len(origin.requests) for origin in origins] == [1, 1, 1])
    gate.is_open.set()
    assert [(await wire.response()).status for wire in wires] == [200] * 3


# --- asking servers how they are ---


def checking(**more):
    return {"health": {"path": "/healthz?deep=1", "interval": "200ms", "timeout": "200ms"} | more} | AT_ONCE


class Patient:
    """A server whose health check says what it is told to say."""

    def __init__(self, says) -> None:
        self.says = says
        self.checks = []

    async def __call__(self, visit):
        while (request := await visit.request()) is not None:
            if request.target.startswith(b"/healthz"):
                self.checks.append(request)
                if self.says is None:
                    await visit.rest(within=60)
                    return
                await visit.send(answer(self.says, b"", "Location: /elsewhere"))
            else:
                await visit.send(answer(200, b"ill" if self.says != 200 else b"well"))


@pytest.mark.parametrize("says", [500, 404, None], ids=["500", "404", "no answer"])
async def test_unhealthy_server_gets_no_requests_until_it_is_well(start_bench, start_origin, connect, says):
    patient, other = Patient(says), await start_origin(named(b"other"))
    bench = await start_bench(await start_origin(patient), other, upstream=checking())
    await until(lambda: states(bench)[0] == "unhealthy")
    assert {response.body for response in await asked(connect, bench, 30)} == {b"other"}
    patient.says = 200
    await until(lambda: states(bench)[0] == "serving")
    assert b"well" in {response.body for response in await asked(connect, bench, 60)}


async def test_check_is_a_plain_request_on_a_connection_of_its_own(start_bench, start_origin):
    """With the server's Host and the path as it is written; a redirect is an answer."""
    patient = Patient(302)
    origin = await start_origin(patient)
    bench = await start_bench(origin, upstream=checking())
    await until(lambda: len(patient.checks) >= 3)
    request = patient.checks[0]
    assert (request.method, request.target) == (b"GET", b"/healthz?deep=1")
    assert request.value("Host") == f"127.0.0.1:{origin.port}".encode()
    assert request.value("User-Agent") == b"weir"
    assert len(origin.visits) >= len(patient.checks)
    assert {request.target for request in origin.requests} == {b"/healthz?deep=1"}
    assert states(bench) == ["serving"]


async def test_if_none_is_well_all_are_tried(start_bench, start_origin, connect):
    """An attempt is better than a certain refusal: checks can be wrong."""
    origins = [await start_origin(Patient(500)) for _ in range(2)]
    bench = await start_bench(*origins, upstream=checking())
    await until(lambda: states(bench) == ["unhealthy", "unhealthy"])
    assert {response.body for response in await asked(connect, bench, 10)} == {b"ill"}


async def test_each_address_of_a_name_is_checked(start_bench, start_origin):
    """One that is ill says nothing of the others; asked by the name, wherever it is."""
    ill, well = Patient(500), Patient(200)
    port = (await start_origin(ill, host="127.0.0.2")).port
    await start_origin(well, host="127.0.0.3", port=port)
    bench = await start_bench(f"http://localhost:{port}", upstream=checking() | {"resolve": "1h"})
    pool = bench.shared.pool
    await until(lambda: pool.addresses[0].ip == "127.0.0.1")
    pool.resolved(pool._servers[0], ["127.0.0.2", "127.0.0.3"])
    await until(lambda: states(bench) == ["unhealthy", "serving"])
    assert {check.value("Host") for check in ill.checks + well.checks} == {f"localhost:{port}".encode()}


async def test_dead_server_is_unhealthy(start_bench, start_origin):
    bench = await start_bench(dead(), await start_origin(), upstream=checking())
    await until(lambda: states(bench) == ["unhealthy", "serving"])


async def test_health_of_a_server_behind_a_unix_socket(start_bench, tmp_path):
    """By the path it is reached by."""
    path = tmp_path / "service.sock"
    asked_for = asyncio.Event()

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer())
        writer.close()
        asked_for.set()

    server = await asyncio.start_unix_server(serve, path)
    bench = await start_bench(f"http+unix://{path}", upstream=checking())
    async with asyncio.timeout(5):
        await asked_for.wait()
    server.close()
    await until(lambda: states(bench) == ["unhealthy"])


# --- names ---


async def test_all_addresses_of_a_name_are_used(start_bench, start_origin, connect):
    """Each is a server of its own; one that is gone finishes what it does and gets nothing new."""
    gate = Gate()
    first = await start_origin(gate, host="127.0.0.2")
    second = await start_origin(named(b"second"), host="127.0.0.3", port=first.port)
    third = await start_origin(named(b"third"), host="127.0.0.4", port=first.port)
    bench = await start_bench(f"http://localhost:{first.port}", upstream={"resolve": "1h"})
    pool = bench.shared.pool
    (server,) = pool._servers
    await until(lambda: pool.addresses[0].ip == "127.0.0.1", "the name was looked up")

    pool.resolved(server, ["127.0.0.2"])
    busy = await connect(bench)
    await busy.send(get())
    await until(lambda: len(first.requests) == 1)
    pool.resolved(server, ["127.0.0.3", "127.0.0.4"])
    bodies = [response.body for response in await asked(connect, bench, 60)]
    assert 10 <= bodies.count(b"second") <= 50
    assert bodies.count(b"second") + bodies.count(b"third") == 60
    kept = len(second.visits), len(third.visits)

    gate.is_open.set()
    assert (await busy.response()).status == 200
    await until(lambda: first.visits[0].is_over.is_set(), "its connection was closed")
    pool.resolved(server, ["127.0.0.4", "127.0.0.3"])
    await asked(connect, bench, 10)
    assert (
        len(second.visits),
        len(third.visits),
    ) == kept  # connections survive a lookup that changes nothing


async def test_addresses_are_logged_when_they_change(start_bench, caplog):
    """When some are only added, too; not when they are the same."""
    caplog.set_level(logging.INFO)
    bench = await start_bench("http://localhost:1", upstream={"resolve": "1h"})
    pool = bench.shared.pool
    await until(lambda: pool.addresses[0].ip == "127.0.0.1")
    (server,) = pool._servers
    for addresses in (["127.0.0.2"], ["127.0.0.2", "127.0.0.3"], ["127.0.0.2", "127.0.0.3"], ["127.0.0.3"]):
        pool.resolved(server, addresses)

    logged = [record.fields["addresses"] for record in caplog.records if record.getMessage() == "resolved"]
    assert logged[-3:] == [["127.0.0.2"], ["127.0.0.2", "127.0.0.3"], ["127.0.0.3"]]


async def test_what_befalls_an_address_that_is_gone_is_not_told(start_bench, caplog):
    """Checks and requests may have been under way."""
    bench = await start_bench("http://localhost:1", upstream={"resolve": "1h"})
    pool = bench.shared.pool
    await until(lambda: pool.addresses[0].ip == "127.0.0.1")
    (gone,) = pool.addresses
    pool.resolved(pool._servers[0], ["127.0.0.2", "127.0.0.3"])
    for _ in range(5):
        pool.checked(gone, "timeout")
        gone.failed()
    assert (gone.standing.is_healthy, bench.ledger.ejections) == (True, {})
    assert {"server_unhealthy", "server_ejected"}.isdisjoint(caplog.messages)


async def test_weight_of_a_name_is_shared_by_its_addresses(start_bench, start_origin, connect):
    """A name with three addresses gets no more than one with a single address."""
    single = await start_origin(named(b"single"))
    others = [await start_origin(named(b"other"), host="127.0.0.2")]
    port = others[0].port
    others += [await start_origin(named(b"other"), host=f"127.0.0.{n}", port=port) for n in (3, 4)]
    bench = await start_bench(single, f"http://localhost:{port}", upstream={"resolve": "1h"})
    pool = bench.shared.pool
    await until(lambda: pool.addresses[1].ip == "127.0.0.1")
    pool.resolved(pool._servers[1], ["127.0.0.2", "127.0.0.3", "127.0.0.4"])
    bodies = [response.body for response in await asked(connect, bench, 400)]
    assert 150 <= bodies.count(b"single") <= 250
