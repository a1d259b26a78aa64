"""What the admin plane asks of the floors below; the runtime hands it in.

Callables, so that each answer is of now and a reload needs no new admin plane. Knows nothing of HTTP.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from prometheus_client import CollectorRegistry


@dataclass(slots=True)
class ConfigState:
    """The config in force, and how the last attempt to read one ended."""

    file: str
    digest: str = ""  # of the file's bytes
    loaded_at: float = 0.0  # Unix time
    is_last_reload_successful: bool = True
    last_reload_at: float = 0.0  # Unix time
    last_mistakes: Sequence[str] = ()  # file:line:column: message, of a reload that failed


@dataclass(slots=True)
class StoreState:
    is_up: bool = True
    is_required: bool = (
        False  # a limit denies while the store is down, so that nothing can be served without it
    )
    detail: Mapping[str, object] = field(default_factory=dict)


@dataclass(slots=True)
class AdminSources:
    registry: CollectorRegistry
    config: Callable[[], ConfigState | None]  # None: not yet configured
    limits: Callable[[], Sequence[Mapping[str, object]]]  # of the config in force; each has a "name"
    limit_counts: Callable[[], Mapping[str, Mapping[str, int]]]  # by name, then by decision
    upstream: Callable[[], Sequence[Mapping[str, object]]]  # one object a server, with its pool's numbers
    connections: Callable[[], Mapping[str, Mapping[str, int]]]  # side -> state -> count
    store: Callable[[], StoreState]
    is_draining: Callable[[], bool]
    token: Callable[[], str | None]  # None: nobody is asked for one
    uptime: Callable[[], float]  # seconds
