"""The gateway's log during the demo: originals of redacted answers are kept by request id, errors are told at
once.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ORIGINALS_MAX = 100


class Journal(logging.Handler):
    """Listens while it is entered; then nothing of Weir's log goes anywhere else."""

    def __init__(self, tell: Callable[[str], None]) -> None:
        super().__init__()
        self._tell = tell
        self._originals: OrderedDict[str, Mapping[str, object]] = OrderedDict()
        self._logger = logging.getLogger("weir")
        self._propagated = self._logger.propagate

    def __enter__(self) -> Self:
        self._logger.addHandler(self)
        self._propagated, self._logger.propagate = self._logger.propagate, False
        return self

    def __exit__(self, *_: object) -> None:
        self._logger.removeHandler(self)
        self._logger.propagate = self._propagated

    def original(self, request_id: str) -> Mapping[str, object] | None:
        """What the log says of the answer that was replaced."""
        return self._originals.get(request_id)

    def emit(self, record: logging.LogRecord) -> None:
        fields = getattr(record, "fields", {})
        if record.levelno >= logging.ERROR:
            self._tell(f"{record.getMessage()} {fields or ''}")
        elif "request_id" in fields and "body" in fields:
            self._originals[str(fields["request_id"])] = fields
            if len(self._originals) > ORIGINALS_MAX:
                self._originals.popitem(last=False)
