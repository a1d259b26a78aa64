"""The answers of /readyz and /status, put together from the sources.

Knows nothing of HTTP; shows no secret: the sources give none.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from proxy import __version__
from proxy.telemetry.metrics import DECISIONS

if TYPE_CHECKING:
    from proxy.admin.sources import AdminSources, ConfigState, StoreState


def readiness(sources: AdminSources) -> tuple[bool, dict[str, object]]:
    """Whether new requests should come here; a store that is down is no obstacle unless a limit denies then."""
    config = sources.config()
    store = sources.store()
    is_draining = sources.is_draining()
    is_ready = config is not None and not is_draining and (store.is_up or not store.is_required)
    return is_ready, {
        "ready": is_ready,
        "config": "loaded" if config is not None else "missing",
        "draining": is_draining,
        "store": _store(store),
    }


def status(sources: AdminSources) -> dict[str, object]:
    """What an on-call engineer wants to see first."""
    counts = sources.limit_counts()
    return {
        "version": __version__,
        "uptime_seconds": round(sources.uptime(), 3),
        "draining": sources.is_draining(),
        "config": _config(sources.config()),
        "limits": [
            {**limit, **dict.fromkeys(DECISIONS, 0), **counts.get(str(limit["name"]), {})}
            for limit in sources.limits()
        ],
        "upstream": {"servers": list(sources.upstream())},
        "connections": sources.connections(),
        "store": _store(sources.store()),
    }


def _store(store: StoreState) -> dict[str, object]:
    return {"up": store.is_up, "required": store.is_required, **store.detail}


def _config(config: ConfigState | None) -> dict[str, object] | None:
    if config is None:
        return None
    return {
        "file": config.file,
        "hash": config.digest,
        "loaded_at": _moment(config.loaded_at),
        "last_reload": {
            "at": _moment(config.last_reload_at),
            "successful": config.is_last_reload_successful,
            "mistakes": list(config.last_mistakes),
        },
    }


def _moment(unix: float) -> str | None:
    """RFC 3339 in UTC; None for what has not happened."""
    return datetime.fromtimestamp(unix, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if unix else None
