"""A reverse proxy as most would write it with aiohttp: naive_aiohttp.py."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.field import free_port

if TYPE_CHECKING:
    from benchmarks.field import Server
    from benchmarks.peers.task import Task

SCRIPT = Path(__file__).parent / "naive_aiohttp.py"


def start(task: Task) -> Server:
    port = free_port()
    command = [sys.executable, str(SCRIPT), str(port), task.origin.url, str(task.rate)]
    if task.store is not None:
        command.append(f"redis://127.0.0.1:{task.store.port}")
    return task.place.start("naive", command, port, task.place.proxy_core)
