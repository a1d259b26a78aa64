"""One process of Weir: puts the parts together, serves, reloads, drains.

Decode, compile, provision, use, clean up: everything that can fail at a reload fails before anything is
swapped.
"""

from __future__ import annotations

import asyncio
import logging
import time
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Any

from proxy.admin.app import AdminSources
from proxy.admin.buckets import Resets
from proxy.config.loader import config_hash
from proxy.config.settings import restart_differences
from proxy.gateway import Exchange
from proxy.limiter.memory import MemoryStore
from proxy.net.connection import Outbox
from proxy.net.credentials import TlsError
from proxy.net.frontend import Frontend, FrontendRunner
from proxy.net.pool import Pool
from proxy.net.sweep import Sweeper
from proxy.rules.rules import Rules
from proxy.runtime.admin_sites import serve_admin
from proxy.runtime.listener_tls import Handshakes, check_store_files
from proxy.runtime.renewal import Renewals
from proxy.runtime.sites import addresses, listener_tls, serve_listeners, shut
from proxy.runtime.sockets import StartError, WorkerSockets, open_worker_sockets
from proxy.shared import Shared
from proxy.telemetry import log
from proxy.telemetry.access_log import AccessLog
from proxy.telemetry.families import reading
from proxy.telemetry.log import event
from proxy.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from aiohttp import web

    from proxy.config.settings import Settings
    from proxy.limiter.redis import RedisStore
    from proxy.net.credentials import Credentials
    from proxy.runtime.listener_tls import ListenerTls
    from proxy.telemetry.metrics import StoreFigures

SWEEP_SECONDS = 0.25  # a deadline may be met this much late; a sweep over 10 000 connections costs 0.6 ms
FLUSH_SECONDS = 0.1  # access-log lines wait this long for company

_log = logging.getLogger("weir.worker")


class Worker:
    def __init__(self, settings: Settings, config_path: str = "", own: WorkerSockets | None = None) -> None:
        """Its `own` sockets are opened at the start if none are given."""
        self.settings = settings
        self.config_path = config_path
        self.metrics = Metrics()
        try:
            self.access_log = AccessLog(
                settings.log.access, self.metrics, is_shared=own is not None and own.admin is None
            )
        except OSError as error:
            raise StartError(f"log.access: cannot write to {settings.log.access}: {_why(error)}") from None
        self.store = new_store(settings, self.metrics.store)
        self.sweeper = Sweeper(_sweep_seconds(settings), (self._every_sweep,))
        self.outbox = Outbox()
        rules = Rules(settings)
        self.store.configure(rules.limits)
        self.metrics.configure(limit.name for limit in settings.limits)
        try:
            pool = self._new_pool(settings)
        except TlsError as error:
            raise StartError(f"upstream.tls.{error}") from None
        self.shared = Shared(rules, pool, self.store, self.metrics, self.access_log)
        self.frontend = Frontend(self.sweeper, self.outbox, rules.connections, partial(Exchange, self.shared))
        self.is_ready = False
        self.is_draining = False
        self._config_hash = config_hash(settings)
        self._runner = FrontendRunner(self.frontend, shutdown_timeout=settings.drain.timeout)
        self._admin: web.AppRunner | None = None
        self._own = own
        self._listeners: list[ListenerTls | None] = []
        self._handshakes = Handshakes(lambda: self.frontend.limits.connections_max)
        self._renewals = Renewals(self._credentials, self.metrics)
        self._renewing: asyncio.Task[None] | None = None
        self._flush_timer: asyncio.TimerHandle | None = None
        self._started = time.time()
        self._last_reload: dict[str, object] = {"successful": True, "at": self._started, "error": None}
        self.metrics.reloaded(successful=True, at=self._started)

    # --- start ---

    async def start(self) -> None:
        """Serves from the return of this on. Raises StartError; then `stop` cleans up."""
        self.sweeper.start()
        self._flush()
        own = self._own = self._own or open_worker_sockets(self.settings)
        await self.store.start()
        self.shared.pool.start()
        self._provide_metrics()
        await self._runner.setup()
        self._listeners = listener_tls(self.settings.listen, self._handshakes)
        patience = self.settings.downstream.timeouts.head
        await serve_listeners(self._runner, self.settings.listen, own.listeners, self._listeners, patience)
        self._renewing = asyncio.create_task(self._renewals.run())
        if own.admin is not None:
            self._admin = await serve_admin(self.settings.admin, self._admin_sources(), own.admin)
        self.is_ready = True
        event(_log, logging.INFO, "serving", listen=self.addresses, admin=self.admin_addresses)

    @property
    def addresses(self) -> list[str]:
        return addresses(self._runner)

    @property
    def admin_addresses(self) -> list[str]:
        return addresses(self._admin)

    # --- reload ---

    def reload(self, settings: Settings, text: str = "") -> None:  # noqa: ARG002 - for a supervisor
        """Compiles the new settings, then swaps them in between two requests. Counters and buckets stay."""
        rules = Rules(settings)
        shared = self.shared
        stays = restart_differences(self.settings, settings)
        if settings.upstream != self.settings.upstream:
            try:
                pool = self._new_pool(settings)
            except TlsError as error:
                self.refuse_reload(f"{self.config_path}: upstream.tls.{error}")
                return
            retired, shared.pool = shared.pool, pool
            pool.start(retired)
            retired.retire()
        shared.rules = rules
        self.frontend.limits = rules.connections
        self.store.max_keys = settings.store.max_keys
        if not isinstance(self.store, MemoryStore):
            self.store.timeout = settings.store.timeout
            self.store.caches_denials = settings.store.denial_cache
        self.store.configure(rules.limits)
        self.metrics.configure(limit.name for limit in settings.limits)
        self.settings, self._config_hash = settings, config_hash(settings)
        self.sweeper.interval = _sweep_seconds(settings)
        self._runner.finish_within(settings.drain.timeout)
        log.configure(settings.log.level)
        self._note_reload(error=None)
        if stays:
            event(_log, logging.WARNING, "restart_needed", settings=list(stays))
        event(_log, logging.INFO, "reloaded", config_hash=self._config_hash)

    def _new_pool(self, settings: Settings) -> Pool:
        """Raises TlsError."""
        return Pool(settings.upstream, self.sweeper, self.outbox, self.metrics)

    def refuse_reload(self, error: str) -> None:
        """A bad file changes nothing."""
        self.note_refusal(error)
        event(_log, logging.ERROR, "reload_refused", mistakes=error.splitlines())

    def note_refusal(self, error: str) -> None:
        self._note_reload(error=error)

    def reopen_logs(self) -> None:
        """At SIGHUP."""
        self.access_log.reopen()
        self._renewals.look_now()

    def _note_reload(self, *, error: str | None) -> None:
        now = time.time()
        self._last_reload = {"successful": error is None, "at": now, "error": error}
        self.metrics.reloaded(successful=error is None, at=now)

    def _credentials(self) -> list[Credentials[Any]]:
        ours = [listener.credentials for listener in self._listeners if listener is not None]
        towards = self.shared.pool.tls
        return [*ours, towards.credentials] if towards is not None else [*ours]

    # --- stop ---

    async def drain(self) -> None:
        """Unready but serving for `drain.delay`, then idle connections close and running exchanges finish."""
        self.is_ready, self.is_draining = False, True
        event(_log, logging.INFO, "draining", delay=self.settings.drain.delay)
        await asyncio.sleep(self.settings.drain.delay)
        self.shared.is_draining = True

    async def stop(self) -> None:
        """Ends everything; running exchanges have `drain.timeout` to finish."""
        if self._renewing is not None:
            self._renewing.cancel()
        self.is_ready, self.is_draining = False, True
        self.shared.is_draining = True
        await self._runner.cleanup()
        if self._admin is not None:
            await self._admin.cleanup()
        self.shared.pool.retire()
        if self._own is not None:
            self._own.close()
        await self.store.close()
        self.sweeper.stop()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        self.access_log.flush()
        self.access_log.close()

    async def halt(self) -> None:
        """Ends at once; what was under way is logged as what it is."""
        for runner in (self._runner, self._admin):
            await shut(runner)
        self.shared.pool.retire()
        for connection in list(self.frontend.connections):
            connection.abort()
        await asyncio.sleep(0.05)  # the connections are told of their end by the loop
        self.access_log.close()
        event(_log, logging.WARNING, "halted")

    # --- what happens at intervals ---

    def _every_sweep(self, now: float) -> None:
        self.shared.date_line = b"Date: %b\r\n" % formatdate(usegmt=True).encode()
        self.shared.retries.refill(now, self.shared.answered)
        self.shared.pool.sweep(now)
        self.store.sweep()
        self.metrics.watch_store()

    def _flush(self) -> None:
        self.access_log.flush()
        self._flush_timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)

    # --- what the admin plane and the metrics ask for ---

    def _provide_metrics(self) -> None:
        self.metrics.provide_connections(self._connections)
        self.metrics.provide_store(self.store)
        self.metrics.provide_draining(lambda: self.is_draining)
        self.metrics.provide_log(log.dropped)
        self.metrics.provide_servers(self._servers, lambda: len(self.shared.pool.waiting))

    def _connections(self) -> dict[tuple[str, str], int]:
        down = self.frontend.counts() | {"handshake": len(self._handshakes)}
        up = self.shared.pool.counts()
        return {("downstream", state): n for state, n in down.items()} | {
            ("upstream", state): n for state, n in up.items()
        }

    def _servers(self) -> dict[tuple[str, str], int]:
        return self.shared.pool.states()

    def _admin_sources(self) -> AdminSources:
        return AdminSources(
            reading=lambda: reading(self.metrics),
            readiness=self.readiness,
            status=self.status,
            resets=Resets(self.store, lambda: self.shared.rules.limits),
        )

    def readiness(self) -> tuple[bool, dict[str, object]]:
        return self.is_ready, {"draining": not self.is_ready, "store": self.store.status()}

    def status(self) -> dict[str, object]:
        return {
            "uptime": round(time.time() - self._started, 3),
            "config": {
                "file": self.config_path,
                "hash": self._config_hash,
                "last_reload": self._last_reload,
            },
            "limits": self.metrics.limit_counts([limit.name for limit in self.settings.limits]),
            "upstream": self.shared.pool.status(),
            "connections": {f"{side}_{state}": n for (side, state), n in self._connections().items()},
            "store": self.store.status(),
            "tls": self._renewals.status(),
        }


def new_store(settings: Settings, figures: StoreFigures) -> MemoryStore | RedisStore:
    """Raises StartError."""
    store = settings.store
    if store.url.kind == "memory":
        return MemoryStore(max_keys=store.max_keys)
    try:
        check_store_files(store.tls)
    except TlsError as error:
        raise StartError(f"store.tls.{error}") from None
    from proxy.limiter.dialler import TlsFiles  # noqa: PLC0415 - with it
    from proxy.limiter.redis import RedisStore  # noqa: PLC0415 - a start without it is a sixth faster

    return RedisStore(
        store.url,
        store.timeout,
        max_keys=store.max_keys,
        caches_denials=store.denial_cache,
        tls=TlsFiles(store.tls.ca, store.tls.cert, store.tls.key),
        figures=figures,
    )


def _sweep_seconds(settings: Settings) -> float:
    """Short timeouts get a finer sweep."""
    down, up = settings.downstream.timeouts, settings.upstream.timeouts
    shortest = min(down.head, down.body, down.idle, up.connect, up.response, up.idle)
    return max(0.02, min(SWEEP_SECONDS, shortest / 8))


def _why(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
