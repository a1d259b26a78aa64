"""python -m benchmarks.workers: what two workers serve, against one, where the load runs on the same cores.

Throughput says nothing there: the load and the service take most of the processors. So CPU time is measured:
N workers on N processors of their own serve N / (CPU time of one request). Each worker has as many
connections as the one alone, since what arrives together shares its costs. Of the rounds the middle counts.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks import accounting, field, load

COUNTS = (1, 2)
CONNECTIONS = 32  # for each worker


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4, help="of one run")
    options = parser.parse_args()
    costs: dict[int, list[float]] = {count: [] for count in COUNTS}
    shares: list[float] = []
    with tempfile.TemporaryDirectory(prefix="weir-workers-") as folder:
        place = field.Field(Path(folder))
        try:
            upstream, store = field.origin(place), field.redis(place)
            servers = {count: start(place, upstream, store, count) for count in COUNTS}
            for _ in range(options.rounds):
                for count, server in servers.items():
                    cost, share = one_run(server, count * CONNECTIONS, options.seconds)
                    costs[count].append(cost)
                    shares += [share] if count > 1 else []
                    print(f"  {count} workers  {cost:6.1f} us  least share {share:.0%}", flush=True)
        finally:
            place.stop_all()
    one, two = median(costs[1]), median(costs[2])
    print(f"CPU per request: 1 worker {one:.1f} us, 2 workers {two:.1f} us")
    print(f"2 workers on 2 processors serve {2 * one / two:.2f} times what 1 serves")
    print(f"least share of the CPU time that a worker had: {median(shares):.0%}")


def start(place: field.Field, upstream: field.Server, store: field.Server, count: int) -> field.Server:
    """Weir with so many workers, bound to no core."""
    port = field.free_port()
    config = place.folder / f"workers-{count}.yaml"
    config.write_text(f"""
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{field.free_port()}}}
workers: {count}
upstream: {{servers: ["{upstream.url}"]}}
store: {{url: "redis://127.0.0.1:{store.port}", timeout: 1s}}
limits:
  - {{name: per-user, key: ["header:X-Auth-Token"], rate: 1000000/s}}
drain: {{delay: 0s, timeout: 1s}}
log: {{access: {place.folder}/workers-{count}.access.log, level: warning}}
""")
    command = [sys.executable, "-m", "proxy", "run", "--config", str(config)]
    server = field.Server(f"{count} workers", port, subprocess.Popen(command, cwd=field.HERE.parent))
    place.servers.append(server)
    field.await_port(server, config)
    return server


def one_run(server: field.Server, connections: int, seconds: int) -> tuple[float, float]:
    """CPU time of one request in microseconds, and the least busy worker's share of it."""
    data = load.requests("/api/entities/10657", connections)
    load.run(server.port, data, connections=connections, seconds=1, core=1)  # warm
    pids = accounting.tree(server.process.pid)
    before = {pid: _own_seconds(pid) for pid in pids}
    done = load.run(server.port, data, connections=connections, seconds=seconds, core=1)
    spent = {pid: _own_seconds(pid) - before[pid] for pid in pids}
    if done.refused or done.errors:
        raise RuntimeError(f"{server.name}: {done}")
    workers = [spent[pid] for pid in pids[1:]] or list(spent.values())
    return sum(spent.values()) / done.requests * 1e6, min(workers) / sum(workers)


def _own_seconds(pid: int) -> float:
    return accounting.cpu_seconds(pid) - sum(
        accounting.cpu_seconds(child) for child in accounting.tree(pid)[1:]
    )


if __name__ == "__main__":
    sys.exit(main())
