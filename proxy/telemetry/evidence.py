"""What the log keeps of answers that broke a promise: originals of replaced ones, leaks, violations.

All are counted; the log takes a ration of them, so that no storm of errors fills a disk: of originals some a
second, of violations one an hour for each status and rule. What was left out is told. An original is masked
in a turn of its own (3 ms at worst, `contract.masking`), so that no storm keeps others waiting. Knows nothing
of how they were found.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from time import monotonic
from typing import TYPE_CHECKING

from proxy.contract.ration import Ration
from proxy.telemetry.log import event
from proxy.telemetry.safe_text import method_text, target_text

if TYPE_CHECKING:
    from proxy.contract.redaction import Original
    from proxy.record import Record
    from proxy.telemetry.metrics import Metrics

# A line has 16 KiB of a body and 64 header fields of 1 KiB at most, nearly always far less: at worst a burst
# is 16 MB, and then come 1.6 MB a second. 20 a second is more than anybody reads.
ORIGINALS_PER_SECOND, ORIGINALS_BURST = 20, 200
VIOLATION_SECONDS = 3600.0  # between two lines of the same kind: the metric counts

_log = logging.getLogger("weir.gateway")


class Evidence:
    __slots__ = ("_metrics", "_originals", "_untold", "_violations")

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._originals = Ration(ORIGINALS_PER_SECOND, ORIGINALS_BURST)
        self._violations: dict[tuple[int, str], Ration] = {}  # as many as the contract has rules
        # Word, request id, and how many were passed over before it; the ration bounds them.
        self._untold: deque[tuple[str, str, Original, int]] = deque()

    def replaced(self, exchange: Record, original: Original) -> None:
        if original.leak:
            self._metrics.count_leak(original.status, original.leak)
        self._metrics.count_redaction(original.status)
        self._note_original(exchange, original, "redacted")

    def leaked(self, exchange: Record, original: Original) -> None:
        """The answer passed, or is about to."""
        self._metrics.count_leak(original.status, original.leak)
        self._note_original(exchange, original, "leak")

    def violated(self, exchange: Record, status: int, rule: str) -> None:
        """The answer passes."""
        self._metrics.count_violation(status, rule)
        ration = self._violations.get((status, rule))
        if ration is None:
            ration = self._violations[status, rule] = Ration(1 / VIOLATION_SECONDS, 1)
        if ration.admits(monotonic()):
            method, target = method_text(exchange.method), target_text(exchange.target)
            event(
                _log,
                logging.WARNING,
                "violation",
                status=status,
                rule=rule,
                request_id=exchange.request_id,
                request=f"{method} {target}",
                passed_over=ration.take_passed_over(),
            )

    def sweep(self) -> None:
        """Tells of originals that were left out once the storm is over, when no other line does."""
        originals = self._originals
        if originals.passed_over and originals.is_full(monotonic()):
            event(_log, logging.WARNING, "originals_left_out", passed_over=originals.take_passed_over())

    def close(self) -> None:
        """Tells all that is left."""
        while self._untold:
            self._tell()

    def _note_original(self, exchange: Record, original: Original, word: str) -> None:
        """Writes it with the request id that the client was given."""
        originals = self._originals
        if originals.admits(monotonic()):
            if not self._untold:
                asyncio.get_running_loop().call_soon(self._take_turn)
            self._untold.append((word, exchange.request_id, original, originals.take_passed_over()))

    def _take_turn(self) -> None:
        try:
            if self._untold:
                self._tell()
        finally:
            if self._untold:  # also behind one that cannot be told
                asyncio.get_running_loop().call_soon(self._take_turn)

    def _tell(self) -> None:
        word, request_id, original, passed_over = self._untold.popleft()
        fields = {"request_id": request_id, **original.for_log()}
        if passed_over:
            fields["passed_over"] = passed_over
        _log.warning(word, extra={"fields": fields})
