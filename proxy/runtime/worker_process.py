"""One worker as its supervisor sees it: a process that is started, heard, and started again when it dies.

The first death in a while costs nothing; if a worker keeps dying the pauses grow. One that is silent for too
long hangs, and is killed. Its sockets stay open here, so that who connects meanwhile waits and is served.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING, Any

from proxy.config.exits import EXIT_FAILED
from proxy.runtime import channel
from proxy.runtime.channel import reports
from proxy.runtime.sockets import StartError
from proxy.telemetry.log import event
from proxy.telemetry.reading import Reading, counted, merged

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.runtime.channel import Channel, Order, WorkerReport
    from proxy.runtime.forks import Fork, Process
    from proxy.runtime.sockets import ListenSockets
    from proxy.telemetry.sights import Sights

ENDED_AS_ASKED = (0, -signal.SIGTERM)  # by an operator, perhaps before it could listen to signals
STEADY_SECONDS = 10.0  # who lived this long is started again without a pause
PAUSES = (0.0, 0.5, 1.0, 2.0)  # the last one is as long as a client may have to wait for its connection
SILENCE_SECONDS = 30.0  # figures come every second
APPLY_SECONDS = 2.0  # who is silent for so long has not begun what it was told; another one can do it

_log = logging.getLogger("weir.supervisor")


class KeptWorker:
    def __init__(
        self,
        number: int,
        listeners: ListenSockets,
        greeting: Callable[[int, ListenSockets], channel.Start],
        fork: Fork | None = None,
    ) -> None:
        """`fork` is its first process, if there is one already."""
        self.number = number
        self.listeners = listeners
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_ready = False
        self.is_ending = False
        self.restarts = 0
        self.since = 0.0  # Unix time of the last start
        self.status: dict[str, Any] = {}
        self.readiness: dict[str, Any] = {}
        self.sights: Sights | None = None
        self._reading = Reading({}, {})
        self._past = Reading({}, {})  # what its processes counted that have ended
        self._greeting = greeting
        self._fork = fork
        self._process: asyncio.subprocess.Process | Process | None = None
        self._channel: Channel[WorkerReport] | None = None
        self._told = asyncio.Event()
        self._applied: asyncio.Future[channel.Applied] | None = None
        self._orders = 0
        self._heard_at = 0.0  # of the monotonic clock

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def is_alive(self) -> bool:
        return self._process is not None and self._process.returncode is None

    @property
    def is_silent(self) -> bool:
        """It has said nothing for a while: it may hang."""
        return time.monotonic() - self._heard_at > APPLY_SECONDS

    def readings(self) -> tuple[Reading, Reading]:
        return self._past, self._reading

    # --- its processes, one after the other ---

    async def live(self) -> None:
        """Runs until an end is wanted. At first a failure is told by `started`."""
        failures = 0
        while not self.is_ending:
            begun = time.monotonic()
            code = await self._live_once()
            if not self.started.done() and not self.is_ending:
                self.started.set_exception(StartError(f"worker {self.number} ended at once, with {code}"))
            if self._has_never_started() or self.is_ending:
                return
            is_steady = code in ENDED_AS_ASKED or time.monotonic() - begun > STEADY_SECONDS
            failures = 0 if is_steady else failures + 1
            pause = PAUSES[min(failures, len(PAUSES) - 1)]
            self.restarts += 1
            level = logging.INFO if code in ENDED_AS_ASKED else logging.ERROR
            event(_log, level, "worker_ended", number=self.number, code=code, again_in=pause)
            await asyncio.sleep(pause)

    def _has_never_started(self) -> bool:
        return self.started.done() and self.started.exception() is not None

    async def _live_once(self) -> int:
        """The exit code, negative for a signal."""
        try:
            await self._spawn()
        except OSError as error:  # no memory, too many processes: there may be room later
            event(_log, logging.ERROR, "cannot_start", number=self.number, reason=str(error))
            return EXIT_FAILED
        assert self._process is not None
        assert self._channel is not None
        try:
            await self._hear(self._channel)
        except Exception as error:  # noqa: BLE001 - whom nobody can follow any more starts again
            event(_log, logging.ERROR, "crashed", error=error)
            self.kill()
            await self._channel.close()
        finally:
            self.is_ready = False
            self._past = merged([self._past, counted(self._reading)])
            self._reading, self.status, self.readiness = Reading({}, {}), {}, {}
            self.sights = None
            if self._applied is not None and not self._applied.done():
                self._applied.set_exception(ConnectionError())
        return await self._process.wait()

    async def _spawn(self) -> None:
        if self._fork is not None:
            (self._process, ours), self._fork = self._fork, None
        else:
            self._process, ours = await self._start_afresh()
        self.since = time.time()
        ours.settimeout(0)
        self._channel = await reports(ours)
        self.say(self._greeting(self.number, self.listeners))

    async def _start_afresh(self) -> tuple[asyncio.subprocess.Process, socket.socket]:
        ours, theirs = socket.socketpair()
        with theirs:
            fds = [sock.fileno() for sockets in self.listeners for sock in sockets]
            try:
                process = await asyncio.create_subprocess_exec(
                    *_command(theirs.fileno()),
                    stdin=asyncio.subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(), *fds),
                )
            except OSError:
                ours.close()
                raise
        return process, ours

    async def _hear(self, worker: Channel[WorkerReport]) -> None:
        """Notes what it reports until it is gone."""
        while True:
            try:
                async with asyncio.timeout(SILENCE_SECONDS):
                    report = await worker.hear()
            except TimeoutError:
                event(_log, logging.ERROR, "worker_hangs", number=self.number, seconds=SILENCE_SECONDS)
                self.kill()
                continue
            if report is None:
                await worker.close()
                return
            self._note(report)

    def _note(self, report: WorkerReport) -> None:
        self._heard_at = time.monotonic()
        match report:
            case channel.Ready():
                self.is_ready = True
                if not self.started.done():
                    self.started.set_result(None)
            case channel.Failed():
                if not self.started.done():
                    self.started.set_exception(StartError(report.reason))
                else:
                    event(_log, logging.ERROR, "cannot_start", number=self.number, reason=report.reason)
            case channel.Figures():
                self._reading, self.readiness = report.reading, report.readiness
                if report.status is not None:
                    self.status, self.sights = report.status, report.sights
                    self._told.set()
            case _:
                is_awaited = report.number == self._orders
                if self._applied is not None and is_awaited and not self._applied.done():
                    self._applied.set_result(report)

    # --- what it is told ---

    def say(self, order: Order) -> None:
        if self._channel is not None:
            self._channel.say(order)

    async def tell(self, within: float, since: float | None = None) -> None:
        """Has its figures brought up to date, its sights too if a moment is given; one that does not answer
        is shown as it was last."""
        if self.is_ready:
            self._told.clear()
            self.say(channel.Tell(since))
            try:
                async with asyncio.timeout(within):
                    await self._told.wait()
            except TimeoutError:
                pass

    async def apply(self, verb: str, limit: str, body: bytes) -> channel.Applied:
        """Waits as long as it takes, if it is heard meanwhile. Raises ConnectionError if it has ended, ends
        or hangs.
        """
        if not self.is_ready:  # it ended while another was asked, and its next process would know of nothing
            raise ConnectionError
        self._applied = asyncio.get_running_loop().create_future()
        self._orders += 1
        self.say(channel.Apply(self._orders, time.monotonic() + APPLY_SECONDS, verb, limit, body))
        while not (await asyncio.wait([self._applied], timeout=APPLY_SECONDS))[0]:
            if self.is_silent:
                self._applied.cancel()
                raise ConnectionError
        return self._applied.result()

    def kill(self) -> None:
        if self._process is not None and self.is_alive:
            self._process.kill()


def _command(fd: int) -> list[str]:
    """The way this process was started, with another command: the same interpreter, options and code."""
    own_arguments = len(sys.argv) - 1
    opening = sys.orig_argv[1 : len(sys.orig_argv) - own_arguments]
    return [sys.executable, *opening, "worker", "--channel", str(fd)]
