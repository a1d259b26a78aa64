"""A worker under a supervisor: serves on the sockets it is given and does as it is told.

It has no admin plane and watches no file. SIGTERM drains this worker alone; the terminal's signals are the
supervisor's. If the supervisor is gone, so is what the worker would be told: it ends after what runs.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import time
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import uvloop

from proxy.admin.buckets import KeyVerbs, NotAppliedError
from proxy.config.exits import EXIT_FAILED, EXIT_OK
from proxy.config.loader import loads
from proxy.config.mistakes import ConfigError
from proxy.runtime import channel, heap
from proxy.runtime.channel import orders
from proxy.runtime.following import beside_the_loop
from proxy.runtime.sockets import StartError, WorkerSockets
from proxy.runtime.worker import Worker
from proxy.telemetry import log
from proxy.telemetry.log import event
from proxy.telemetry.reading import reading

if TYPE_CHECKING:
    from proxy.runtime.channel import Channel, Order
    from proxy.telemetry.sights import Sights

REPORT_SECONDS = 1.0

_log = logging.getLogger("weir.worker")


def run_supervised(fd: int) -> int:
    """Serves until told otherwise; the exit code."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    return uvloop.run(_serve(socket.socket(fileno=fd)))


async def _serve(sock: socket.socket) -> int:
    supervisor = await orders(sock)
    start = await supervisor.hear()
    if not isinstance(start, channel.Start):
        return EXIT_OK  # the supervisor ended first
    try:
        settings = loads(start.text, start.file)
    except ConfigError as error:  # a file that it refers to has changed since
        supervisor.say(channel.Failed(str(error)))
        await supervisor.close()
        return EXIT_FAILED
    log.configure(settings.log.level, settings.log.program, worker=start.number)
    own = WorkerSockets([[_adopted(fd) for fd in fds] for fds in start.listeners], admin=None)
    try:
        worker = Worker(settings, start.file, own)
        await worker.start()
    except StartError as error:
        supervisor.say(channel.Failed(str(error)))
        await supervisor.close()
        own.close()
        return EXIT_FAILED
    heap.keep()
    supervisor.say(channel.Ready())
    await OrderedWorker(worker, supervisor).live()
    await supervisor.close()
    return EXIT_OK


def _adopted(fd: int) -> socket.socket:
    sock = socket.socket(fileno=fd)
    sock.settimeout(0)
    return sock


class OrderedWorker:
    def __init__(self, worker: Worker, supervisor: Channel[Order]) -> None:
        self._worker = worker
        self._supervisor = supervisor
        self._keys = KeyVerbs(worker.parts.store.keys, lambda: worker.parts.shared.rules.limits)
        self._ending: asyncio.Task[None] | None = None
        self._applying: asyncio.Task[None] | None = None
        self._is_orphan = False
        self._over = asyncio.Event()

    async def live(self) -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self._end)
        parts = (self._tell_regularly(), self._listen(), self._over.wait())
        tasks = [asyncio.create_task(part) for part in parts]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        if self._ending is not None and self._ending.done() and not self._ending.cancelled():
            done.add(self._ending)
        for task in done:
            task.result()  # a mistake of ours ends the process, and the supervisor starts another

    async def _listen(self) -> None:
        while (order := await self._supervisor.hear()) is not None:
            await self._obey(order)
        self._is_orphan = True
        self._end()
        await self._over.wait()

    async def _obey(self, order: Order) -> None:
        worker = self._worker
        match order:
            case channel.Drain():
                self._end()
            case channel.Halt():
                await self._halt()
            case channel.Reload():
                await self._reload(order.text)
            case channel.RefuseReload():
                worker.note_refusal(order.error)
            case channel.Reopen():
                worker.reopen_logs()
            case channel.Apply():
                # It may take long, and a drain does not wait for it.
                self._applying = asyncio.create_task(self._apply(order))
            case channel.Tell():  # pragma: no branch - Start comes once, before all others
                self._answer(order)

    async def _reload(self, text: str) -> None:
        """The supervisor has found it good; a file that it refers to may have changed since."""
        worker = self._worker
        try:
            settings = await beside_the_loop(lambda: loads(text, worker.reloads.path))
        except ConfigError as error:
            worker.refuse_reload(str(error))
        else:
            await worker.reload(settings)

    def _end(self) -> None:
        if self._ending is None:
            self._ending = asyncio.create_task(self._wind_down())
            self._ending.add_done_callback(self._ended)

    async def _wind_down(self) -> None:
        if not self._is_orphan:  # nobody waits for the delay: the next Weir wants the port
            await self._worker.drain()
        await self._worker.stop()
        event(_log, logging.INFO, "stopped")

    def _ended(self, ending: asyncio.Task[None]) -> None:
        if not ending.cancelled():  # else the halt is not over yet
            self._tell()
            self._over.set()

    async def _halt(self) -> None:
        """A drain goes before it, and is cut short."""
        assert self._ending is not None
        self._ending.cancel()
        await self._worker.halt()
        self._tell()
        self._over.set()

    async def _apply(self, order: channel.Apply) -> None:
        """One that comes too late is another worker's by now: what was undone since must not come back."""
        if time.monotonic() > order.until:
            return
        try:
            told: dict[str, Any] = await self._keys.apply(order.verb, order.limit, order.body)
        except NotAppliedError as error:
            self._supervisor.say(channel.Applied(order.number, error.code, {"detail": str(error)}))
        except Exception as error:  # noqa: BLE001 - somebody waits for an answer
            event(_log, logging.ERROR, "crashed", error=error)
            told = {"detail": "it failed"}
            self._supervisor.say(channel.Applied(order.number, HTTPStatus.INTERNAL_SERVER_ERROR, told))
        else:
            self._supervisor.say(channel.Applied(order.number, HTTPStatus.OK, told))

    async def _tell_regularly(self) -> None:
        while True:
            self._tell()
            await asyncio.sleep(REPORT_SECONDS)

    def _answer(self, order: channel.Tell) -> None:
        worker = self._worker
        self._tell(worker.status(), worker.sights(order.since) if order.since is not None else None)

    def _tell(self, status: dict[str, object] | None = None, sights: Sights | None = None) -> None:
        worker = self._worker
        _, readiness = worker.readiness()
        self._supervisor.say(channel.Figures(reading(worker.parts.metrics), dict(readiness), status, sights))
