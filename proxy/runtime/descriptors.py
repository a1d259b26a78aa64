"""How many clients a process has descriptors for: the soft limit is raised as far as the settings need.

A client at rest takes one, an exchange one more towards the service; what Redis, the admin plane, logs and
refusals take is kept free. Knows nothing of connections.
"""

from __future__ import annotations

import logging
import resource
from typing import Final

from proxy.net.frontend import DOOR
from proxy.telemetry.log import event

# What is not for clients and the service: three doors (refusals, handshakes, PROXY headers) and the rest.
RESERVE: Final = 3 * DOOR + 160

_log = logging.getLogger("weir.worker")


def clients_within(limit: int) -> int:
    """So many clients, half of them with an exchange under way, fit into the limit; one at least."""
    return max(1, (limit - RESERVE) * 2 // 3)


def room_for(clients: int) -> int:
    """Raises the soft limit if that needs it: how many clients there is room for. A warning if too few."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = clients + (clients + 1) // 2 + RESERVE
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return clients
    limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    except (OSError, ValueError):  # the system's own bound is lower still
        limit = soft
    room = min(clients, clients_within(limit))
    if room < clients:
        event(_log, logging.WARNING, "few_descriptors", limit=limit, needed=wanted, connections=room)
    return room
