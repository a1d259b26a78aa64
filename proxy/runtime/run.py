"""`weir run`, from start to drained stop: one worker or a supervisor of several, signals, the watched file.

SIGTERM and SIGINT drain, a second one ends at once; SIGHUP rereads the file and reopens the access log.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from typing import TYPE_CHECKING, Protocol

import uvloop

from proxy import is_compiled
from proxy.background import keep_doing
from proxy.config.exits import EXIT_FAILED, EXIT_OK, EXIT_WRONG
from proxy.config.mistakes import ConfigError
from proxy.runtime import heap
from proxy.runtime.following import Follower, Source
from proxy.runtime.forks import fork_workers
from proxy.runtime.listener_tls import require_files
from proxy.runtime.notify import Notifier
from proxy.runtime.processors import usable_processors
from proxy.runtime.sockets import (
    InheritedSockets,
    StartError,
    close_sockets,
    open_all,
    open_worker_sockets,
)
from proxy.runtime.supervised import run_supervised
from proxy.runtime.supervisor import Supervisor
from proxy.runtime.worker import Worker
from proxy.telemetry import log
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from proxy.config.settings import Settings
    from proxy.runtime.forks import ForkedWorkers

_log = logging.getLogger("weir.run")


class Running(Protocol):
    """A worker alone, or a supervisor with several."""

    async def start(self) -> None: ...
    async def reload(self, settings: Settings, text: str) -> None: ...
    def refuse_reload(self, error: str) -> None: ...
    def reopen_logs(self) -> None: ...
    async def drain(self) -> None: ...
    async def stop(self) -> None: ...
    async def halt(self) -> None: ...


def run(config_path: str) -> int:
    """Serves until a signal; the exit code."""
    try:
        source = Source.read(config_path)
        require_files(source.reading)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's own output
        return EXIT_WRONG
    settings = source.reading.settings
    log.configure(settings.log.level, settings.log.program)
    try:
        forked = _forked_workers(settings)
    except StartError as error:
        return _cannot_start(error)
    if isinstance(forked, int):
        return run_supervised(forked)
    return uvloop.run(_serve(source, forked))


def _tell_build() -> None:
    """Who wonders about the CPU time of a request shall find why."""
    if not is_compiled():
        event(
            _log,
            logging.INFO,
            "source_build",
            told="not compiled: a request takes about 1.5 times the CPU time",
        )


def _cannot_start(error: StartError) -> int:
    event(_log, logging.ERROR, "cannot_start", reason=str(error))
    return EXIT_FAILED


async def _serve(source: Source, forked: ForkedWorkers | None) -> int:
    notifier = Notifier(os.environ)
    stops = Stops()
    stops.listen()
    try:
        service = _new_service(source, forked)
        follower = Follower(service, source)
        follower.listen()
        _tell_build()
        await _started(service)
    except StartError as error:
        return _cannot_start(error)
    heap.keep()
    notifier.ready()
    reloads = asyncio.create_task(keep_doing(_log, follower.run))
    await stops.first.wait()
    reloads.cancel()
    notifier.stopping()
    await _end(service, stops)
    notifier.close()
    return EXIT_OK


async def _end(service: Running, stops: Stops) -> None:
    """A drain, cut short by a second signal."""
    ending = asyncio.create_task(_wind_down(service))
    impatience = asyncio.create_task(stops.second.wait())
    await asyncio.wait((ending, impatience), return_when=asyncio.FIRST_COMPLETED)
    if not ending.done():
        ending.cancel()
        await service.halt()
    impatience.cancel()


def worker_count(settings: Settings) -> int:
    if settings.workers != "auto":
        return settings.workers
    counts_alone = settings.store.url.kind == "memory" and settings.limits
    return 1 if counts_alone else usable_processors()


def _forked_workers(settings: Settings) -> ForkedWorkers | int | None:
    """None for a single worker; in one of several, its channel. Raises StartError."""
    count = worker_count(settings)
    if count == 1:
        return None
    listeners, admin = open_all(settings, count, InheritedSockets(os.environ))
    if settings.store.url.kind != "memory":
        import proxy.limiter.redis  # noqa: F401, PLC0415 - once for all, before there are several
    try:
        return fork_workers(listeners, admin)
    except OSError as error:
        close_sockets([*admin, *(sockets for mine in listeners for sockets in mine)])
        raise StartError(f"workers: cannot start {count} processes: {error.strerror}") from None


def _new_service(source: Source, forked: ForkedWorkers | None) -> Running:
    """Makes it, with its sockets open. Raises StartError."""
    settings, name = source.reading.settings, source.reading.file
    if forked is not None:
        return Supervisor(settings, name, source.text, forked)
    own = open_worker_sockets(settings, InheritedSockets(os.environ))
    try:
        return Worker(settings, name, own)
    except StartError:
        own.close()
        raise


async def _started(service: Running) -> None:
    """Serves, or has let go of everything that was begun."""
    try:
        await service.start()
    except StartError:
        await service.stop()
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


async def _wind_down(service: Running) -> None:
    await service.drain()
    await service.stop()
    event(_log, logging.INFO, "stopped")
