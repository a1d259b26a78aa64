"""Access logs as they lie about: files, gzipped or not, or standard input; whole lines out, piece by piece.

Memory is that of a piece, whatever the log: a line beyond its bound is dropped while it is read, a gzipped
log is unpacked as it is read, and one that is cut or ends in junk counts as far as it goes.
"""

from __future__ import annotations

import os
import stat
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from collections.abc import Iterator

STDIN = "-"
PIECE_BYTES = 1024 * 1024
LINE_BYTES_MAX = 128 * 1024  # a request line of 8 KiB is written in 48 at most
GZIP_MAGIC = b"\x1f\x8b"
_GZIP_BITS = 16 + zlib.MAX_WBITS


class LogError(Exception):
    """A log that cannot be read; the message names it."""


class Log:
    """One log, read once from its beginning to its end."""

    def __init__(self, path: str) -> None:
        """Raises LogError."""
        self.path = path
        self.read_bytes = 0  # as it lies there
        self.lines = 0
        self.dropped = 0  # lines beyond their bound
        self.problem: str | None = None  # why it ended early
        self._file = _opened(path)
        mode = os.fstat(self._file.fileno())
        self.size = mode.st_size if stat.S_ISREG(mode.st_mode) else None

    @property
    def name(self) -> str:
        return "<stdin>" if self.path == STDIN else legible(self.path)

    def pieces(self) -> Iterator[bytes]:
        """Whole lines, each with its end."""
        rest = b""
        with self._file:
            for data in self._unpacked():
                end = data.rfind(b"\n") + 1
                if end:
                    yield self._bounded(rest + data[:end])
                    rest = b""
                rest += data[end:]
                rest = rest[: LINE_BYTES_MAX + 1]  # of a line that is too long, as much as tells so
        if rest.strip():
            yield self._bounded(rest + b"\n")

    def _bounded(self, piece: bytes) -> bytes:
        """Leaves out the lines that are too long; there are none in nearly all pieces."""
        self.lines += piece.count(b"\n")
        if _is_bounded(piece):
            return piece
        lines = piece.split(b"\n")
        kept = [line for line in lines if len(line) <= LINE_BYTES_MAX]
        self.dropped += len(lines) - len(kept)
        return b"\n".join(kept)

    def _raw(self) -> Iterator[bytes]:
        try:
            while data := self._file.read(PIECE_BYTES):
                self.read_bytes += len(data)
                yield data
        except OSError as error:
            raise LogError(f"{self.name}: {_why(error)}") from None

    def _unpacked(self) -> Iterator[bytes]:
        raw = self._raw()
        first = next(raw, b"")
        if not first.startswith(GZIP_MAGIC):
            yield first
            yield from raw
            return
        yield from self._gunzipped(first, raw)

    def _gunzipped(self, data: bytes, raw: Iterator[bytes]) -> Iterator[bytes]:
        """One member or several, since logs are appended to each other."""
        while data.startswith(GZIP_MAGIC):
            unpack = zlib.decompressobj(_GZIP_BITS)
            while data and not unpack.eof:
                try:
                    yield unpack.decompress(data, PIECE_BYTES)
                except zlib.error:
                    self.problem = "is broken from there on"
                    return
                data = unpack.unconsumed_tail or (b"" if unpack.eof else next(raw, b""))
            if not unpack.eof:
                yield unpack.flush()
                self.problem = "is cut"
                return
            data = unpack.unused_data or next(raw, b"")
        if data:
            self.problem = "has junk behind its end"


def legible(path: str) -> str:
    """A file's name as text that any output takes: it may be no UTF-8."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _is_bounded(piece: bytes) -> bool:
    """From each line's end there is another one near enough."""
    start, most = 0, LINE_BYTES_MAX + 1
    while len(piece) - start > most:
        start = piece.rfind(b"\n", start, start + most) + 1
        if not start:
            return False
    return True


def _opened(path: str) -> BinaryIO:
    if path == STDIN:
        if sys.stdin is None:
            raise LogError("<stdin>: is closed")
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb", buffering=0)
    try:
        if Path(path).is_dir():
            raise LogError(f"{path}: is a directory; name the files within it")
        return Path(path).open("rb", buffering=0)
    except OSError as error:
        raise LogError(f"{path}: {_why(error)}") from None


def _why(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "no such file"
        case PermissionError():
            return "may not be read by this user"
    return f"cannot be read: {error.strerror or type(error).__name__}"
