"""`weir run`: a worker from start to drained stop, with its signals and its watched file.

SIGTERM and SIGINT drain, a second one ends at once; SIGHUP rereads the file and reopens the access log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING

import uvloop

from proxy.config.mistakes import ConfigError
from proxy.config.watcher import fingerprint, watch
from proxy.runtime.available import load_honoured
from proxy.runtime.sockets import Heirlooms, StartError, open_own
from proxy.runtime.worker import Worker
from proxy.telemetry import log
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from proxy.config.settings import Settings
    from proxy.runtime.sockets import Own

EXIT_OK = 0
EXIT_START = 1  # a port in use, a missing certificate
EXIT_CONFIG = 2  # the config file is wrong

_log = logging.getLogger("weir.run")


def run(config_path: str) -> int:
    """Serves until a signal; the exit code."""
    seen = fingerprint(config_path)
    try:
        settings = load_honoured(config_path)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's own output
        return EXIT_CONFIG
    log.configure(settings.log.level)
    return uvloop.run(_serve(settings, config_path, seen))


async def _serve(settings: Settings, config_path: str, seen: str | None) -> int:
    stops = Stops()
    stops.listen()
    try:
        worker = Worker(settings, config_path)
        await _started(worker, open_own(settings, Heirlooms(os.environ)))
    except StartError as error:
        event(_log, logging.ERROR, "cannot_start", reason=str(error))
        return EXIT_START
    reloads = asyncio.create_task(_follow(worker, config_path, seen))
    await stops.first.wait()
    reloads.cancel()
    ending = asyncio.create_task(_wind_down(worker))
    impatience = asyncio.create_task(stops.second.wait())
    await asyncio.wait((ending, impatience), return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        ending.cancel()
        await worker.halt()
    impatience.cancel()
    return EXIT_OK


async def _started(worker: Worker, own: Own) -> None:
    """Serves, or has let go of everything that was begun."""
    try:
        await worker.start(own)
    except StartError:
        await worker.stop()
        raise


class Stops:
    """The first and the second request to stop."""

    def __init__(self) -> None:
        self.first = asyncio.Event()
        self.second = asyncio.Event()

    def listen(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._heard)

    def _heard(self) -> None:
        if self.first.is_set():
            self.second.set()
        self.first.set()


async def _wind_down(worker: Worker) -> None:
    await worker.drain()
    await worker.stop()
    event(_log, logging.INFO, "stopped")


async def _follow(worker: Worker, config_path: str, seen: str | None) -> None:
    """Reloads when the file's content is no longer what was `seen` at the start, and at SIGHUP."""
    hangup = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, hangup.set)

    async def at_hangup() -> None:
        while True:
            await hangup.wait()
            hangup.clear()
            worker.access_log.reopen()
            _reload(worker, config_path)

    async def at_change() -> None:
        async for _ in watch(config_path, since=seen):
            _reload(worker, config_path)

    await asyncio.gather(at_hangup(), at_change())


def _reload(worker: Worker, config_path: str) -> None:
    try:
        settings = load_honoured(config_path)
    except ConfigError as error:
        worker.refuse_reload(str(error))
        return
    worker.reload(settings)
