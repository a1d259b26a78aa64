"""Words to the service manager (sd_notify(3)): ready, stopping, and that the loop still turns.

Without NOTIFY_SOCKET nothing is said. Nobody waits for the manager: what it does not take is lost.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import MutableMapping


class Notifier:
    def __init__(self, environ: MutableMapping[str, str]) -> None:
        """Takes the variables out: workers and other children must not speak for us."""
        path = environ.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + path[1:] if path.startswith("@") else path  # abstract
        self._interval = _watchdog_seconds(environ) / 2  # as sd_watchdog_enabled(3) advises
        self._timer: asyncio.TimerHandle | None = None

    def ready(self) -> None:
        """From here on a loop that does not turn is noticed too."""
        self._say("READY=1")
        if self._interval and self._timer is None:
            self._keep_awake()

    def stopping(self) -> None:
        self._say("STOPPING=1")

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _keep_awake(self) -> None:
        self._say("WATCHDOG=1")
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._keep_awake)

    def _say(self, words: str) -> None:
        if not self._address:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock, suppress(OSError):
            sock.settimeout(0)
            sock.sendto(words.encode(), self._address)


def _watchdog_seconds(environ: MutableMapping[str, str]) -> float:
    environ.pop("WATCHDOG_PID", None)
    try:
        return int(environ.pop("WATCHDOG_USEC", "0")) / 1e6
    except ValueError:
        return 0.0
