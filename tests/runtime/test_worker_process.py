"""One worker's process, started again whatever ends it: with a real process, and patience made short."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys

import pytest

from proxy.config.loader import loads
from proxy.runtime import channel as words
from proxy.runtime import worker_process as module
from proxy.runtime.forks import Fork, ForkedWorkers
from proxy.runtime.sockets import AdminSockets, StartError, close_sockets
from proxy.runtime.supervisor import Supervisor
from proxy.runtime.worker_process import KeptWorker
from proxy.telemetry.reading import Reading
from tests.support.patience import until
from tests.support.weir import START_SECONDS

TEXT = 'listen: 127.0.0.1:1\nupstream: {servers: ["http://127.0.0.1:2"]}\nlimits: []\nlog: {access: off}\ndrain: {delay: 0s}\n'


class Text:
    """The config that the next start gets."""

    def __init__(self):
        self.text = TEXT

    def greeting(self, number, listeners):
        fds = [[sock.fileno() for sock in sockets] for sockets in listeners]
        return words.Start(number, self.text, "weir.yaml", fds)


@pytest.fixture
def text():
    return Text()


@pytest.fixture
async def worker(monkeypatch, text):
    """Not yet alive; ended at the end of the test."""
    monkeypatch.setattr(
        module, "_command", lambda fd: [sys.executable, "-m", "proxy", "worker", "--channel", str(fd)]
    )
    monkeypatch.setattr(module, "PAUSES", (0.0, 0.05, 0.1))
    listeners = [[socket.create_server(("127.0.0.1", 0))]]
    found = KeptWorker(1, listeners, text.greeting)
    yield found
    found.is_ending = True
    found.say(words.Drain())
    if found.is_alive:
        await until(lambda: not found.is_alive, "it ends")
    close_sockets(listeners)


@pytest.fixture
async def life(worker):
    task = asyncio.create_task(worker.live())
    async with asyncio.timeout(20):
        await worker.started
    yield task
    worker.is_ending = True
    worker.say(words.Drain())
    await asyncio.wait_for(task, 20)


async def test_hanging_worker_is_killed_and_replaced(monkeypatch, worker, life):
    """Its figures come every second; who is silent for longer does not turn."""
    await until(lambda: worker.readings()[1].counts, "its first figures")
    hanging = worker.pid
    await worker.tell(5.0)
    with monkeypatch.context() as impatient:  # who starts on a busy machine is silent for longer
        impatient.setattr(module, "SILENCE_SECONDS", 2.5)
        last = worker.readings()[1]
        await until(lambda: worker.readings()[1] is not last, "figures, from which on less silence is borne")
        os.kill(hanging, signal.SIGSTOP)
        await until(lambda: worker.restarts >= 1, "it is killed", within=40)
    await until(lambda: worker.is_ready, "another one", within=START_SECONDS)

    assert worker.pid != hanging


async def test_worker_that_cannot_start_again_is_tried_until_it_can(worker, life, text):
    """What was wrong with the machine may be mended; the first start alone ends it all."""
    text.text = TEXT.replace("access: off", "access: /no/folder/log")
    os.kill(worker.pid, signal.SIGKILL)
    await until(lambda: worker.restarts >= 3, "it was tried twice more", within=30)
    text.text = TEXT
    await until(lambda: worker.is_ready, "it starts", within=START_SECONDS)

    assert not life.done()


async def test_worker_that_cannot_be_forked_is_a_failed_start(monkeypatch, worker):
    monkeypatch.setattr(module, "_command", lambda _: ["/no/such/python"])
    await worker.live()

    with pytest.raises(StartError, match="worker 1 ended at once, with 1"):
        await worker.started


async def test_worker_that_ends_before_it_says_a_word_is_a_failed_start(monkeypatch, worker):
    monkeypatch.setattr(module, "_command", lambda _: [sys.executable, "-c", "raise SystemExit(7)"])
    await worker.live()

    with pytest.raises(StartError, match="worker 1 ended at once, with 7"):
        await worker.started


@pytest.mark.measured
async def test_worker_whose_config_cannot_be_read_any_more_says_why(worker, text):
    """A file that it refers to may be gone since the supervisor read it."""
    text.text = TEXT + "nonsense: 1\n"
    await worker.live()

    with pytest.raises(StartError, match="nonsense"):
        await worker.started


@pytest.mark.measured
async def test_worker_that_is_told_nothing_ends_by_itself():
    """Its supervisor ended first."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "proxy", "worker", "--channel", str(theirs.fileno()),
            pass_fds=(theirs.fileno(),),
        )  # fmt: skip
    ours.close()

    assert await asyncio.wait_for(process.wait(), START_SECONDS) == 0


@pytest.mark.measured
async def test_reload_that_a_worker_cannot_follow_changes_nothing(worker, life):
    """A file that the config refers to may be gone since the supervisor read it; the figures tell."""

    def is_good():
        return worker.readings()[1].counts.get("weir_config_last_reload_successful", {}).get(())

    await until(lambda: is_good() == 1, "its first figures")
    worker.say(words.Reload(TEXT + "nonsense: 1\n"))
    await until(lambda: is_good() == 0, "the bad config is told")
    worker.say(words.Reload(TEXT))
    await until(lambda: is_good() == 1, "the good one is followed")

    assert worker.restarts == 0


async def test_mistake_in_what_is_done_to_a_key_is_answered(worker, life):
    """Somebody waits for it; the worker serves on."""
    answer = await asyncio.wait_for(worker.apply("no such verb", "a", b""), 20)

    assert (answer.code, answer.told) == (500, {"detail": "it failed"})
    assert worker.restarts == 0


async def test_end_is_heard_while_a_worker_waits_to_start_again(monkeypatch, worker):
    """None is started any more."""
    monkeypatch.setattr(module, "_command", lambda _: ["/no/such/python"])
    worker.started.set_result(None)
    living = asyncio.create_task(worker.live())
    await until(lambda: worker.restarts >= 2, "it is tried again")
    worker.is_ending = True
    await asyncio.wait_for(living, 20)
    tried = worker.restarts
    await asyncio.sleep(0)

    assert worker.restarts == tried


class Played:
    """A process that a test plays: it lives as long as the test says."""

    pid = 0
    returncode = None

    def __init__(self):
        self._is_over = asyncio.Event()

    async def wait(self):
        await self._is_over.wait()
        return self.returncode

    def kill(self):
        self.returncode = -signal.SIGKILL
        self._is_over.set()


@pytest.fixture
async def played():
    """A worker, and its end of the channel."""
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)
    process = Played()
    worker = KeptWorker(1, [], Text().greeting, Fork(process, ours))
    living = asyncio.create_task(worker.live())
    channel = await words.orders(theirs)
    await channel.hear()
    channel.say(words.Ready())
    await worker.started
    yield worker, channel
    worker.is_ending = True
    process.kill()
    await channel.close()
    await asyncio.wait_for(living, 20)


async def test_worker_that_is_heard_may_take_its_time_over_a_reset(played, monkeypatch):
    """Looking through all keys of a large Redis may take a minute; only who is silent is given up."""
    monkeypatch.setattr(module, "APPLY_SECONDS", 0.1)
    worker, channel = played
    asking = asyncio.create_task(worker.apply("reset", "a", b""))
    order = await channel.hear()
    began = asyncio.get_running_loop().time()
    while asyncio.get_running_loop().time() < began + 3 * module.APPLY_SECONDS:
        channel.say(words.Figures(Reading({}, {}), {}))
        await asyncio.sleep(0.01)
    channel.say(words.Applied(order.number, 200, {"reset": 7}))

    assert (await asyncio.wait_for(asking, 20)).told == {"reset": 7}


async def test_answer_that_nobody_waits_for_any_more_is_not_the_next_ones(played):
    worker, channel = played
    gone = asyncio.create_task(worker.apply("look", "a", b""))
    first = await channel.hear()
    gone.cancel()
    asking = asyncio.create_task(worker.apply("look", "b", b""))
    second = await channel.hear()
    channel.say(words.Applied(first.number, 200, {"tokens": 1}))
    channel.say(words.Applied(second.number, 200, {"tokens": 2}))

    assert (await asyncio.wait_for(asking, 20)).told == {"tokens": 2}


async def test_worker_that_is_gone_answers_nobody(played):
    worker, channel = played
    asking = asyncio.create_task(worker.apply("look", "a", b""))
    await channel.hear()
    await channel.close()

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(asking, 20)
    with pytest.raises(ConnectionError):  # at once: nobody is there who would ever answer
        await asyncio.wait_for(worker.apply("look", "a", b""), 0.5)


async def test_reset_of_a_worker_that_dies_is_a_broken_connection(worker, life):
    os.kill(worker.pid, signal.SIGSTOP)
    asking = asyncio.create_task(worker.apply("reset", "a", b""))
    await asyncio.sleep(0)
    os.kill(worker.pid, signal.SIGKILL)

    with pytest.raises(ConnectionError):
        await asyncio.wait_for(asking, 20)


async def test_stop_waits_for_no_worker_that_waits_to_start_again(monkeypatch):
    """However long its pause is."""
    monkeypatch.setattr(module, "PAUSES", (60.0, 60.0))
    ours, theirs = socket.socketpair()
    theirs.settimeout(0)
    process = Played()
    forked = ForkedWorkers([[]], AdminSockets([], []), [Fork(process, ours)])
    supervisor = Supervisor(loads(TEXT, "weir.yaml", {}), "weir.yaml", TEXT, forked)
    starting = asyncio.create_task(supervisor.start())
    channel = await words.orders(theirs)
    await channel.hear()
    channel.say(words.Ready())
    await starting
    process.kill()
    await channel.close()
    (worker,) = supervisor._workers
    await until(lambda: worker.restarts == 1, "it waits to start again")
    async with asyncio.timeout(20):
        await supervisor.stop()

    assert all(life.cancelled() for life in supervisor._lives)
