"""The one reader of files that others write: the config, what it refers to, keys, certificates.

No file keeps its reader waiting or fills the memory: it is read up to a bound, and only if it is a regular
file, since a pipe, a terminal or a device may never come to an end. Commands that somebody types have
patience: they take a pipe too, and `-` for standard input.
"""

from __future__ import annotations

import hashlib
import os
import select
import stat
from pathlib import Path

STDIN = "-"
PATIENCE_SECONDS = 30.0  # of a command, for each piece: whoever renders a chart into a pipe takes a while
_CHUNK_BYTES = 64 * 1024


class UnreadableError(Exception):
    """A file that cannot be read; the message says why, without its name."""


class MissingFileError(UnreadableError):
    """There is none."""


class TooLargeError(UnreadableError):
    """There is more of it than its reader takes."""


def read_file(path: str | os.PathLike[str], most: int, patience: float = 0.0) -> bytes:
    """What the file holds, at most `most` bytes; without patience it must be a regular one.

    `patience` is in seconds. Raises UnreadableError.
    """
    try:
        if patience and os.fspath(path) == STDIN:
            return _read(0, most, patience)
        fd = _opened(path, is_patient=patience > 0)
        try:
            return _read(fd, most, patience)
        finally:
            os.close(fd)
    except FileNotFoundError as error:
        raise MissingFileError(why(error)) from None
    except OSError as error:
        raise UnreadableError(why(error)) from None


def fingerprint_of(data: bytes) -> str:
    """What tells one content from another."""
    return hashlib.sha256(data).hexdigest()


def _opened(path: str | os.PathLike[str], *, is_patient: bool) -> int:
    """Opens it without waiting for a writer; what must be a file is not even opened if it is none."""
    if not is_patient:
        _require_file(Path(path).stat().st_mode)
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)
    if not is_patient and not stat.S_ISREG(os.fstat(fd).st_mode):  # replaced meanwhile
        os.close(fd)
        raise UnreadableError("is no file any more")
    return fd


def _require_file(mode: int) -> None:
    if stat.S_ISREG(mode):
        return
    if stat.S_ISDIR(mode):
        raise IsADirectoryError
    kinds = ((stat.S_ISFIFO, "a pipe"), (stat.S_ISSOCK, "a socket"), (stat.S_ISCHR, "a device or terminal"))
    kind = next((word for is_kind, word in kinds if is_kind(mode)), "a device")
    raise UnreadableError(f"is {kind}; a regular file is needed, since it is read again and again")


def _read(fd: int, most: int, patience: float) -> bytes:
    data = bytearray()
    ready = select.poll()
    ready.register(fd, select.POLLIN)
    while len(data) <= most:
        if patience and not ready.poll(patience * 1000):
            raise UnreadableError(f"gave nothing for {patience:g} s")
        piece = os.read(fd, _CHUNK_BYTES)
        if not piece:
            return bytes(data)
        data += piece
    raise TooLargeError(f"is larger than {most} bytes")


def why(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "no such file"
        case IsADirectoryError():
            return "is a directory; name the file within it"
        case PermissionError():
            return "may not be read by this user"
    return f"cannot be read: {error.strerror or type(error).__name__}"
