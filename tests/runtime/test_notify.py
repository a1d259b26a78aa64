"""Words to the service manager; tests/deploy/test_systemd.py has its unit."""

from __future__ import annotations

import socket

import pytest

from proxy.runtime.notify import Notifier


@pytest.fixture
def manager(tmp_path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(0)
        yield sock


def said(manager):
    words = []
    while True:
        try:
            words.append(manager.recv(100).decode())
        except BlockingIOError:
            return words


@pytest.mark.parametrize(
    ("microseconds", "words"),
    [("30000000", ["READY=1", "WATCHDOG=1"]), ("soon", ["READY=1"]), ("0", ["READY=1"])],
)
async def test_watchdog_is_fed_where_its_time_is_known(manager, microseconds, words):
    """What is no number is no watchdog, and no failure."""
    environ = {"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": microseconds, "WATCHDOG_PID": "1"}
    notifier = Notifier(environ)
    notifier.ready()
    notifier.close()

    assert said(manager) == words
    assert environ == {}
