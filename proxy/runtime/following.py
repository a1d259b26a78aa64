"""Follows the config while Weir serves: at SIGHUP, and when its file or one that it refers to has changed.

Config and judging happen in a thread, so that a large file holds up nobody; what was typed as a pipe or as
standard input cannot be read again: the files that it refers to are. A bad file changes nothing.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeVar

from proxy.background import keep_doing
from proxy.config.files import STDIN
from proxy.config.loader import Config, name_of, read_text
from proxy.config.mistakes import ConfigError
from proxy.config.plan_files import BYTES_MAX
from proxy.config.watcher import fingerprint, watch
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.config.settings import Settings

T = TypeVar("T")

# The loop waits for a thread's turn to end. By this and without the collector, a file at its bound of 1 MiB
# holds up a request for 12 ms at most; otherwise for 110.
TURN_SECONDS = 0.0005

_log = logging.getLogger("weir.run")


class Source(NamedTuple):
    """The config that Weir was started with."""

    path: str
    text: str
    reading: Config
    seen: str | None  # its content's fingerprint; None for a pipe, which cannot be read again

    @classmethod
    def read(cls, path: str) -> Source:
        """Raises ConfigError."""
        seen = None if path == STDIN else fingerprint(path)
        text = read_text(path)
        return cls(path, text, Config(text, name_of(path)), seen)


class Reloaded(Protocol):
    async def reload(self, settings: Settings, text: str) -> None: ...
    def refuse_reload(self, error: str) -> None: ...
    def reopen_logs(self) -> None: ...


async def beside_the_loop(work: Callable[[], T]) -> T:
    """The result of what takes long, worked out in a thread that lets the loop in all the time."""
    with _short_turns():
        return await asyncio.to_thread(work)


@contextmanager
def _short_turns() -> Iterator[None]:
    turn, collects = sys.getswitchinterval(), gc.isenabled()
    sys.setswitchinterval(TURN_SECONDS)
    gc.disable()  # one pass over all that a large file becomes stops every thread
    try:
        yield
    finally:
        sys.setswitchinterval(turn)
        if collects:
            gc.enable()


class Follower:
    def __init__(self, service: Reloaded, source: Source) -> None:
        self._service = service
        self._path = source.path
        self._text = source.text  # as it was at the start
        self._seen = source.seen
        self._files = source.reading.files  # that the config refers to, with what was read of them
        self._asked = asyncio.Event()
        self._watches: dict[Path, asyncio.Task[None]] = {}

    def listen(self) -> None:
        """From now on SIGHUP ends nothing; what it asks for waits until the following runs."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._hang_up)

    async def run(self) -> None:
        try:
            self._watch()
            while True:
                await self._asked.wait()
                self._asked.clear()
                await self._reread()
                self._watch()
        finally:
            for task in self._watches.values():
                task.cancel()

    def _hang_up(self) -> None:
        self._service.reopen_logs()
        if self._is_file:
            self._asked.set()
        else:
            event(_log, logging.WARNING, "not_reread", config=name_of(self._path))

    @property
    def _is_file(self) -> bool:
        return self._seen is not None

    def _watch(self) -> None:
        """The files of the day, each from what was read of it on."""
        files = self._files | ({Path(self._path): self._seen} if self._is_file else {})
        for file, task in list(self._watches.items()):
            if file not in files or task.done():
                self._watches.pop(file).cancel()
        for file in files.keys() - self._watches.keys():
            watching = partial(self._tell_changes, file, files[file])
            self._watches[file] = asyncio.create_task(keep_doing(_log, watching))

    async def _tell_changes(self, file: Path, since: str | None) -> None:
        is_config = file == Path(self._path)
        async for _ in watch(file, since=since, most=BYTES_MAX, is_needed=not is_config):
            self._asked.set()

    async def _reread(self) -> None:
        try:
            text, reading = await beside_the_loop(self._read)
            await self._service.reload(reading.settings, text)
        except ConfigError as error:
            self._service.refuse_reload(str(error))
            self._files = {**self._files, **error.files}
        except Exception as error:  # noqa: BLE001 - a mistake of ours must not end the following, nor go unseen
            event(_log, logging.ERROR, "reload_failed", error=error)
        else:
            self._files = reading.files

    def _read(self) -> tuple[str, Config]:
        text = read_text(self._path, patience=0) if self._is_file else self._text
        return text, Config(text, name_of(self._path))
