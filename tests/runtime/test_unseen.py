"""Nothing that a worker does beside requests ends unseen: a mistake of ours is told, and the work goes on."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import time
from typing import Any

import pytest
import yaml

from proxy import background
from proxy.background import keep_doing
from proxy.config.watcher import watch
from proxy.runtime import channel as words
from proxy.runtime import following
from proxy.runtime.following import Follower, Source
from proxy.runtime.forks import Fork, Process
from proxy.runtime.supervised import OrderedWorker
from proxy.runtime.worker import Worker
from proxy.runtime.worker_process import KeptWorker
from tests.support.patience import until
from tests.support.ports import free_port


@pytest.fixture(autouse=True)
def _short(monkeypatch):
    monkeypatch.setattr(background, "PAUSE", 0.01)


@pytest.fixture
def source(tmp_path):
    settings = {
        "listen": f"127.0.0.1:{free_port()}",
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
        "upstream": {"servers": ["http://127.0.0.1:1"]},
        "limits": [],
        "log": {"access": "off"},
        "drain": {"delay": "0s"},
    }
    path = tmp_path / "weir.yaml"
    path.write_text(yaml.safe_dump(settings))
    return Source.read(str(path))


class Failing:
    """Raises the first time it is called, then does as before."""

    def __init__(self, before: Any) -> None:
        self.calls = 0
        self._before = before

    def __call__(self, *args: Any, **more: Any) -> Any:
        self.calls += 1
        if self.calls == 1:
            raise ZeroDivisionError
        return self._before(*args, **more)


async def test_renewal_of_certificates_goes_on(source, caplog, monkeypatch):
    worker = Worker(source.reading.settings, source.path)
    renewals: Any = worker._renewals
    failing = Failing(renewals._credentials)
    monkeypatch.setattr(renewals, "_credentials", failing)
    await worker.start()
    try:
        await until(lambda: failing.calls > 1, "it was looked again")
    finally:
        await worker.stop()

    assert "ZeroDivisionError" in caplog.text


async def test_following_of_the_config_goes_on(source, caplog, monkeypatch):
    """The file is watched all the time, whatever breaks of it: the watch, or what follows from it."""
    reloads: list[object] = []

    class Service:
        async def reload(self, settings: object, text: str) -> None:  # noqa: ARG002 - the interface's
            reloads.append(settings)

        def refuse_reload(self, error: str) -> None:
            raise AssertionError(error)

        def reopen_logs(self) -> None: ...

    monkeypatch.setattr(following, "watch", Failing(watch))
    follower = Follower(Service(), source)
    monkeypatch.setattr(follower, "_watch", Failing(follower._watch))
    running = asyncio.create_task(keep_doing(following._log, follower.run))
    await until(lambda: caplog.text.count("ZeroDivisionError") >= 2, "both are told")
    with open(source.path, "a") as file:
        file.write("# more\n")
    await until(lambda: reloads, "it is read again")
    running.cancel()


async def test_worker_whose_reports_cannot_be_read_is_replaced(caplog):
    """Nobody would follow it any more."""
    ours, theirs = socket.socketpair()
    child = subprocess.Popen(["sleep", "60"])
    worker = KeptWorker(1, [], _greeting, Fork(Process(child.pid), ours))
    theirs.sendall((5).to_bytes(4, "big") + b"\xc1junk")
    code = await asyncio.wait_for(worker._live_once(), 10)
    theirs.close()
    child.returncode = code

    assert code == -signal.SIGKILL
    assert "crashed" in caplog.messages
    with pytest.raises(ProcessLookupError):
        os.kill(child.pid, 0)


@pytest.fixture
async def supervised(source):
    """A worker that obeys, and the supervisor's end of its channel."""
    ours, theirs = socket.socketpair()
    for sock in (ours, theirs):
        sock.settimeout(0)
    worker = Worker(source.reading.settings, source.path)
    await worker.start()
    channel = await words.orders(theirs)
    supervisor = await words.reports(ours)
    found: Any = OrderedWorker(worker, channel)
    living = asyncio.create_task(found.live())
    yield found, supervisor
    supervisor.say(words.Drain())
    await asyncio.wait_for(living, 20)
    await supervisor.close()
    await channel.close()


@pytest.mark.waits("an operation of a minute, which is cut short")
async def test_drain_does_not_wait_for_what_an_operator_does(supervised):
    """Looking through all keys of a large Redis may take a minute."""
    found, supervisor = supervised

    async def apply(*_: object) -> None:
        await asyncio.sleep(60)

    found._keys.apply = apply
    supervisor.say(words.Apply(1, time.monotonic() + 60, "reset", "per-user", b""))
    supervisor.say(words.Drain())
    await asyncio.wait_for(found._over.wait(), 20)


async def test_end_that_is_asked_for_twice_is_one(supervised, caplog):
    """By the supervisor and by a signal to the whole group, as systemd or a shell sends it."""
    found, supervisor = supervised
    caplog.set_level(logging.INFO, "weir")
    supervisor.say(words.Drain())
    supervisor.say(words.Drain())
    await asyncio.wait_for(found._over.wait(), 20)

    assert caplog.messages.count("draining") == 1
    assert caplog.messages.count("stopped") == 1


async def test_mistake_in_what_an_operator_does_ends_no_worker(supervised, caplog):
    """He is told that it failed."""
    found, supervisor = supervised

    async def apply(*_: object) -> None:
        raise ZeroDivisionError

    found._keys.apply = apply
    supervisor.say(words.Apply(1, time.monotonic() + 60, "reset", "per-user", b""))
    async with asyncio.timeout(10):
        while not isinstance(report := await supervisor.hear(), words.Applied):
            assert report is not None

    assert report.code == 500
    assert "ZeroDivisionError" in caplog.text
    assert not found._over.is_set()


async def test_order_that_comes_too_late_is_left_to_another(supervised):
    """Who slept meanwhile would block again whom somebody has released since."""
    found, supervisor = supervised
    applied = []

    async def apply(*order: object) -> dict[str, object]:
        applied.append(order)
        return {}

    found._keys.apply = apply
    supervisor.say(words.Apply(1, time.monotonic() - 0.01, "block", "per-user", b"{}"))
    supervisor.say(words.Apply(2, time.monotonic() + 60, "look", "per-user", b"{}"))
    async with asyncio.timeout(10):
        while not isinstance(report := await supervisor.hear(), words.Applied):
            assert report is not None

    assert applied == [("look", "per-user", b"{}")]
    assert report.number == 2


def _greeting(number: int, listeners: object) -> Any:  # noqa: ARG001 - the interface's
    return words.Start(number, "", "weir.yaml", [])
