"""Lines to a file descriptor by a thread of their own, so that a pipe nobody reads cannot stop the loop.

Rules: what waits is bounded by its bytes, and what finds no room is dropped and counted. A write that fails
costs its lines, never the writer: the next ones are tried again. A failure is reported once when it begins
and once when it is over. Knows nothing of what the lines say.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    # What happened, the destination, the cause ("" when it is over) and how many lines were lost.
    LossReport = Callable[[str, str, str, int], None]

QUEUE_BYTES = 4 * 1024 * 1024  # about 10 000 access-log lines: half a second at full speed
FILE_MODE = 0o640  # addresses and paths of clients are not for everybody
POLL_MS = 1000  # a descriptor that does not block is waited for
REOPEN = b"reopen"  # in the queue, between lines; told by identity

# Words of a report.
FAILED = "log_write_failed"
RECOVERED = "log_write_recovered"
CUT = "log_cut_at_close"


def _ignore(word: str, destination: str, cause: str, lines: int) -> None:
    """Nobody is told."""


class LineWriter:
    """Writes to a descriptor it was given, or to a file it opens and can reopen."""

    def __init__(
        self,
        destination: int | str,
        report: LossReport = _ignore,
        *,
        queue_bytes: int = QUEUE_BYTES,
        is_shared: bool = False,
    ) -> None:
        """`is_shared`: other processes write there too, and lines of a pipe must not be torn."""
        self.dropped = 0  # lines
        self._path = destination if isinstance(destination, str) else ""
        self._fd = destination if isinstance(destination, int) else _open(destination)
        self._report = report
        self._is_shared = is_shared
        self._room = queue_bytes  # of what waits or is being written
        self._ready = threading.Condition()  # guards all that follows
        self._queue: deque[bytes] = deque()
        self._is_closing = False
        self._thread: threading.Thread | None = None
        # of the thread alone
        self._is_failing = False
        self._is_torn = False  # the last write ended inside a line

    @property
    def name(self) -> str:
        return self._path or {1: "stdout", 2: "stderr"}.get(self._fd, f"descriptor {self._fd}")

    # --- called by the loop: never waits for the descriptor ---

    def offer(self, data: bytes) -> None:
        """Takes whole lines, or drops them all where there is no room."""
        with self._ready:
            if self._is_closing or len(data) > self._room:
                self.dropped += data.count(b"\n")
                return
            self._room -= len(data)
            self._queue.append(data)
            self._start()
            self._ready.notify()

    def reopen(self) -> None:
        """Opens the file by its name anew, after the lines so far: logrotate has moved the old one."""
        if self._path:
            with self._ready:
                self._queue.append(REOPEN)
                self._start()
                self._ready.notify()

    def close(self, timeout: float = 1.0) -> None:
        """Writes what waits, for at most `timeout` seconds; what is left then is counted as dropped."""
        with self._ready:
            self._is_closing = True
            self._ready.notify()
            thread = self._thread
        if thread is not None:
            thread.join(timeout)
            if thread.is_alive():
                self._abandon()
                return
        if self._path and self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def _start(self) -> None:
        # Also after a fork: the parent's thread is dead here.
        if self._thread is None or not self._thread.is_alive():
            thread = threading.Thread(target=self._run, name="weir-log-writer", daemon=True)
            with suppress(RuntimeError):  # no more threads may be had: what waits is bounded, the next may
                thread.start()
                self._thread = thread

    def _abandon(self) -> None:
        with self._ready:
            lines = sum(data.count(b"\n") for data in self._queue)
            self._queue.clear()
            self.dropped += lines
        self._report(CUT, self.name, "nobody reads it", lines)

    # --- the thread ---

    def _run(self) -> None:
        while (data := self._next()) is not None:
            if data is REOPEN:
                self._reopen()
                continue
            lost = self._write(data)
            with self._ready:
                self._room += len(data)
                self.dropped += lost

    def _next(self) -> bytes | None:
        """The lines to write now, or REOPEN; None when all is written and no more will come."""
        with self._ready:
            while not (self._queue or self._is_closing):
                self._ready.wait()
            return self._queue.popleft() if self._queue else None

    def _write(self, data: bytes) -> int:
        """How many lines were lost."""
        if self._is_failing and self._path:
            self._reopen()
        whole = b"\n" + data if self._is_torn else data
        left = memoryview(whole)
        try:
            while left:
                left = left[self._write_some(left) :]
        except OSError as error:
            return self._failed(error, data, whole[: len(whole) - len(left)])
        self._is_torn = False
        if self._is_failing:
            self._is_failing = False
            self._report(RECOVERED, self.name, "", 0)
        return 0

    def _failed(self, error: OSError, data: bytes, written: bytes) -> int:
        kept = written.count(b"\n") - (1 if self._is_torn and written else 0)
        lost = data.count(b"\n") - kept
        if written:
            self._is_torn = not written.endswith(b"\n")
        if not self._is_failing:
            self._is_failing = True
            self._report(FAILED, self.name, error.strerror or str(error), lost)
        return lost

    def _write_some(self, data: memoryview) -> int:
        if self._is_shared and len(data) > select.PIPE_BUF:  # up to which a pipe takes all or nothing
            data = data[: bytes(data[: select.PIPE_BUF]).rfind(b"\n") + 1] or data
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            poll = select.poll()
            poll.register(self._fd, select.POLLOUT)
            poll.poll(POLL_MS)
            return 0

    def _reopen(self) -> None:
        try:
            fd = _open(self._path)
        except OSError as error:  # the old file is still there to be written
            self._report(FAILED, self.name, error.strerror or str(error), 0)
            return
        if not os.path.samestat(os.fstat(fd), os.fstat(self._fd)):
            self._is_torn = False
        os.close(self._fd)
        self._fd = fd


def _open(path: str) -> int:
    # Non-blocking: a named pipe nobody reads is an error at once, not a wait without end.
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE)
