"""Weir's processes by a fork of one that has imported it: a sixth of the time that a start takes otherwise.

Each is a process of its own, with a config, sockets and a log, measured for coverage like one that a shell
starts. What it shares is the work of importing. Where the start itself is tested, it starts as users start it.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import select
import signal
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

FORKER = Path(__file__).with_name("forker.py")
AT_START = ("PYTHON", "LC_", "LANG", "TZ")  # what an interpreter looks at once, when it starts


def is_forkable(variables: Mapping[str, str]) -> bool:
    """Whether a process sees these variables as one that is started with them."""
    return not any(name.startswith(AT_START) for name in variables)


class Forked:
    """A process as `subprocess.Popen` shows one, as far as tests look at it."""

    def __init__(
        self, command: Sequence[str], environ: Mapping[str, str], folder: Path, streams: Sequence[int]
    ) -> None:
        """`command` is what would be executed; `streams` are the descriptors of its input, output and errors."""
        self.args = command
        self.returncode: int | None = None
        told, telling = os.pipe()
        wanted = json.dumps({"command": list(command), "environ": dict(environ), "folder": str(folder)})
        opening = tuple(command[: command.index("proxy") - 1])
        socket.send_fds(_forker(opening), [wanted.encode()], [*streams, telling])
        os.close(telling)
        self._told = os.fdopen(told, "rb")
        self.pid = int(self._told.readline())

    def poll(self) -> int | None:
        return self._look(0)

    def wait(self, timeout: float | None = None) -> int:
        code = self._look(timeout)
        if code is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def _look(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            with self._told as told:
                self.returncode = int(told.readline())
        return self.returncode


@functools.cache
def _forker(opening: tuple[str, ...]) -> socket.socket:
    """One that is measured and one that is not, for each process that runs tests; they end with that process."""
    from tests.support.weir import environment

    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [*opening, str(FORKER), str(theirs.fileno())], env=environment(), pass_fds=(theirs.fileno(),)
    )
    theirs.close()
    atexit.register(process.wait)
    atexit.register(ours.close)
    return ours
