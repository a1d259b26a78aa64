"""What the admin plane asks for, of one process or of a supervisor with several."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from proxy.telemetry.sights import Sights

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from proxy.config.sections.front import AdminSettings
    from proxy.config.sections.limits import LimitSettings
    from proxy.telemetry.reading import Reading


class KeyCommands(Protocol):
    """What can be done to one key of a limit, live."""

    verbs: tuple[str, ...]

    async def apply(self, verb: str, limit: str, body: bytes) -> dict[str, object]:
        """What is told of it. Raises NotAppliedError."""


async def _nothing() -> None:
    """What is shown is at hand."""


async def _no_sights(_: float) -> Sights:
    return Sights(0.0, [], [])


@dataclass(frozen=True, slots=True)
class AdminSources:
    """Asked anew at each request; none of it is secret but the token."""

    reading: Callable[[], Reading]
    readiness: Callable[[], tuple[bool, Mapping[str, object]]]  # whether new requests may come, and why
    status: Callable[[], Mapping[str, object]]
    settings: Callable[[], AdminSettings]
    limits: Callable[[], Sequence[LimitSettings]] = tuple
    keys: KeyCommands | None = None
    refresh: Callable[[], Awaitable[None]] = _nothing  # is waited for before metrics and status
    # Busy keys, and what went wrong since a moment of the monotonic clock; refreshes too.
    look: Callable[[float], Awaitable[Sights]] = _no_sights

    @property
    def verbs(self) -> tuple[str, ...]:
        return self.keys.verbs if self.keys is not None else ()
