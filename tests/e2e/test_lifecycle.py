"""Restarts, deaths and reloads under load, and what the service manager is told."""

from __future__ import annotations

import asyncio
import os
import signal
import socket

import pytest

from tests.support.crowd import crowd
from tests.support.messages import answer
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.ports import free_port

CLIENTS = 12
ANSWER_SECONDS = float(os.environ.get("TEST_ANSWER_SECONDS", "0.3"))


async def slow(_):
    await asyncio.sleep(ANSWER_SECONDS)
    return answer()


@pytest.fixture
def given():
    """A socket that listens, as systemd's would."""
    with socket.create_server(("127.0.0.1", free_port()), backlog=256) as sock:
        yield sock


# --- under load ---


@pytest.mark.parametrize("workers", [1, 2])
async def test_restart_with_a_given_socket_fails_nobody(new_weir, start_origin, given, workers):
    """SIGTERM, and another one on the same socket: who comes in between waits."""
    port = given.getsockname()[1]
    weir = new_weir(
        {"listen": f"127.0.0.1:{port}", "workers": workers}, upstream=await start_origin(answering(slow))
    )
    await asyncio.to_thread(weir.start, given)
    async with crowd(port, CLIENTS) as people:
        for _ in range(2):
            weir.signal(signal.SIGTERM)
            assert await asyncio.to_thread(weir.wait) == 0
            await asyncio.to_thread(weir.start, given)

    assert people.failures == []
    assert people.served > 3 * CLIENTS


async def test_drain_fails_nobody_who_is_answered(start_weir, start_origin):
    """Without anybody to take over: every request that was taken is answered, then the port is refused."""
    weir = start_weir(
        {"workers": 2, "drain": {"delay": "500ms"}}, upstream=await start_origin(answering(slow))
    )
    async with crowd(weir.port, CLIENTS) as people:
        weir.signal(signal.SIGTERM)
        assert await asyncio.to_thread(weir.wait) == 0

    assert {failure.split("(")[0] for failure in people.failures} == {"ConnectionRefusedError"}


async def test_killed_worker_costs_its_own_requests_only(start_weir, start_origin):
    """And nobody is refused: who connects meanwhile waits for the new one."""
    weir = start_weir({"workers": 2}, upstream=await start_origin(answering(slow)))
    async with crowd(weir.port, CLIENTS) as people:
        victim = weir.admin("/status").json()["workers"][0]
        os.kill(victim["pid"], signal.SIGKILL)
        await until(lambda: weir.metrics().total("weir_worker_restarts_total") == 1, "it is seen")
        await until(lambda: weir.metrics().total("weir_workers") == 2, "another one")

    assert len(people.failures) <= victim["connections"]["downstream_active"] + CLIENTS // 4
    assert not [failure for failure in people.failures if "Refused" in failure or "AssertionError" in failure]


async def test_reload_fails_nobody(start_weir, start_origin):
    """Of either worker, with a new upstream in the middle of answers."""
    first, second = await start_origin(answering(slow)), await start_origin(answering(slow))
    weir = start_weir({"workers": 2}, upstream=first)
    async with crowd(weir.port, CLIENTS) as people:
        for origin in (second, first):
            weir.write_config({"upstream": {"servers": [origin.url]}})
            visits = len(origin.visits)
            await until(lambda: len(origin.visits) > visits, "the other server is asked")  # noqa: B023 - awaited within the round

    assert people.failures == []
    assert second.requests


async def test_restart_of_redis_fails_nobody(start_weir, start_origin, redis):
    """Meanwhile each worker counts by itself."""
    limit = {"name": "per-user", "key": ["header:X-Auth-Token"], "rate": "1000/s"}
    settings = {"workers": 2, "store": {"url": redis.url}, "limits": [limit]}
    weir = start_weir(settings, upstream=await start_origin(answering(slow)))
    async with crowd(weir.port, CLIENTS) as people:
        await asyncio.to_thread(redis.stop)
        await until(lambda: weir.metrics().total("weir_store_up") == 0, "it is missed")
        await asyncio.to_thread(redis.start)
        await until(lambda: weir.metrics().total("weir_store_up") == 1, "it is back")

    assert people.failures == []


# --- given sockets ---


@pytest.mark.measured
@pytest.mark.parametrize("workers", [1, 2])
def test_given_socket_that_no_setting_has_is_an_error(new_weir, given, workers):
    """Or it would take connections that nobody answers."""
    weir = new_weir({"workers": workers})
    weir.launch(given)

    assert weir.wait() == 1
    port = given.getsockname()[1]
    assert (
        f"LISTEN_FDS: {port} was handed over, but none of listen, admin.listen, admin.probes has it"
        in weir.log_text()
    )


@pytest.mark.measured
@pytest.mark.parametrize("kind", ["file", "datagram", "not listening"])
def test_descriptor_that_does_not_listen_is_one_line(new_weir, kind):
    """No traceback: whoever starts Weir reads what was handed over."""
    types = {"datagram": socket.SOCK_DGRAM, "not listening": socket.SOCK_STREAM}
    with open(os.devnull, "rb") if kind == "file" else socket.socket(type=types[kind]) as given:
        weir = new_weir()
        weir.launch(given)

        assert weir.wait() == 1
    lines = weir.log_text().splitlines()
    assert len(lines) == 1
    assert "LISTEN_FDS: descriptor 3 is no socket that listens" in lines[0]


# --- the service manager ---


@pytest.fixture
def manager(tmp_path):
    """What systemd listens on."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(20)
        yield sock


@pytest.mark.afresh
@pytest.mark.parametrize("workers", [1, 2])
def test_manager_is_told_of_start_life_and_end(new_weir, manager, workers):
    """READY only when requests are served; the workers do not speak."""
    weir = new_weir({"workers": workers})
    weir.launch(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="200000")
    heard = [manager.recv(100)]
    assert weir.readiness() == 200
    heard += [manager.recv(100) for _ in range(3)]
    weir.signal(signal.SIGTERM)
    while (word := manager.recv(100)) == b"WATCHDOG=1":
        pass

    assert heard == [b"READY=1", b"WATCHDOG=1", b"WATCHDOG=1", b"WATCHDOG=1"]
    assert word == b"STOPPING=1"
    assert weir.wait() == 0


def test_manager_hears_nothing_of_a_loop_that_hangs(new_weir, manager):
    weir = new_weir()
    weir.launch(NOTIFY_SOCKET=manager.getsockname(), WATCHDOG_USEC="200000")
    assert [manager.recv(100), manager.recv(100)] == [b"READY=1", b"WATCHDOG=1"]
    weir.signal(signal.SIGSTOP)
    manager.settimeout(1.0)
    with pytest.raises(TimeoutError):  # what was sent before is heard first
        while True:
            manager.recv(100)
    weir.signal(signal.SIGCONT)


def test_failed_start_is_never_ready(new_weir, manager):
    weir = new_weir({"log": {"access": "/no/folder/file"}})
    weir.launch(NOTIFY_SOCKET=manager.getsockname())

    assert weir.wait() == 1
    manager.settimeout(0)
    with pytest.raises(BlockingIOError):
        manager.recv(100)
