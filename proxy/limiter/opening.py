"""The store that the settings name. Redis's client is loaded only where buckets live there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.limiter.memory import MemoryStore

if TYPE_CHECKING:
    from proxy.config.sections.store import StoreSettings
    from proxy.limiter.store import Store
    from proxy.telemetry.metrics import StoreFigures


def open_store(store: StoreSettings, figures: StoreFigures) -> Store:
    if store.url.kind == "memory":
        return MemoryStore(max_keys=store.max_keys)
    from proxy.limiter.dialler import Dialler  # noqa: PLC0415 - with it
    from proxy.limiter.redis import RedisStore  # noqa: PLC0415 - a start without it is a sixth faster

    return RedisStore(
        Dialler.of(store),
        store.timeout,
        prefix=store.prefix,
        max_keys=store.max_keys,
        caches_denials=store.denial_cache,
        figures=figures,
    )
