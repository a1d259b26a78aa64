"""A client that means well, in a process of its own: `python -m tests.soak.innocent PORT`, until SIGTERM.

It asks for what Weir answers by itself, so that its waits are those of Weir's loop; then it prints them as JSON, and by
how much its own sleeps were too long: so busy was the machine.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from collections import Counter

PAUSE_SECONDS = 0.02
REQUEST = b"GET /nowhere/else HTTP/1.1\r\nHost: a\r\n\r\n"


def answered(sock: socket.socket) -> tuple[str, bool]:
    """The status, and whether the connection goes on."""
    data = b""
    while b"\r\n\r\n" not in data:
        if not (more := sock.recv(65536)):
            return "closed", False
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    missing = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]) - len(body)
    while missing > 0:
        missing -= len(sock.recv(missing))
    return head[9:12].decode(), b"connection: close" not in head.lower()


def main(port: int) -> None:
    ended: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: ended.append(number))
    waits: list[float] = []
    overslept: list[float] = []
    statuses: Counter[str] = Counter()
    sock = None
    while not ended:
        try:
            sock = sock or socket.create_connection(("127.0.0.1", port), timeout=10)
            begun = time.monotonic()
            sock.sendall(REQUEST)
            status, stays = answered(sock)
            waits.append(time.monotonic() - begun)
        except OSError as error:
            status, stays = repr(error), False
        statuses[status] += 1
        if not stays and sock is not None:
            sock.close()
            sock = None
        begun = time.monotonic()
        time.sleep(PAUSE_SECONDS)
        overslept.append(time.monotonic() - begun - PAUSE_SECONDS)
    print(json.dumps({"waits": sorted(waits), "overslept": overslept, "statuses": statuses}))


if __name__ == "__main__":
    main(int(sys.argv[1]))
