"""A gateway of Node: fastify with its proxy and rate-limit plugins, in memory or with Redis."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import programs
from benchmarks.field import free_port

if TYPE_CHECKING:
    from benchmarks.field import Server
    from benchmarks.peers.task import Task

SCRIPT = Path(__file__).parent / "gateway.cjs"


def start(task: Task) -> Server:
    place, port = task.place, free_port()
    modules = programs.node_modules() / "node_modules"
    command = ["node", str(SCRIPT), str(port), task.origin.url, str(task.rate)]
    command += [f"{place.folder}/node.access.log", str(task.store.port) if task.store else ""]
    return place.start("node", command, port, place.proxy_core, {"NODE_PATH": str(modules)})
