"""Weir as its users install it, with what it has by default: metrics, access log, RateLimit fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks import programs
from benchmarks.field import free_port

if TYPE_CHECKING:
    from benchmarks.field import Server
    from benchmarks.peers.task import Task


def start(task: Task, *, is_compiled: bool) -> Server:
    place, port = task.place, free_port()
    name = "weir-compiled" if is_compiled else "weir-source"
    config = place.folder / f"{name}.yaml"
    store = f"redis://127.0.0.1:{task.store.port}" if task.store else "memory"
    config.write_text(f"""
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{free_port()}}}
upstream: {{servers: ["{task.origin.url}"]}}
store: {{url: "{store}"}}
limits:
  - {{name: per-user, key: ["header:X-Auth-Token"], rate: {task.rate}/s, burst: {task.rate}}}
drain: {{delay: 0s, timeout: 1s}}
log: {{access: {place.folder}/{name}.access.log, level: warning}}
""")
    command = [str(programs.weir(is_compiled=is_compiled)), "run", "--config", str(config)]
    return place.start(name, command, port, place.proxy_core)
