"""python -m benchmarks.start: from the start of a process to its first answer, Weir beside nginx and HAProxy.

Wall time and the CPU time of all its processes by then, the median of each; the cases take turns, so that a
busy machine is busy for all. Bytecode is kept, as in an installed Weir; the first round makes it and does
not count.
"""

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import accounting, field, programs
from benchmarks.peers import HAPROXY, NGINX, PEERS
from benchmarks.peers.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterator

ROUNDS = 9
LOOK_SECONDS = 0.002  # between two tries to connect
PATIENCE_SECONDS = 15.0
REQUEST = b"GET /api/entities/10657 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.start")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-start-") as folder:
        place = field.Field(Path(folder))
        try:
            upstream, store = field.origin(place), field.redis(place)
            cases = {name: (command, port) for name, command, port in commands(place, upstream, store)}
            times: dict[str, list[tuple[float, float]]] = {name: [] for name in cases}
            for number in range(options.rounds + 1):
                for name, (command, port) in cases.items():
                    measured = first_answer(command, port, place.folder)
                    times[name] += [measured] if number else []
        finally:
            place.stop_all()
    for name, measured in times.items():
        walls, costs = zip(*measured, strict=True)
        print(
            f"{name:24} {median(walls) * 1000:5.0f} ms ({min(walls) * 1000:.0f} to {max(walls) * 1000:.0f}), "
            f"CPU {median(costs) * 1000:4.0f} ms"
        )


def commands(
    place: field.Field, upstream: field.Server, store: field.Server
) -> Iterator[tuple[str, list[str], int]]:
    """Name, command and port of each case."""
    weir = [sys.executable, "-m", "proxy", "run", "--config"]
    url = f"redis://127.0.0.1:{store.port}"
    for name, count, where in (
        ("Weir, memory", 1, "memory"),
        ("Weir, Redis", 1, url),
        ("Weir, Redis, 2 workers", 2, url),
    ):
        port, config = field.free_port(), place.folder / f"{count}-{where[:5]}.yaml"
        config.write_text(f"""
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{field.free_port()}}}
workers: {count}
upstream: {{servers: ["{upstream.url}"]}}
store: {{url: "{where}"}}
limits:
  - {{name: per-user, key: ["header:X-Auth-Token", client-ip], rate: 1000/s}}
drain: {{delay: 0s, timeout: 1s}}
log: {{access: "off", level: warning}}
""")
        yield name, [*weir, str(config)], port
    for name in (NGINX, HAPROXY):
        try:
            server = PEERS[name](Task(place, upstream, 1000, None))  # which writes its config
        except programs.MissingError as missing:
            print(f"{name}: left out, since it needs {missing}")
            continue
        command = [str(part) for part in server.process.args][3:]  # type: ignore[union-attr]  # behind taskset
        place.stop(server)
        yield name, command, server.port


def first_answer(command: list[str], port: int, folder: Path) -> tuple[float, float]:
    """Seconds until a 200 has come, and of CPU time until then."""
    environ = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    environ["PYTHONPYCACHEPREFIX"] = str(folder / "bytecode")
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=environ, cwd=field.HERE.parent, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        while not is_answered(port):
            waited = time.perf_counter() - began
            if process.poll() is not None or waited > PATIENCE_SECONDS:
                raise RuntimeError(f"no answer after {waited:.1f} s: {' '.join(command)}")
            time.sleep(LOOK_SECONDS)
        return time.perf_counter() - began, accounting.cpu_seconds(process.pid)
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def is_answered(port: int) -> bool:
    """With a 200, on a connection of its own."""
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1.0) as sock:
        sock.sendall(REQUEST)
        return sock.recv(64).startswith(b"HTTP/1.1 200 ")
    return False


if __name__ == "__main__":
    sys.exit(main())
