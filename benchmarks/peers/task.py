"""What a proxy is started for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from benchmarks.field import Field, Server


@dataclass(frozen=True)
class Task:
    """One case's proxies all get the same."""

    place: Field
    origin: Server
    rate: int  # of the limit, a second; the burst is as large
    store: Server | None  # Redis, or none: limits in memory


class Start(Protocol):
    def __call__(self, task: Task) -> Server:
        """Raises programs.MissingError."""
