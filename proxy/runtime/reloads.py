"""Which config a Weir runs with, and how its last reload went: told alike by a worker and by a supervisor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from proxy.config.loader import config_hash

if TYPE_CHECKING:
    from proxy.config.settings import Settings


class Reloads:
    """The start counts as the first one."""

    def __init__(self, settings: Settings, path: str) -> None:
        self.path = path
        self.hash = config_hash(settings)
        self._started = time.time()
        self._last: dict[str, object] = {}
        self.note(self._started)

    def note(self, at: float, error: str | None = None) -> None:
        """The last one was at this moment, in Unix time; `error` says why the old config stays."""
        self._last = {"successful": error is None, "at": at, "error": error}

    def status(self) -> dict[str, object]:
        return {
            "uptime": round(time.time() - self._started, 3),
            "config": {"file": self.path, "hash": self.hash, "last_reload": self._last},
        }
