"""Asking servers how they are."""

from __future__ import annotations

import asyncio

import pytest

from tests.net.serving import AT_ONCE, asked, dead, named, states
from tests.support.innocent import innocent
from tests.support.messages import answer
from tests.support.patience import until

pytestmark = pytest.mark.real


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


# What is none, or a dear one: how it begins, and what follows for ever.
ODD = {
    "junk": (b"x" * 9000, b"", "unhealthy"),
    "a head without an end": (b"HTTP/1.1 200 OK\r\n", b"A: b\r\n" * 9000, "unhealthy"),
    "a field without an end": (b"HTTP/1.1 200 OK\r\nA: ", b"b" * 60_000, "unhealthy"),
    "interim answers without an end": (b"", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 9000, "unhealthy"),
    "a head of many fields": (b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 12_000 + b"\r\n", b"", "unhealthy"),
    "a huge body": (answer(200, b"", "Content-Length: 2000000000", length=False), b"x" * 60_000, "serving"),
    "a body of tiny chunks": (
        answer(200, b"", "Transfer-Encoding: chunked", length=False),
        b"1\r\nx\r\n" * 40_000,
        "serving",
    ),
    "an interim answer, then one": (b"HTTP/1.1 100 Continue\r\n\r\n" + answer(), b"", "serving"),
    "lines that end in LF": (b"HTTP/1.1 200 OK\nContent-Length: 0\n\n", b"", "serving"),
    "half a head, then its end": (b"HTTP/1.1 200 OK\r\nA:", None, "unhealthy"),
    "nothing": (b"", None, "unhealthy"),
}


@pytest.mark.waits("some more checks change nothing")
@pytest.mark.parametrize("said", ODD)
async def test_answers_to_checks_keep_nobody_waiting(start_bench, start_origin, said):
    """Whatever a server says to a check, and however much of it: its head is judged, nothing else is read."""
    begin, more, state = ODD[said]
    answered = 0

    async def script(visit):
        nonlocal answered
        await visit.request()
        answered += 1
        await visit.send(begin)
        while more:
            await visit.send(more)
        if more == b"":
            await visit.rest(within=60)

    async with innocent():
        bench = await start_bench(await start_origin(script), upstream=checking())
        await until(lambda: answered > 3)
        await until(lambda: states(bench) == [state])
        await asyncio.sleep(0.5)

    assert states(bench) == [state]


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


async def test_hundreds_of_servers_are_asked_in_turns(start_bench):
    """None of them is there; each is said to be ill."""
    servers = [f"http://127.0.0.1:{port}" for port in range(1000, 1300)]
    bench = await start_bench(*servers, upstream=checking(interval="1s", timeout="1s"))
    async with innocent():
        await until(lambda: states(bench).count("unhealthy") > 290, within=10.0)
