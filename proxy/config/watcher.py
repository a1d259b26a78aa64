"""Tells when the content of a config file has changed, however it was replaced.

Folders are watched, not the file: editors and ConfigMaps swap names and links. What counts is the content, so
that a touch does nothing, and it is read again until it stands still. Where the system gives no notice (a
network file system, no inotify watches left, a folder that is gone for a moment) a slow recheck does. A file
that is missing has not changed.
"""

from __future__ import annotations

import asyncio
import stat
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING

from watchfiles import awatch

from proxy.config.files import fingerprint_of
from proxy.config.loader import FILE_BYTES_MAX

if TYPE_CHECKING:
    import os
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable

    FileLook = tuple[int, ...] | None

RECHECK_SECONDS = 2.0  # also catches what happens while a watch is being set up
SETTLE_SECONDS = 0.2  # an editor that truncates and writes is done by then
DEBOUNCE_MS = 400  # notices that come closer than STEP_MS are gathered for this long at most
STEP_MS = 50
LINKS_MAX = 16  # the kernel follows 40; a ConfigMap has 2


async def watch(
    path: str | os.PathLike[str],
    *,
    since: str | None = None,
    recheck: float = RECHECK_SECONDS,
    most: int = FILE_BYTES_MAX,
    is_needed: bool = False,
) -> AsyncIterator[None]:
    """Yields once for each change, from now on or since the content had the fingerprint `since`.

    What is behind the first `most` bytes is not looked at. That a file `is_needed` is gone is a change too.
    """
    file = Path(path)
    looks: FileLook = ()  # like no file: the first wake is a look at the content
    seen = since or await asyncio.to_thread(fingerprint, file, most)
    while True:
        folders = await asyncio.to_thread(_folders, file)
        async with aclosing(_wakes(folders, recheck)) as wakes:
            async for _ in wakes:
                before, looks = looks, await asyncio.to_thread(_looks, file)
                if looks != before:
                    now = await _settled(file, most)
                    if (now is not None or is_needed) and now != seen:
                        seen = now
                        yield
                if folders != await asyncio.to_thread(_folders, file):
                    break  # the names lead elsewhere now


def _looks(path: Path) -> FileLook:
    """What a file looks like without being read: a large one is only read if this has changed."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def fingerprint(path: str | os.PathLike[str], most: int = FILE_BYTES_MAX) -> str | None:
    """What tells the content of a regular file; None while there is none."""
    try:
        if not stat.S_ISREG(Path(path).stat().st_mode):
            return None  # opening a pipe would wait for its writer
        with Path(path).open("rb") as stream:
            return fingerprint_of(stream.read(most + 1))
    except OSError:
        return None


def _folders(file: Path) -> dict[Path, tuple[int, int]]:
    """The folders whose entries lead to the file, with what tells a new one of the same name."""
    folders: dict[Path, tuple[int, int]] = {}
    for _ in range(LINKS_MAX):
        try:
            status = file.parent.stat()
            folders[file.parent] = (status.st_dev, status.st_ino)
            file = file.parent / file.readlink()
        except OSError:
            break  # the end of the links, or a folder that is missing
    return folders


async def _settled(file: Path, most: int) -> str | None:
    """The fingerprint once two looks agree; a file that never rests is taken as it is."""
    before = await asyncio.to_thread(fingerprint, file, most)
    for _ in range(10):
        await asyncio.sleep(SETTLE_SECONDS)
        now = await asyncio.to_thread(fingerprint, file, most)
        if now == before:
            break
        before = now
    return before


async def _wakes(folders: Iterable[Path], recheck: float) -> AsyncGenerator[None]:
    """Now, whenever something may have changed in these folders, and every `recheck` seconds."""
    yield
    try:
        notices = awatch(
            *folders,
            watch_filter=None,
            debounce=DEBOUNCE_MS,
            step=STEP_MS,
            rust_timeout=max(1, int(recheck * 1000)),
            yield_on_timeout=True,
            recursive=False,
        )
        async with aclosing(notices):
            async for _ in notices:
                yield
    except (OSError, RuntimeError):  # a folder is gone, or the system has no watch left
        await asyncio.sleep(recheck)
        yield
