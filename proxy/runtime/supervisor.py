"""Several workers as one Weir: the same start, reload, drain and stop as a single worker, for all of them.

It holds the listening sockets and the admin plane, and serves no request itself: figures of its workers are
added up. What a worker is told is the config's text, read once here, so that all run with the same.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from proxy.admin.buckets import KeyVerbs, NotAppliedError
from proxy.admin.sources import AdminSources
from proxy.config.loader import config_hash
from proxy.config.settings import restart_differences, until_restart
from proxy.net.credentials import TlsError
from proxy.net.tls import client
from proxy.runtime import channel
from proxy.runtime.admin_sites import serve_admin
from proxy.runtime.reloads import Reloads
from proxy.runtime.sites import address_text, addresses, shut
from proxy.runtime.sockets import close_sockets
from proxy.runtime.statuses import merged
from proxy.runtime.worker_process import KeptWorker
from proxy.telemetry import log, sights
from proxy.telemetry.log import event
from proxy.telemetry.reading import Reading, process_reading
from proxy.telemetry.reading import merged as together

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.config.settings import Settings
    from proxy.runtime.forks import ForkedWorkers
    from proxy.runtime.sockets import ListenSockets
    from proxy.telemetry.sights import Sights

TELL_SECONDS = 1.0  # a worker that takes longer is shown as it was last
HALT_SECONDS = 2.0

_log = logging.getLogger("weir.supervisor")


class Supervisor:
    verbs: tuple[str, ...] = KeyVerbs.verbs

    def __init__(self, settings: Settings, config_path: str, text: str, forked: ForkedWorkers) -> None:
        self.settings = settings
        self.is_ready = False
        self.is_draining = False
        self._reloads = Reloads(settings, config_path)
        self._text = text
        self._listeners, self._admin_sockets, self._forks = forked
        self._workers: list[KeptWorker] = []
        self._lives: list[asyncio.Task[None]] = []
        self._admin: web.AppRunner | None = None
        self._applying = asyncio.Lock()

    # --- start ---

    async def start(self) -> None:
        """Serves from the return of this on. Raises StartError; then `stop` cleans up."""
        pairs = zip(self._listeners, self._forks, strict=True)
        self._workers = [
            KeptWorker(number, listeners, self._greeting, fork)
            for number, (listeners, fork) in enumerate(pairs, 1)
        ]
        self._lives = [asyncio.create_task(worker.live()) for worker in self._workers]
        self._admin = await serve_admin(self._admin_sources(), self._admin_sockets)
        await asyncio.gather(*(worker.started for worker in self._workers))
        self.is_ready = True
        listen = [address_text(sock.getsockname()) for sockets in self._listeners[0] for sock in sockets]
        event(
            _log,
            logging.INFO,
            "supervising",
            workers=len(self._workers),
            listen=listen,
            admin=addresses(self._admin),
        )

    def _greeting(self, number: int, listeners: ListenSockets) -> channel.Start:
        fds = [[sock.fileno() for sock in sockets] for sockets in listeners]
        return channel.Start(number, self._text, self._reloads.path, fds)

    # --- reload ---

    async def reload(self, settings: Settings, text: str) -> None:
        try:
            await asyncio.to_thread(client, settings.upstream.tls)  # as each worker will
        except TlsError as error:
            self.refuse_reload(f"{self._reloads.path}: upstream.tls.{error}")
            return
        stays = restart_differences(self.settings, settings)
        self.settings = until_restart(self.settings, settings)
        self._text, self._reloads.hash = text, config_hash(settings)
        log.configure(settings.log.level)
        self._reloads.note(time.time())
        self._say(channel.Reload(text))
        if stays:
            event(_log, logging.WARNING, "restart_needed", settings=list(stays))

    def refuse_reload(self, error: str) -> None:
        """A bad file changes nothing."""
        self._reloads.note(time.time(), error)
        self._say(channel.RefuseReload(error))
        event(_log, logging.ERROR, "reload_refused", mistakes=error.splitlines())

    def reopen_logs(self) -> None:
        self._say(channel.Reopen())

    def _say(self, order: channel.Order) -> None:
        for worker in self._workers:
            worker.say(order)

    # --- stop ---

    async def drain(self) -> None:
        """Unready; the workers serve on for `drain.delay`, then finish what runs, and end."""
        self.is_ready = False
        self._end_with(channel.Drain())

    async def stop(self) -> None:
        """Returns when the workers have ended."""
        self._end_with(channel.Drain())
        await asyncio.wait(self._lives)
        assert self._admin is not None  # it serves before the first worker is heard
        await self._admin.cleanup()
        close_sockets(self._admin_sockets)

    async def halt(self) -> None:
        """Ends at once."""
        self._say(channel.Halt())
        await asyncio.wait(self._lives, timeout=HALT_SECONDS)
        for worker in self._workers:
            worker.kill()
        await asyncio.wait(self._lives)
        await shut(self._admin)
        event(_log, logging.WARNING, "halted")

    def _end_with(self, order: channel.Order) -> None:
        self.is_draining = True
        for listeners in self._listeners:
            close_sockets(listeners)  # the last are the workers' own: no queue that nobody serves is open
        for worker, life in zip(self._workers, self._lives, strict=True):
            if not worker.is_ending:
                worker.is_ending = True
                if worker.is_alive:
                    worker.say(order)
                else:
                    life.cancel()  # it waits to start again

    # --- what the admin plane asks for ---

    def _admin_sources(self) -> AdminSources:
        return AdminSources(
            reading=self._reading,
            readiness=self._readiness,
            status=self._status,
            settings=lambda: self.settings.admin,
            limits=lambda: self.settings.limits,
            keys=self,
            refresh=self._refresh,
            look=self._look,
        )

    async def _refresh(self) -> None:
        await asyncio.gather(*(worker.tell(TELL_SECONDS) for worker in self._workers))

    async def _look(self, since: float) -> Sights:
        await asyncio.gather(*(worker.tell(TELL_SECONDS, since) for worker in self._workers))
        return sights.merged([worker.sights for worker in self._workers if worker.sights is not None])

    def _reading(self) -> Reading:
        own = process_reading()
        restarts = sum(worker.restarts for worker in self._workers)
        own.counts["weir_worker_restarts_total"] = {(): restarts}
        return together([own, *(found for worker in self._workers for found in worker.readings())])

    def _readiness(self) -> tuple[bool, dict[str, object]]:
        ready = sum(worker.is_ready for worker in self._workers)
        details = merged([worker.readiness for worker in self._workers if worker.readiness])
        workers = {"ready": ready, "of": len(self._workers)}
        return self.is_ready and ready > 0, {**details, "draining": self.is_draining, "workers": workers}

    def _status(self) -> dict[str, object]:
        details = merged([worker.status for worker in self._workers if worker.status])
        return {
            **details,
            **self._reloads.status(),
            "workers": [_status_of(worker) for worker in self._workers],
        }

    async def apply(self, verb: str, limit: str, body: bytes) -> dict[str, object]:
        """Has one worker do it: the buckets are in Redis; the others drop their denials within a second."""
        async with self._applying:
            answer = await self._applied(verb, limit, body)
        if answer.code != HTTPStatus.OK:
            raise NotAppliedError(HTTPStatus(answer.code), str(answer.told["detail"]))
        return dict(answer.told)

    async def _applied(self, verb: str, limit: str, body: bytes) -> channel.Applied:
        """What the first says that answers. One that ended or hung meanwhile may have done it: twice is as
        once.
        """
        ready = [worker for worker in self._workers if worker.is_ready]
        for worker in sorted(ready, key=lambda worker: worker.is_silent):
            with suppress(ConnectionError):
                return await worker.apply(verb, limit, body)
        raise NotAppliedError(HTTPStatus.SERVICE_UNAVAILABLE, "no worker is ready")


def _status_of(worker: KeptWorker) -> dict[str, Any]:
    return {
        "number": worker.number,
        "pid": worker.pid,
        "ready": worker.is_ready,
        "restarts": worker.restarts,
        "since": worker.since,
        "connections": worker.status.get("connections", {}),
    }
