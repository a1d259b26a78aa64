"""Descriptors: as many as the settings need, if the system has them; else a 503 for clients that are too many."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl

import pytest

from tests.support.messages import get
from tests.support.patience import until


def bounded(weir, limits):
    weir.inside = ["/bin/sh", "-c", f'ulimit {limits}; exec "$@"', "sh"]
    weir.start()
    return weir


def idle(weir, count):
    return [socket.create_connection(("127.0.0.1", weir.port), timeout=20) for _ in range(count)]


def known(weir):
    return sum(
        weir.metrics().total("weir_connections", side="downstream", state=state)
        for state in ("active", "idle")
    )


async def test_soft_limit_is_raised_at_the_start(new_weir, start_origin, ask):
    """It is there for programs that use select(), which Weir does not."""
    weir = bounded(new_weir(upstream=await start_origin()), "-Sn 200")
    crowd = idle(weir, 300)
    await until(lambda: known(weir) == 300, "all are there")

    assert (await ask(weir, get())).status == 200
    assert weir.admin("/healthz").status == 200
    assert "few_descriptors" not in weir.log_text()
    for sock in crowd:
        sock.close()


@pytest.mark.measured
async def test_hard_limit_that_is_too_low_costs_clients_a_503(new_weir, start_origin, connect):
    """Told at the start. Who is there is served, the admin plane answers, and the service is not blamed."""
    weir = bounded(new_weir(upstream=await start_origin()), "-n 300")
    kept = [await connect(weir) for _ in range(29)]  # of 300 - 256, two thirds
    for wire in kept:
        await wire.send(get())
        assert (await wire.response()).status == 200
    crowd = idle(weir, 300)
    told = [sock.recv(100) for sock in crowd]
    for wire in kept:
        await wire.send(get())
    answers = [await wire.response() for wire in kept]

    assert {line[:13] for line in told} == {b"HTTP/1.1 503 "}
    assert [answer.status for answer in answers] == [200] * 29
    assert weir.admin("/healthz").status == 200
    assert weir.metrics().total("weir_refused_heads_total", reason="too_many_connections") == 300
    (warning,) = [line for line in weir.log() if line["event"] == "few_descriptors"]
    assert (warning["limit"], warning["connections"]) == (300, 29)
    assert not [line for line in weir.log() if line["event"] == "server_down"]
    for sock in crowd:
        sock.close()


@pytest.mark.measured
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("workers", [1, 2])
async def test_standard_streams_that_were_closed_are_nobody_elses(
    workers, closed, new_weir, start_origin, ask
):
    """Nothing that Weir opens is descriptor 0 to 2, where its logs would be written into it; its end is clean."""
    weir = new_weir({"workers": workers, "log": {"access": "stdout"}}, upstream=await start_origin())
    weir.inside = ["sh", "-c", f'exec "$@" {closed}', "sh"]
    weir.start()
    status = weir.admin("/status").json()
    pids = [worker["pid"] for worker in status.get("workers", [])] or [weir.pid]
    statuses = [(await ask(weir, get())).status for _ in range(4)]
    found = {os.readlink(f"/proc/{pid}/fd/{number}") for pid in {weir.pid, *pids} for number in range(3)}
    weir.stop()  # exit code 0

    assert statuses == [200] * 4
    assert found <= {"/dev/null", str(weir.folder / "stdout.log"), str(weir.folder / "stderr.log")}


@pytest.mark.measured
async def test_hard_limit_that_is_too_low_harms_nobody_who_is_there_by_tls(new_weir, start_origin, papers):
    """Three hundred more begin a handshake and say nothing: bounded before anybody knows of them."""
    cert, key = papers.issue("DNS:localhost")
    weir = new_weir(upstream=await start_origin())
    tls = {"cert": str(cert), "key": str(key)}
    weir.write_config({"listen": [{"address": f"127.0.0.1:{weir.port}", "tls": tls}]})
    weir = bounded(weir, "-n 300")
    context = ssl.create_default_context(cafile=str(papers.ca))
    kept = await asyncio.to_thread(secured, weir, context, 29)
    crowd = idle(weir, 300)
    for sock in crowd:
        sock.send(b"\x16\x03\x01\x02\x00")
    said = [await asyncio.to_thread(says, sock) for sock in kept]
    for sock in crowd:
        sock.close()
    one_more = await asyncio.to_thread(secured, weir, context, 1)
    said += [await asyncio.to_thread(says, sock) for sock in one_more]
    for sock in [*kept, *one_more]:
        sock.close()

    assert said == [b"HTTP/1.1 200 "] * 29 + [b"HTTP/1.1 503 "]
    assert weir.admin("/healthz").status == 200
    assert not [line for line in weir.log() if line["event"] == "server_down"]


def secured(weir, context, count):
    """So many connections whose handshake is done."""
    return [
        context.wrap_socket(
            socket.create_connection(("127.0.0.1", weir.port), timeout=20), server_hostname="localhost"
        )
        for _ in range(count)
    ]


def says(sock):
    """The begin of its answer to a request."""
    sock.sendall(get())
    return sock.recv(13)
