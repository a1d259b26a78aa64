"""A process that has imported all that Weir runs on, and forks one for each that is asked for.

The program of tests/support/forked.py, which says who asks it: a descriptor of a socket is its one argument.
It imports nothing of the tests, so that it serves the compiled build too. What a fork measures for coverage
is saved at its end, as by any process.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import logging
import os
import runpy
import selectors
import signal
import socket
import sys
import threading
from typing import Any

IMPORTED = (
    "proxy.cli",
    "proxy.runtime.run",
    "proxy.runtime.worker",
    "proxy.runtime.supervisor",
    "proxy.config.printed",
    "proxy.config.doubts",
    "proxy.tuning.simulate",
    "proxy.tuning.explain",
)
MESSAGE_BYTES = 256 * 1024  # a command and its environment


def serve(asked: socket.socket) -> list[str]:
    """Forks until nobody can ask any more; in a fork, returns its command."""
    selector = selectors.DefaultSelector()
    selector.register(asked, selectors.EVENT_READ)
    while True:
        for key, _ in selector.select():
            if key.fileobj is asked:
                message, fds, _, _ = socket.recv_fds(asked, MESSAGE_BYTES, 4)
                if not message:
                    os._exit(0)
                *streams, told = fds
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    asked.detach()
                    return become(json.loads(message), streams)
                for fd in streams:
                    os.close(fd)
                os.write(told, b"%d\n" % pid)
                selector.register(os.pidfd_open(pid), selectors.EVENT_READ, (pid, told))
            else:
                pid, told = key.data
                selector.unregister(key.fileobj)
                os.close(key.fd)
                _, status = os.waitpid(pid, 0)
                with contextlib.suppress(BrokenPipeError):  # nobody asks any more how it ended
                    os.write(told, b"%d\n" % os.waitstatus_to_exitcode(status))
                os.close(told)


def become(wanted: dict[str, Any], streams: list[int]) -> list[str]:
    """A process as a shell would have started it: three descriptors, its environment, its folder."""
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    os.closerange(3, 1 << 16)
    os.environ.clear()
    os.environ.update(wanted["environ"])
    os.chdir(str(wanted["folder"]))
    command = [str(part) for part in wanted["command"]]
    sys.orig_argv[:] = command  # by which workers are started again
    return command


def leave(code: object) -> None:
    """Ends at once, if it can: an end takes apart, object by object, what a fork shares, which is half of all its time.

    What nothing refers to is taken apart, and complains if it was not closed.
    """
    waited_for = [thread for thread in threading.enumerate() if not thread.daemon]  # this one, and no other
    if len(waited_for) > 1 or not isinstance(code, int | None):
        return
    gc.collect()
    save_what_was_met()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


def save_what_was_met() -> None:
    """For coverage, if it measures: what the imports met is saved once, and a fork saves what it has met itself."""
    if "coverage" in sys.modules:
        sys.modules["coverage"].Coverage.current().save()


if __name__ == "__main__":
    for name in IMPORTED:
        importlib.import_module(name)
    save_what_was_met()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.freeze()  # as the supervisor does before it forks
    begun = serve(socket.socket(fileno=int(sys.argv[1])))
    sys.argv[1:] = begun[begun.index("proxy") + 1 :]
    try:
        runpy.run_module("proxy", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        leave(end.code)
        raise
