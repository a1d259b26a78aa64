"""Free ports below the range from which the kernel takes ports for outgoing connections, so that none is taken meanwhile."""

from __future__ import annotations

import os
import random
import socket

_FIRST, _LAST = 20000, 32000  # Linux: net.ipv4.ip_local_port_range begins at 32768
_random = random.Random(os.getpid() ^ random.getrandbits(32))
_given: set[int] = set()


def free_port() -> int:
    """A port of the loopback address that nobody listens on; never the same twice."""
    for _ in range(1000):
        port = _random.randrange(_FIRST, _LAST)
        if port not in _given and _is_free(port):
            _given.add(port)
            return port
    raise AssertionError("no free port")


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
