"""The parts that serve, put together from settings: `assemble` at the start, `prepare` and `adopt` when they
change.

Decode, compile, provision, use, clean up: everything that can fail at a reload fails before anything is
swapped. The worker stands on this, and so does the bench of the tests. Knows nothing of listening sockets,
signals or the admin plane.
"""

from __future__ import annotations

import asyncio
from email.utils import formatdate
from functools import partial
from time import monotonic
from typing import TYPE_CHECKING

from proxy.deciding import Front, Question
from proxy.gateway import Exchange
from proxy.limiter.opening import open_store
from proxy.net.connection import Outbox
from proxy.net.credentials import TlsError
from proxy.net.dial import open_connection
from proxy.net.frontend import Frontend
from proxy.net.pool import Pool
from proxy.net.sweep import Sweeper
from proxy.net.tls import check_store_files
from proxy.rules.rules import Rules
from proxy.shared import Shared
from proxy.telemetry.access_log import AccessLog
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.traces import Traces

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.config.sections.front import Listen
    from proxy.config.settings import Settings
    from proxy.limiter.store import Store
    from proxy.net.dial import Dial
    from proxy.net.downstream import DownstreamConnection
    from proxy.telemetry.metrics import StoreFigures

SWEEP_SECONDS = 0.25  # a deadline may be met this much late; a sweep over 10 000 connections costs 0.6 ms
FLUSH_SECONDS = 0.1  # access-log lines wait this long for company


class UnusableError(Exception):
    """What a setting names cannot be used; the message names the setting and fits on one line."""


def assemble(  # noqa: PLR0913 - what a test may bring in the place of ours
    settings: Settings,
    *,
    is_alone: bool = True,
    metrics: Metrics | None = None,
    access_log: AccessLog | None = None,
    store: Store | None = None,
    clock: Callable[[], float] = monotonic,
    dial: Dial = open_connection,
) -> Assembly:
    """`is_alone`: no other process writes to the access log. Raises UnusableError."""
    metrics = metrics or Metrics()
    access_log = access_log or _access_log(settings, metrics, is_alone=is_alone)
    store = store or _store(settings, metrics.store)
    return Assembly(settings, metrics, access_log, store, clock, dial, _traces(settings))


class Prepared:
    """New settings, and what they become; the pool only if it is another one."""

    def __init__(self, settings: Settings, rules: Rules, pool: Pool | None) -> None:
        self.settings = settings
        self.rules = rules
        self.pool = pool


class Assembly:
    def __init__(  # noqa: PLR0913, PLR0917 - the parts
        self,
        settings: Settings,
        metrics: Metrics,
        access_log: AccessLog,
        store: Store,
        clock: Callable[[], float],
        dial: Dial,
        traces: Traces | None,
    ) -> None:
        """Raises UnusableError."""
        self.settings = settings
        self.metrics = metrics
        self.access_log = access_log
        self.store = store
        self.sweeper = Sweeper(_sweep_seconds(settings), (self._every_sweep,))
        self.outbox = Outbox()
        self._dial = dial
        rules = Rules(settings)
        store.configure(rules.limits)
        metrics.configure(limit.name for limit in settings.limits)
        access_log.adopt(settings.log)
        self._spans = traces.sink if traces is not None else None
        if self._spans is not None:
            metrics.provide_spans(self._spans.results)
        self.shared = Shared(rules, self._new_pool(settings), store, metrics, access_log, clock, traces)
        self._open_room(rules)
        metrics.provide_slots(lambda: store.held.by_limit)
        new_exchange = partial(Exchange, self.shared)
        self.frontend = Frontend(self.sweeper, self.outbox, rules.connections, new_exchange)
        metrics.provide_crowded_out(lambda: self.frontend.crowded_out)
        self._flush_timer: asyncio.TimerHandle | None = None

    def protocol(self, listen: Listen) -> Callable[[], DownstreamConnection]:
        """What serves a connection of the listener."""
        if listen.mode == "forward":
            return self.frontend
        return self.frontend.serving(partial(Question, self.shared, Front(listen)))

    async def start(self) -> None:
        self.sweeper.start()
        self._flush()
        await self.store.start()
        self.shared.pool.start()

    def prepare(self, settings: Settings) -> Prepared:
        """Whatever can fail of new settings, or takes long; in a thread, if need be. Raises UnusableError."""
        is_same = settings.upstream == self.settings.upstream
        return Prepared(settings, Rules(settings), None if is_same else self._new_pool(settings))

    def adopt(self, prepared: Prepared) -> None:
        """Swaps them in between two requests. Counters and buckets stay."""
        settings, rules, pool, shared = prepared.settings, prepared.rules, prepared.pool, self.shared
        if pool is not None:
            retired, shared.pool = shared.pool, pool
            pool.start(retired)
            retired.retire()
        shared.rules = rules
        self.frontend.rules = rules.connections
        self.store.adopt(settings.store)
        self.store.configure(rules.limits)
        self.metrics.configure(limit.name for limit in settings.limits)
        self._open_room(rules)
        self.access_log.adopt(settings.log)
        self.sweeper.interval = _sweep_seconds(settings)
        self.settings = settings

    def _new_pool(self, settings: Settings) -> Pool:
        try:
            return Pool(settings.upstream, self.sweeper, self.outbox, self.metrics, self._dial)
        except TlsError as error:
            raise UnusableError(f"upstream.tls.{error}") from None

    def _open_room(self, rules: Rules) -> None:
        """Makes room for who may have to wait."""
        room = self.shared.room
        room.configure(limit.name for limit in rules.limits if limit.max_wait_us)
        self.metrics.provide_room(room)
        self.metrics.watch_waits(rules.limits.watched_waits)

    def _every_sweep(self, now: float) -> None:
        shared = self.shared
        shared.date_line = b"Date: %b\r\n" % formatdate(usegmt=True).encode()
        shared.retries.refill(now, shared.answered)
        shared.pool.sweep(now)
        self.frontend.vigil.look()
        self.frontend.look()
        shared.evidence.sweep()
        self.store.sweep()
        self.metrics.watch_store()

    async def stop(self) -> None:
        """What serves has ended before."""
        self.shared.pool.retire()
        await self.store.close()
        self.sweeper.stop()
        if self._flush_timer is not None:
            self._flush_timer.cancel()
        self.shared.evidence.close()
        self.access_log.close()
        if self._spans is not None:
            self._spans.close()

    def _flush(self) -> None:
        self._flush_timer = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self._flush)
        self.access_log.flush()


def _access_log(settings: Settings, metrics: Metrics, *, is_alone: bool) -> AccessLog:
    destination = settings.log.access
    try:
        return AccessLog(destination, metrics, is_shared=not is_alone)
    except OSError as error:
        why = (error.strerror or str(error)).lower()
        raise UnusableError(f"log.access: cannot write to {destination}: {why}") from None


def _traces(settings: Settings) -> Traces | None:
    told = settings.traces
    if told.otlp is None:
        return None
    try:
        from proxy.telemetry.spans import SpanWriter  # noqa: PLC0415 - an extra
    except ImportError as error:
        raise UnusableError(
            f"traces.otlp: needs the extra otel: pip install 'weir-proxy[otel]' ({error})"
        ) from None
    headers = {name: value.get_secret_value() for name, value in told.headers.items()}
    return Traces(told.sample, SpanWriter(told.otlp, told.service, headers))


def _store(settings: Settings, figures: StoreFigures) -> Store:
    store = settings.store
    if store.url.kind != "memory":
        try:
            check_store_files(store.tls)
        except TlsError as error:
            raise UnusableError(f"store.tls.{error}") from None
    return open_store(store, figures)


def _sweep_seconds(settings: Settings) -> float:
    """Short timeouts get a finer sweep."""
    down, up = settings.downstream.timeouts, settings.upstream.timeouts
    shortest = min(down.head, down.body, down.idle, down.tunnel, up.connect, up.response, up.idle)
    return max(0.02, min(SWEEP_SECONDS, shortest / 8))
