"""Which exchanges are traced: decided at the head, told when all is over.

Sampling follows the parent (W3C Trace Context); where none comes, a share of the traces begins here. What is
not sampled costs one comparison and changes nothing on its way. Spans are made and sent by a thread
(spans.py), so that a collector that is down, slow or mad costs spans and nothing else.
"""

from __future__ import annotations

from random import getrandbits, random
from typing import TYPE_CHECKING, Protocol

from proxy.http1 import trace_context
from proxy.record import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.record import Record


class Sink(Protocol):
    """Where finished exchanges go."""

    def results(self) -> dict[str, int]:
        """How many spans were exported and how many lost."""

    def offer(self, exchange: Record) -> None:
        """Never waits."""

    def close(self) -> None: ...


class Traces:
    def __init__(self, share: float, sink: Sink, chance: Callable[[], float] = random) -> None:
        """`share`: of the traces that begin here."""
        self.sink = sink
        self._share = share
        self._chance = chance

    def begin(self, fields: Mapping[bytes, bytes], scheme: bytes) -> Trace | None:
        """None if nobody records it."""
        given = fields.get(b"traceparent")
        parent = trace_context.parent(given) if given is not None else None
        if parent is not None:
            return Trace(parent.trace_id, parent.span_id, fields, scheme) if parent.is_sampled else None
        if self._chance() >= self._share:
            return None
        return Trace(f"{getrandbits(128) | 1:032x}", "", fields, scheme)
