"""What is logged of mistakes of our own, and an end for what a run that broke has left."""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


class Crashes(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(
            f"{record.getMessage()}: {getattr(record, 'fields', '')} {record.exc_info and record.exc_info[1]!r}"
        )


@contextmanager
def crashes(name: str = "weir") -> Iterator[list[str]]:
    log, handler = logging.getLogger(name), Crashes()
    level, spreads = log.level, log.propagate
    log.addHandler(handler)
    log.setLevel(logging.ERROR)
    log.propagate = False
    try:
        yield handler.found
    finally:
        log.removeHandler(handler)
        log.setLevel(level)
        log.propagate = spreads


def end_tasks(loop: asyncio.AbstractEventLoop) -> None:
    tasks = asyncio.all_tasks(loop)
    while tasks := {task for task in tasks if not task.done()}:  # redis-py's need it twice at times
        for task in tasks:
            task.cancel()
        loop.run_until_complete(asyncio.wait(tasks, timeout=1))
    loop.close()
