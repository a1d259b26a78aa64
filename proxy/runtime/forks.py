"""The first worker processes of a supervisor: forks of it, made before it has a loop or a thread.

They share what was imported, in time and in memory; those that come after them are started afresh
(docs/decisions/0010-workers.md). Each is told what to do over a pair of sockets, like any other.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from typing import TYPE_CHECKING, NamedTuple

from proxy.runtime.sockets import close_sockets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.runtime.sockets import AdminSockets, ListenSockets


class Process:
    """A fork, as asyncio shows a process that it has started."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.returncode: int | None = None

    async def wait(self) -> int:
        """The exit code, negative for a signal. Holds a thread as long as the process lives."""
        _, status = await asyncio.get_running_loop().run_in_executor(None, os.waitpid, self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)


class Fork(NamedTuple):
    process: Process
    channel: socket.socket  # the supervisor's end


class ForkedWorkers(NamedTuple):
    """All that a supervisor begins with."""

    listeners: Sequence[ListenSockets]  # of each worker
    admin: AdminSockets
    forks: Sequence[Fork]


def fork_workers(listeners: Sequence[ListenSockets], admin: AdminSockets) -> ForkedWorkers | int:
    """Starts a worker on each entry of `listeners`; in a worker, gives the descriptor of its channel.

    A worker keeps no socket but its own. Raises OSError, with all channels closed; workers that are there by
    then end by that.
    """
    gc.freeze()  # what is there by now stays for good: no collection touches the pages that are shared
    pairs = [socket.socketpair() for _ in listeners]
    forks: list[Fork] = []
    for number, (ours, theirs) in enumerate(pairs):
        try:
            pid = os.fork()
        except OSError:
            close_sockets(map(list, pairs))
            raise
        if pid == 0:
            for sock in (sock for sockets in listeners[number] for sock in sockets):
                sock.detach()  # it is told their descriptors
            others = [mine for index, mine in enumerate(listeners) if index != number]
            close_sockets([*admin, *(sockets for mine in others for sockets in mine)])
            close_sockets([list(pair) for index, pair in enumerate(pairs) if index != number])
            ours.close()
            return theirs.detach()
        forks.append(Fork(Process(pid), ours))
    for _, theirs in pairs:
        theirs.close()
    return ForkedWorkers(listeners, admin, forks)
