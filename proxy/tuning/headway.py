"""How far a simulation is: a bar with the time that is left, on a terminal only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from proxy.tuning.logs import Log

READING = 100  # of the way; what-ifs are the rest
SEARCHING = 30


class Headway:
    def __init__(self, logs: Sequence[Log], searches: int) -> None:
        self._logs = logs
        sizes = [log.size for log in logs]
        self._bytes = None if None in sizes else max(1, sum(filter(None, sizes)))
        self._search = SEARCHING / max(1, searches)
        self._done = 0.0
        console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[lines]:,} lines"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        total = None if self._bytes is None else float(READING + SEARCHING)
        self._task = self._bar.add_task("replaying", total=total, lines=0)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def read(self) -> None:
        """A piece of a log was replayed."""
        lines = sum(log.lines for log in self._logs)
        if self._bytes is None:
            self._bar.update(self._task, lines=lines)
        else:
            done = READING * sum(log.read_bytes for log in self._logs) / self._bytes
            self._bar.update(self._task, completed=done, lines=lines)

    def searched(self) -> None:
        """One limit's what-ifs are known."""
        self._bar.update(self._task, description="what if", total=READING + SEARCHING)
        self._done += self._search
        self._bar.update(self._task, completed=READING + self._done)
