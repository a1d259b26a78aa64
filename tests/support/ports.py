"""Free ports that no other test has been given, in this process or in a parallel one.

They lie below the range from which the kernel takes ports for outgoing connections. A process claims them by blocks: an
abstract Unix socket of the block's name, which like the ports belongs to the network namespace and ends with its owner.
A port that is given out and not yet, or never, listened on is thus nobody else's.
"""

from __future__ import annotations

import atexit
import itertools
import os
import random
import socket

_FIRST, _END = 10240, 32768  # Linux: net.ipv4.ip_local_port_range begins at 32768
_BLOCK = 64
_BLOCKS_MAX = 8  # of one process, which then gives its oldest ports again
is_real = True  # else nobody can listen on a port, and none has to be claimed
_claims: list[socket.socket] = []
_given: list[int] = []
_unused: list[int] = []
_imaginary = itertools.count(40_000)


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    if not is_real:
        return next(_imaginary)
    for _ in range(_BLOCK * _BLOCKS_MAX):
        port = _next()
        _given.append(port)
        if _is_free(port):
            return port
    raise AssertionError("no free port")


def _next() -> int:
    if not _unused and len(_claims) < _BLOCKS_MAX:
        _unused.extend(_claimed_block())
    assert _unused or _given, "no free port"
    return _unused.pop(0) if _unused else _given.pop(0)


def _claimed_block() -> range:
    """The first that is free, beginning anywhere: who only looks for one at a time seldom meets others."""
    firsts = range(_FIRST, _END, _BLOCK)
    start = random.Random(os.urandom(8)).randrange(len(firsts))  # not the tests' seed: it is the same for all
    for first in itertools.islice(itertools.cycle(firsts), start, start + len(firsts)):
        claim = socket.socket(socket.AF_UNIX)
        try:
            claim.bind(f"\0weir-tests-ports-{first}")
        except OSError:
            claim.close()
            continue
        _claims.append(claim)
        atexit.register(claim.close)
        return range(first, first + _BLOCK)
    return range(0)


def _is_free(port: int) -> bool:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            sock.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
