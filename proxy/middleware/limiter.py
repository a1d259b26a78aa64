"""The limits of a service: rules and a store, made of the same settings as a proxy's.

One object for a process, used on one event loop at a time. It starts with the first request if nobody has
started it before. Knows nothing of frameworks.
"""

from __future__ import annotations

import asyncio
import json
import os
import ssl
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, Self

from proxy.config.loader import loads, read_text
from proxy.limiter.opening import open_store
from proxy.limiter.queues import WaitingRoom
from proxy.middleware.collector import LimiterCollector
from proxy.middleware.passage import Passage
from proxy.middleware.route import RouteLimit
from proxy.policy.limits import Limits
from proxy.rules.rules import Rules
from proxy.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from proxy.config.settings import Settings
    from proxy.limiter.store import Store
    from proxy.policy.limits import Limit

SWEEP_SECONDS = 1.0
# A proxy must have a server, listens, and is looked after; here nobody forwards and nothing listens.
_NO_PROXY = {
    "WEIR_UPSTREAM": '{"servers": ["http://service.invalid"]}',
    "WEIR_LISTEN": "127.0.0.1:0",
    "WEIR_ADMIN": '{"listen": "127.0.0.1:0"}',
    "WEIR_WORKERS": "1",
    "WEIR_TRACES": "{}",
}
# A peer of TCP whose address nobody knows any more. That of a Unix socket is empty, and may be trusted.
GONE = "unknown"


@dataclass(frozen=True, slots=True)
class Arrival:
    """What a framework knows of a request when its head has come."""

    method: str
    target: bytes  # path and query, as they came
    headers: Iterable[tuple[bytes, bytes]]
    peer: str  # address of the other end, or of the client that a server in front has worked out
    scheme: str
    has_crumbs: bool = False  # several Cookie fields are the crumbs of one (HTTP/2: RFC 9113 section 8.2.3)


class Limiter:
    """`limits` and `store` are written as in Weir's config; so are `forwarded`, `errors` and others.

    Raises proxy.config.mistakes.ConfigError for settings that are wrong.
    """

    def __init__(
        self,
        limits: Sequence[Mapping[str, Any]] = (),
        store: Mapping[str, Any] | str = "memory",
        **sections: Any,
    ) -> None:
        given = {"limits": list(limits), "store": {"url": store} if isinstance(store, str) else store}
        self._take(loads(json.dumps(given | sections), "limiter", _NO_PROXY))

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Reads a config of Weir; what it says of listening and forwarding is passed over."""
        made = cls.__new__(cls)
        made._take(loads(read_text(path), os.fspath(path), _environment()))  # noqa: SLF001 - it is ours
        return made

    def _take(self, settings: Settings) -> None:
        self.settings = settings
        self.rules = Rules(settings)
        self.metrics = Metrics()
        self.room = WaitingRoom(monotonic)
        self.routes: dict[str, Limit] = {}
        self.store: Store | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._starting: asyncio.Task[None] | None = None  # by a request
        self._swept = 0.0
        _check_tls(settings)

    # --- what a service uses ---

    def limit(self, name: str, rate: str | None = None, **others: Any) -> RouteLimit:
        """A limit for single routes, written as those of the config are: with a rate, or concurrency."""
        if self.store is not None:
            raise RuntimeError("limits are named before the first request")
        named = {"name": name, "rate": rate} | others
        known = {
            "limits": [{"name": each, "rate": "1/s"} for each in self._names()],
            "plans": [{"name": plan.name, "rate": "1/s"} for plan in self.settings.plans],
        }
        known["limits"].append(named)
        settings = loads(json.dumps(known), f"limit {name}", _NO_PROXY)
        limits = Rules(self.settings.model_copy(update={"limits": settings.limits[-1:]})).limits
        self.routes |= {limit.name: limit for limit in limits}
        return RouteLimit(limits)

    @property
    def collector(self) -> LimiterCollector:
        """What prometheus_client takes: `REGISTRY.register(limiter.collector)`."""
        return LimiterCollector(self.metrics)

    @property
    def is_up(self) -> bool:
        """The store is reached: decisions are exact."""
        return self.store is not None and self.store.is_up

    # --- life ---

    async def start(self) -> None:
        """Starts on the running loop; returns when the store was reached or has failed once."""
        loop = asyncio.get_running_loop()
        if self._loop is loop:
            return
        self._loop = loop
        is_memory = self.settings.store.url.kind == "memory"
        if self.store is None or not is_memory:  # what is in memory does not care which loop asks
            self.store = open_store(self.settings.store, self.metrics.store)
            self.store.configure(Limits([*self.rules.limits, *self.routes.values()]))
            self.metrics.configure(self._names())
            every = (*self.rules.limits, *self.routes.values())
            self.metrics.watch_waits(limit.name for limit in every if limit.watches_waits)
            self.room.configure(limit.name for limit in every if limit.max_wait_us)
            self.metrics.provide_room(self.room)
            held = self.store.held
            self.metrics.provide_slots(lambda: held.by_limit)
            self.metrics.provide_store(self.store)
        await self.store.start()

    async def close(self) -> None:
        """Leaves the store; the next request starts it again."""
        store, self.store, self._loop = self.store, None, None
        if store is not None:
            await store.close()

    # --- each request ---

    async def begin(self, request: Arrival) -> Passage:
        """Starts if need be, for as long as a decision may take; never raises but for a cancellation."""
        if self._loop is not asyncio.get_running_loop():
            self._starting = asyncio.create_task(self.start())
            await asyncio.wait((self._starting,), timeout=self.settings.store.timeout)
        now = monotonic()
        if now - self._swept > SWEEP_SECONDS and self.store is not None:
            self._swept = now
            self.store.sweep()
            self.metrics.watch_store()
        return Passage(self, request, now)

    def _names(self) -> list[str]:
        return [*(limit.name for limit in self.rules.limits), *self.routes]


def _environment() -> dict[str, str]:
    """The variables without those of the proxy alone."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(tuple(_NO_PROXY))}
    return kept | _NO_PROXY


def _check_tls(settings: Settings) -> None:
    """So that a mistake is not taken for an outage. Raises ValueError."""
    tls = settings.store.tls
    context = ssl.create_default_context()
    try:
        if tls.ca is not None:
            context.load_verify_locations(Path(tls.ca))
        if tls.cert is not None:
            context.load_cert_chain(tls.cert, tls.key)
    except OSError as error:  # ssl.SSLError is one
        raise ValueError(f"store.tls: {error}") from None
