"""One process of Weir: serves on its sockets, reloads, drains, and tells how it is.

What serves is put together by `assembly`; here is what surrounds it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.admin.buckets import KeyVerbs
from proxy.admin.sources import AdminSources
from proxy.assembly import UnusableError, assemble
from proxy.background import keep_doing
from proxy.config.loader import config_hash
from proxy.config.settings import restart_differences, until_restart
from proxy.net.frontend import FrontendRunner
from proxy.runtime.admin_sites import serve_admin
from proxy.runtime.descriptors import room_for
from proxy.runtime.following import beside_the_loop
from proxy.runtime.listener_tls import Handshakes
from proxy.runtime.reloads import Reloads
from proxy.runtime.renewal import Renewals
from proxy.runtime.sites import addresses, listener_tls, serve_listeners, shut
from proxy.runtime.sockets import StartError, WorkerSockets, open_worker_sockets
from proxy.telemetry import log
from proxy.telemetry.log import event
from proxy.telemetry.reading import reading
from proxy.telemetry.sights import Sights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiohttp import web

    from proxy.assembly import Prepared
    from proxy.config.settings import Settings
    from proxy.net.credentials import Credentials
    from proxy.runtime.listener_tls import ListenerTls

_log = logging.getLogger("weir.worker")


class Worker:
    def __init__(self, settings: Settings, config_path: str = "", own: WorkerSockets | None = None) -> None:
        """Its `own` sockets are opened at the start if none are given."""
        try:
            self.parts = assemble(settings, is_alone=own is None or own.admin is not None)
        except UnusableError as error:
            raise StartError(str(error)) from None
        self.is_ready = False
        self.reloads = Reloads(settings, config_path)
        self._runner = FrontendRunner(self.parts.frontend, shutdown_timeout=settings.drain.timeout)
        self._admin: web.AppRunner | None = None
        self._own = own
        self._listeners: list[ListenerTls | None] = []
        self._handshakes = Handshakes(lambda: self.parts.frontend.arriving_max)
        self._renewals = Renewals(self._credentials, self.parts.metrics)
        self._renewing: asyncio.Task[None] | None = None
        self._note_reload()

    @property
    def settings(self) -> Settings:
        return self.parts.settings

    @property
    def is_draining(self) -> bool:
        return self.parts.shared.is_draining

    # --- start ---

    async def start(self) -> None:
        """Serves from the return of this on. Raises StartError; then `stop` cleans up."""
        self._make_room()
        own = self._own = self._own or open_worker_sockets(self.settings)
        await self.parts.start()
        self._provide_metrics()
        await self._runner.setup()
        self._listeners = listener_tls(self.settings.listen, self._handshakes)
        patience = self.settings.downstream.timeouts.head
        served = [(listen, self.parts.protocol(listen)) for listen in self.settings.listen]
        await serve_listeners(self._runner, served, own.listeners, self._listeners, patience)
        self._renewing = asyncio.create_task(keep_doing(_log, self._renewals.run))
        if own.admin is not None:
            self._admin = await serve_admin(self._admin_sources(), own.admin)
        self.is_ready = True
        event(_log, logging.INFO, "serving", listen=self.addresses, admin=self.admin_addresses)

    def _make_room(self) -> None:
        self.parts.frontend.room = room_for(self.settings.downstream.limits.connections)

    @property
    def addresses(self) -> list[str]:
        return addresses(self._runner)

    @property
    def admin_addresses(self) -> list[str]:
        return addresses(self._admin)

    # --- reload ---

    async def reload(self, settings: Settings, text: str = "") -> None:  # noqa: ARG002 - for a supervisor
        """Compiles the new settings beside the loop, then swaps them in between two requests."""
        try:
            prepared, stays, new_hash = await beside_the_loop(partial(self._prepared, settings))
        except UnusableError as error:
            self.refuse_reload(f"{self.reloads.path}: {error}")
            return
        self.parts.adopt(prepared)
        self.reloads.hash = new_hash
        self._make_room()
        self._runner.finish_within(settings.drain.timeout)
        log.configure(settings.log.level)
        self._note_reload()
        if stays:
            event(_log, logging.WARNING, "restart_needed", settings=list(stays))
        event(_log, logging.INFO, "reloaded", config_hash=self.reloads.hash)
        await self.parts.store.bring_over()  # before the next reload does

    def _prepared(self, settings: Settings) -> tuple[Prepared, Sequence[str], str]:
        """What serves by the settings, those that only a restart changes, and the hash."""
        stays = restart_differences(self.settings, settings)
        return self.parts.prepare(until_restart(self.settings, settings)), stays, config_hash(settings)

    def refuse_reload(self, error: str) -> None:
        """A bad file changes nothing."""
        self.note_refusal(error)
        event(_log, logging.ERROR, "reload_refused", mistakes=error.splitlines())

    def note_refusal(self, error: str) -> None:
        self._note_reload(error)

    def reopen_logs(self) -> None:
        """Goes on in new files of the same names, at SIGHUP."""
        self.parts.access_log.reopen()
        self._renewals.look_now()

    def _note_reload(self, error: str | None = None) -> None:
        now = time.time()
        self.reloads.note(now, error)
        self.parts.metrics.reloaded(successful=error is None, at=now)

    def _credentials(self) -> list[Credentials[Any]]:
        ours = [listener.credentials for listener in self._listeners if listener is not None]
        towards = self.parts.shared.pool.tls
        return [*ours, towards.credentials] if towards is not None else [*ours]

    # --- stop ---

    async def drain(self) -> None:
        """Unready but serving for `drain.delay`: each answer is the last one of its connection."""
        self._wind_down()
        event(_log, logging.INFO, "draining", delay=self.settings.drain.delay)
        await asyncio.sleep(self.settings.drain.delay)

    def _wind_down(self) -> None:
        self.is_ready = False
        self.parts.shared.is_draining = True

    async def stop(self) -> None:
        """Ends everything; running exchanges have `drain.timeout` to finish."""
        if self._renewing is not None:
            self._renewing.cancel()
        self._wind_down()
        self._end_waiting()
        await self._runner.cleanup()
        if self._admin is not None:
            await self._admin.cleanup()
        if self._own is not None:
            self._own.close()
        await self.parts.stop()

    def _end_waiting(self) -> None:
        """Whose token comes in the first half of what is left is served in the other; others are told."""
        shared = self.parts.shared
        shared.room.end_at(shared.clock() + self.settings.drain.timeout / 2)

    async def halt(self) -> None:
        """Ends at once; what was under way is logged as what it is."""
        for runner in (self._runner, self._admin):
            await shut(runner)
        self.parts.shared.pool.retire()
        for connection in list(self.parts.frontend.connections):
            connection.abort()
        await asyncio.sleep(0.05)  # the connections are told of their end by the loop
        self.parts.shared.evidence.close()
        self.parts.access_log.close()
        event(_log, logging.WARNING, "halted")

    # --- what the admin plane and the metrics ask for ---

    def _provide_metrics(self) -> None:
        self.parts.metrics.provide_connections(self._connections)
        self.parts.metrics.provide_store(self.parts.store)
        self.parts.metrics.provide_draining(lambda: self.is_draining)
        self.parts.metrics.provide_log(log.dropped)
        self.parts.metrics.provide_servers(self._servers, lambda: len(self.parts.shared.pool.waiting))

    def _connections(self) -> dict[tuple[str, str], int]:
        down = self.parts.frontend.counts() | {"handshake": len(self._handshakes)}
        up = self.parts.shared.pool.counts()
        return {("downstream", state): n for state, n in down.items()} | {
            ("upstream", state): n for state, n in up.items()
        }

    def _servers(self) -> dict[tuple[str, str], int]:
        return self.parts.shared.pool.states()

    def _admin_sources(self) -> AdminSources:
        return AdminSources(
            reading=lambda: reading(self.parts.metrics),
            readiness=self.readiness,
            status=self.status,
            settings=lambda: self.settings.admin,
            limits=lambda: self.settings.limits,
            keys=KeyVerbs(self.parts.store.keys, lambda: self.parts.shared.rules.limits),
            look=self._look,
        )

    async def _look(self, since: float) -> Sights:
        return self.sights(since)

    def sights(self, since: float) -> Sights:
        """Busy keys, and what went wrong since a moment of the monotonic clock."""
        now = time.monotonic()
        metrics = self.parts.metrics
        keys = metrics.top_keys.seen(self.parts.shared.rules.limits, now)
        return Sights(now, keys, metrics.recent.since(since))

    def readiness(self) -> tuple[bool, dict[str, object]]:
        return self.is_ready, {"draining": self.is_draining, "store": self.parts.store.status()}

    def status(self) -> dict[str, object]:
        return {
            **self.reloads.status(),
            "limits": self.parts.metrics.limit_counts([limit.name for limit in self.settings.limits]),
            "plans": self.parts.shared.rules.plans,
            "upstream": self.parts.shared.pool.status(),
            "connections": {f"{side}_{state}": n for (side, state), n in self._connections().items()},
            "store": self.parts.store.status(),
            "tls": self._renewals.status(),
        }
