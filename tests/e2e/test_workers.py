"""Several workers are one Weir: one port, one count, one scrape; a death hurts nobody else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time

import pytest
from prometheus_client.parser import text_string_to_metric_families

from proxy.config.plan_keys import key_hash
from tests.support.messages import answer, get
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.weir import run
from tests.support.wire import CLEAN

SETTINGS = {"workers": 2}


def workers(weir, headers=None):
    return weir.admin("/status", headers=headers).json()["workers"]


def is_gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def silent(visit):
    await visit.request()
    await visit.left()


async def served_by_each(weir, connect):
    """Connections until each worker has one, with a request answered on each: by worker."""
    wires = {}
    for _ in range(64):
        before = {worker["number"]: worker["connections"] for worker in workers(weir)}
        wire = await connect(weir)
        await wire.send(get())
        await wire.response()
        for worker in workers(weir):
            if worker["connections"]["downstream_idle"] > before[worker["number"]]["downstream_idle"]:
                wires.setdefault(worker["number"], wire)
        if len(wires) == 2:
            return wires
    raise AssertionError("one worker got no connection of 64")


# --- one Weir ---


async def test_every_request_is_counted_once(weir, origin, ask):
    """Whoever served it, in one scrape and one status."""
    before = weir.metrics().total("weir_requests_total")
    for _ in range(30):
        assert (await ask(weir, get())).status == 200
    metrics = weir.metrics()
    families = list(text_string_to_metric_families(metrics.text))  # every line can be read

    assert metrics.total("weir_requests_total") - before == 30
    assert metrics.total("weir_workers") == 2
    assert metrics.total("weir_build_info") == 1
    assert "weir_requests" in [family.name for family in families]
    assert weir.admin("/readyz").json()["workers"] == {"ready": 2, "of": 2}


@pytest.mark.measured
async def test_both_workers_serve(weir, origin, connect):
    assert len(await served_by_each(weir, connect)) == 2


async def test_workers_choose_different_request_ids(weir, origin, connect):
    """They begin as copies of one process, but not of its random numbers."""
    ids = []
    for wire in (await served_by_each(weir, connect)).values():
        for _ in range(5):
            await wire.send(get())
            ids.append((await wire.response()).value("X-Request-Id"))
    assert len(set(ids)) == 10


async def test_reload_reaches_every_worker(weir, origin, connect):
    """Also on connections that were open before; a bad file is told and changes nothing."""
    wires = await served_by_each(weir, connect)
    weir.write_config({"contract": {"allow_methods": ["POST"]}})
    await until(
        lambda: sum(line["event"] == "reloaded" for line in weir.log()) >= 2, "both workers have reloaded"
    )
    for wire in wires.values():
        await wire.send(get())
        assert (await wire.response()).status == 405
    weir.config.write_text("nonsense: 1\n")
    weir.signal(signal.SIGHUP)
    await weir.logged(lambda line: line["event"] == "reload_refused")
    await until(
        lambda: weir.metrics().total("weir_config_last_reload_successful") == 0, "the bad file is seen"
    )
    weir.write_config({"contract": {"allow_methods": []}})
    await until(
        lambda: weir.metrics().total("weir_config_last_reload_successful") == 1, "the good file is seen"
    )


@pytest.mark.measured
async def test_limit_in_redis_is_exact_over_workers(start_weir, start_origin, redis, ask):
    """15 of 40, wherever they arrive; and an operator can give the tokens back."""
    origin = await start_origin()
    weir = start_weir(
        {
            "workers": 2,
            "store": {"url": redis.url, "timeout": "2s"},
            "admin": {"token": "t0ken"},
            "limits": [{"name": "all", "rate": "15/h", "key": ["const"]}],
        },
        upstream=origin,
    )
    found = [(await ask(weir, get())).status for _ in range(40)]
    reset = weir.admin("/limits/all/reset", "POST", {"Authorization": "Bearer t0ken"})
    unknown = weir.admin("/limits/none/reset", "POST", {"Authorization": "Bearer t0ken"})

    assert (found.count(200), found.count(429)) == (15, 25)
    assert (reset.status, reset.json()["reset"]) == (200, 1)
    assert unknown.status == 404


@pytest.mark.measured
async def test_frozen_worker_keeps_no_operator_waiting(start_weir, start_origin, redis, ask):
    """Another one does it; the frozen one does not do it late, when it goes on."""
    weir = start_weir(
        {
            "workers": 2,
            "store": {"url": redis.url, "timeout": "2s"},
            "admin": {"token": "t0ken"},
            "limits": [{"name": "all", "rate": "1000/h", "key": ["const"]}],
        },
        upstream=await start_origin(),
    )

    def applied(verb):
        body = {"const": "", "for": "10m"} if verb == "block" else {"const": ""}
        began = time.monotonic()
        reply = weir.admin(f"/limits/all/{verb}", "POST", {"Authorization": "Bearer t0ken"}, json.dumps(body))
        return reply.status, time.monotonic() - began

    told = {"Authorization": "Bearer t0ken"}
    (frozen, _) = [worker["pid"] for worker in weir.admin("/status", headers=told).json()["workers"]]
    os.kill(frozen, signal.SIGSTOP)
    try:
        block, released = applied("block"), applied("release")
    finally:
        os.kill(frozen, signal.SIGCONT)
    # Its next figures come behind what it may have done late.
    await until(lambda: len(weir.log_text().split('"limit_release"')) > 1, "the release")
    statuses = [(await ask(weir, get())).status for _ in range(20)]

    assert (block[0], released[0]) == (200, 200)
    assert max(block[1], released[1]) < 10  # of the 30 s after which it would be killed
    assert set(statuses) == {200}
    assert weir.log_text().count('"limit_block"') == 1


# --- deaths ---


async def test_killed_worker_is_replaced(weir, origin, connect):
    """The other's connections live on, what it counted stays, and the port is never refused."""
    wires = await served_by_each(weir, connect)
    counted = weir.metrics().total("weir_requests_total")
    victim = workers(weir)[0]
    os.kill(victim["pid"], signal.SIGKILL)
    fresh = [await connect(weir) for _ in range(16)]
    for wire in fresh:  # those of the dead worker's queue wait for the new one
        await wire.send(get())
    for wire in fresh:
        assert (await wire.response()).status == 200
    await wires[2].send(get())
    assert (await wires[2].response()).status == 200
    await until(lambda: weir.metrics().total("weir_workers") == 2, "a new worker")
    replaced = workers(weir)[0]

    assert replaced["restarts"] == victim["restarts"] + 1
    assert replaced["pid"] != victim["pid"]
    assert weir.metrics().total("weir_worker_restarts_total") == replaced["restarts"]
    assert weir.metrics().total("weir_requests_total") == counted + 17


async def test_worker_can_be_drained_alone(weir, origin, connect):
    """SIGTERM to it: what it runs is finished, and another takes its place."""
    wires = await served_by_each(weir, connect)
    victim = workers(weir)[1]
    os.kill(victim["pid"], signal.SIGTERM)
    await wires[2].rest()

    assert wires[2].end == CLEAN
    await until(lambda: workers(weir)[1]["pid"] != victim["pid"], "another worker")
    ended = await weir.logged(lambda line: line["event"] == "worker_ended" and line["code"] == 0)
    assert ended["level"] == "info"
    await until(lambda: weir.metrics().total("weir_workers") == 2, "it is ready")


@pytest.mark.measured
async def test_workers_do_not_outlive_their_supervisor(new_weir, start_origin):
    """Or the next Weir would find the port in use."""
    weir = new_weir(SETTINGS, upstream=await start_origin())
    weir.start()
    pids = [worker["pid"] for worker in workers(weir)]
    weir.signal(signal.SIGKILL)
    weir.wait()

    await until(lambda: all(is_gone(pid) for pid in pids), "the workers have ended")


# --- nobody is there ---

OPERATOR = {"Authorization": "Bearer t0ken"}


@pytest.fixture
async def planned(start_weir, start_origin, redis, tmp_path):
    """Two workers whose config refers to a file; without it none can start again."""
    keys = tmp_path / "big.keys"
    keys.write_text(key_hash("ann") + "\n")
    weir = start_weir(
        {
            "workers": 2,
            "store": {"url": redis.url, "timeout": "2s"},
            "admin": {"token": "t0ken"},
            "plans": [{"name": "big", "rate": "99/h", "keys_file": str(keys)}],
            "limits": [{"name": "all", "rate": "15/h", "key": ["header:X-Auth-Token"], "plans": ["big"]}],
        },
        upstream=await start_origin(),
    )
    return weir, keys


async def lose_all(weir, keys):
    """The file, and with it every worker."""
    keys.unlink()
    for worker in workers(weir, OPERATOR):
        os.kill(worker["pid"], signal.SIGKILL)
    await weir.logged(lambda line: line["event"] == "cannot_start" and str(keys) in line["reason"])
    await until(lambda: weir.readiness() == 503, "nobody is ready")


async def test_operator_is_told_that_no_worker_is_ready(planned):
    """They are tried until they can start."""
    weir, keys = planned
    await lose_all(weir, keys)
    reset = weir.admin("/limits/all/reset", "POST", OPERATOR)
    keys.write_text(key_hash("ann") + "\n")
    await until(lambda: all(worker["ready"] for worker in workers(weir, OPERATOR)), "they are back")

    assert (reset.status, reset.json()["detail"]) == (503, "no worker is ready")
    assert weir.admin("/limits/all/reset", "POST", OPERATOR).status == 200


async def test_weir_whose_workers_cannot_start_ends_when_it_is_told(planned):
    """One that waits for its next try is not waited for."""
    weir, keys = planned
    await lose_all(weir, keys)
    weir.signal(signal.SIGTERM)

    assert await asyncio.to_thread(weir.wait) == 0


@pytest.mark.measured
async def test_operator_is_told_when_the_worker_dies_that_was_asked(planned):
    """What was asked for may have been done, or not."""
    weir, _ = planned
    pids = [worker["pid"] for worker in workers(weir, OPERATOR)]
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    asking = asyncio.create_task(asyncio.to_thread(weir.admin, "/limits/all/reset", "POST", OPERATOR))
    await asyncio.to_thread(workers, weir, OPERATOR)  # takes a second, since nobody tells anything
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    answer = await asking

    assert (answer.status, answer.json()["detail"]) == (503, "no worker is ready")


@pytest.mark.measured
async def test_reload_with_a_certificate_that_is_none_is_refused_for_all(start_weir, tmp_path):
    """By the supervisor, before a worker hears of it."""
    weir = start_weir(SETTINGS, upstream=f"https://127.0.0.1:{free_port()}")
    ca = tmp_path / "ca.pem"
    ca.write_text("no certificate")
    weir.write_config({"upstream": {"tls": {"ca": str(ca)}}})
    refused = await weir.logged(
        lambda line: line["event"] == "reload_refused" and "upstream.tls" in str(line)
    )
    status = weir.admin("/status").json()

    assert refused["logger"] == "weir.supervisor"
    assert str(ca) in str(refused["mistakes"])
    assert not status["config"]["last_reload"]["successful"]


@pytest.mark.measured
async def test_change_that_waits_for_a_restart_is_told_once(start_weir, start_origin):
    """By the supervisor, for all of its workers."""
    weir = start_weir(SETTINGS, upstream=await start_origin())
    weir.write_config({"workers": 3})
    told = await weir.logged(lambda line: line["event"] == "restart_needed")

    assert (told["logger"], told["settings"]) == ("weir.supervisor", ["workers"])
    assert len(workers(weir)) == 2


# --- the end ---


async def asking(weir, origin, connect):
    """Sixteen clients, whose requests the service has."""
    wires = [await connect(weir) for _ in range(16)]
    for wire in wires:
        await wire.send(get())
    await origin.visit(15)
    return wires


async def drained(weir):
    """Its drain has begun."""
    weir.signal(signal.SIGTERM)
    await until(lambda: weir.readiness() == 503, "draining")


@pytest.mark.afresh
async def test_drain_lets_running_requests_of_all_workers_finish(start_weir, start_origin, connect):
    may_answer = asyncio.Event()

    async def script(visit):
        await visit.request()
        await may_answer.wait()
        await visit.send(answer())

    origin = await start_origin(script)
    weir = start_weir(SETTINGS, upstream=origin)
    pids = [worker["pid"] for worker in workers(weir)]
    wires = await asking(weir, origin, connect)
    await drained(weir)
    may_answer.set()
    statuses = [(await wire.response()).status for wire in wires]

    assert statuses == [200] * 16
    assert await asyncio.to_thread(weir.wait) == 0
    assert all(is_gone(pid) for pid in pids)


async def test_second_signal_ends_all_at_once(start_weir, start_origin):
    weir = start_weir({"workers": 2, "drain": {"delay": "20s"}}, upstream=await start_origin())
    pids = [worker["pid"] for worker in workers(weir)]
    await drained(weir)
    weir.signal(signal.SIGTERM)

    assert await asyncio.to_thread(weir.wait, within=8.0) == 0
    assert all(is_gone(pid) for pid in pids)


@pytest.mark.measured
async def test_what_a_second_signal_cuts_off_is_in_the_log(start_weir, start_origin, connect):
    """Each worker tells of its own exchanges before it goes."""
    origin = await start_origin(silent)
    weir = start_weir({"workers": 2, "drain": {"delay": "20s"}}, upstream=origin)
    await asking(weir, origin, connect)
    await drained(weir)
    weir.signal(signal.SIGTERM)
    assert await asyncio.to_thread(weir.wait) == 0

    assert len(weir.access_lines()) == 16
    assert sum(line["event"] == "halted" for line in weir.log()) == 3  # of the supervisor too


# --- bad input ---


def test_limits_in_memory_and_several_workers_are_refused(tmp_path):
    """With the reason: each would grant the whole."""
    path = tmp_path / "weir.yaml"
    path.write_text('workers: 2\nupstream: {servers: ["http://127.0.0.1:9000"]}\n')
    done = run("run", "--config", str(path))

    assert done.returncode == 2
    assert f"{path}:1:10: workers: 2 processes would each grant the whole of every limit" in done.stderr


@pytest.mark.measured
def test_auto_with_limits_in_memory_is_one(start_weir):
    weir = start_weir({"workers": "auto", "limits": [{"name": "a", "rate": "5/s"}]})

    assert "workers" not in weir.admin("/status").json()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"listen": {"address": "127.0.0.1:0", "tls": {"cert": "/no/cert", "key": "/no/key"}}}, "listen.tls.cert"),
        ({"log": {"access": "/no/folder/access.log"}}, "log.access: cannot write to /no/folder/access.log"),
    ],
)  # fmt: skip
@pytest.mark.afresh
@pytest.mark.measured
def test_worker_that_cannot_start_ends_the_start(new_weir, changes, said):
    """One line that names the setting, and exit code 1: not one for each worker, and no second try."""
    weir = new_weir({"workers": 2, **changes})
    weir.launch()
    code = weir.wait()
    errors = [line for line in weir.log() if line.get("level") != "info"]

    assert code == 1
    assert len(errors) == 1, errors
    assert said in errors[0]["reason"]


def test_port_in_use_is_an_error_also_when_it_is_shared(start_weir, new_weir):
    port = free_port()
    start_weir({"workers": 2, "listen": f"127.0.0.1:{port}"})
    second = new_weir({"workers": 2, "listen": f"127.0.0.1:{port}"})
    second.launch()

    assert second.wait() == 1
    assert f"listen: cannot listen on 127.0.0.1:{port}: address already in use" in second.log_text()
