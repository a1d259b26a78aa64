"""The last exchanges that went wrong, by kind, so that a flood of one kind does not wash away another.

A refusal by a limit is none of them: who is refused shows among the top keys. Small copies are kept, never
the exchange: a target may have megabytes of head beside it. Knows nothing of who looks.
"""

from __future__ import annotations

from collections import deque
from time import monotonic, time
from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.faults import ABANDONED, FAULTED, REFUSED
from proxy.telemetry.safe_text import method_text, target_text
from proxy.telemetry.sights import Trouble

if TYPE_CHECKING:
    from proxy.record import Record

KEPT: Final = 100  # of a kind
TARGET_BYTES: Final = 300
REDACTED: Final = "redacted"
KINDS: Final = (REDACTED, FAULTED, REFUSED, ABANDONED)


class RecentExchange:
    """What is copied when it happens; it becomes text when somebody looks."""

    __slots__ = (
        "client",
        "fault",
        "finished",
        "kind",
        "method",
        "redacted_status",
        "request_id",
        "seconds",
        "server",
        "status",
        "target",
        "upstream_seconds",
    )

    def __init__(self, exchange: Record, kind: str) -> None:
        self.kind = kind
        self.finished = exchange.finished
        self.seconds = exchange.finished - exchange.started
        self.upstream_seconds = exchange.upstream_seconds
        self.request_id = exchange.request_id
        self.client = exchange.client
        self.method = exchange.method
        self.target = _cut(exchange.target)
        self.status = exchange.status
        self.fault = exchange.fault.reason if exchange.fault is not None else ""
        self.server = exchange.server
        self.redacted_status = exchange.redacted_status


def _cut(target: bytes) -> bytes:
    return target if len(target) <= TARGET_BYTES else target[: TARGET_BYTES - 1] + b"~"


class Recent:
    __slots__ = ("_rings",)

    def __init__(self) -> None:
        self._rings: dict[str, deque[RecentExchange]] = {kind: deque(maxlen=KEPT) for kind in KINDS}

    def note(self, exchange: Record) -> None:
        """An exchange with a fault, or whose answer was replaced."""
        if exchange.fault is faults.LIMITED:
            return
        kind = REDACTED if exchange.redacted_status else exchange.outcome
        ring = self._rings.get(kind)
        if ring is not None:
            ring.append(RecentExchange(exchange, kind))

    def since(self, moment: float) -> list[Trouble]:
        """Those that ended after a moment of the monotonic clock, the oldest first."""
        epoch = time() - monotonic()
        found = [entry for ring in self._rings.values() for entry in ring if entry.finished > moment]
        found.sort(key=lambda entry: entry.finished)
        return [_trouble(entry, epoch) for entry in found]


def _trouble(entry: RecentExchange, epoch: float) -> Trouble:
    return Trouble(
        time=round(entry.finished + epoch, 3),
        request_id=entry.request_id,
        kind=entry.kind,
        status=entry.status,
        method=method_text(entry.method),
        target=target_text(entry.target),
        client=entry.client,
        duration_ms=round(entry.seconds * 1e3, 3),
        mark=entry.finished,
        upstream_ms=round(entry.upstream_seconds * 1e3, 3) if entry.upstream_seconds else None,
        fault=entry.fault or None,
        server=entry.server or None,
        redacted_status=entry.redacted_status or None,
    )
