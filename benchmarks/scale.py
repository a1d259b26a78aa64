"""python -m benchmarks.scale [CURVE...]: how the cost of a request grows with what there is more of.

connections   1 to 10 000 that all ask at once, of which 1024 at most have a server's connection
keys          1 to 1 000 000 users, in memory and in Redis; each has asked once before it is measured
fields        5 to 100 header fields, of another user each time
bodies        answers of 0 to 100 MiB, requests of 0 to 16 KiB

Each curve is a table for docs/performance.md: CPU time of Weir's process for one request, from /proc, and
what else grows. Two workers against one are `benchmarks.workers`.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from benchmarks import accounting, field, load, programs

if TYPE_CHECKING:
    from collections.abc import Iterator

PATH = "/api/entities/10657"
CONNECTIONS = (1, 4, 32, 256, 1024, 4096, 10_000)
KEYS = (1, 100, 10_000, 100_000, 1_000_000)
FIELDS = (6, 10, 25, 50, 100)  # those of any request among them
USUAL_FIELDS = 6
SIZES = {"0": 0, "1 KiB": 2**10, "16 KiB": 2**14, "256 KiB": 2**18, "4 MiB": 2**22, "100 MiB": 100 * 2**20}
UPLOADS = 3  # of these sizes: the origin answers larger ones before it has read them
AT_ONCE = 1024  # connections to the service
OPENED_PER_SECOND = 500  # connections, of which each then has some fifty answers
LEAST_PACE = 20 * 2**20  # bytes a second and connection
FIRST_SECONDS = 40  # in which each of a million users can ask once


class Run(NamedTuple):
    """What a request costs at one place of a curve."""

    place: str
    cpu_us: float
    per_second: float
    p99_ms: float
    memory_mib: float


class Weir:
    """The build that is measured, on a field of its own."""

    def __init__(self, place: field.Field, store: str, *, is_compiled: bool) -> None:
        self.place = place
        self.origin = field.origin(place)
        self.server = self._start(store, is_compiled)

    def _start(self, store: str, is_compiled: bool) -> field.Server:  # noqa: FBT001 - of one caller
        place, port = self.place, field.free_port()
        url = f"redis://127.0.0.1:{field.redis(place).port}" if store == "redis" else "memory"
        config = place.folder / "weir.yaml"
        config.write_text(f"""
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{field.free_port()}}}
upstream:
  servers: ["{self.origin.url}"]
  limits: {{connections: {AT_ONCE}, queue: 20000, wait: 60s}}
downstream: {{timeouts: {{head: 60s}}}}
store: {{url: "{url}", timeout: 1s, max_keys: {2 * KEYS[-1]}}}
limits:
  - {{name: per-user, key: ["header:X-Auth-Token"], rate: 1000000/h, burst: 1000000}}
drain: {{delay: 0s, timeout: 1s}}
log: {{access: {place.folder}/access.log, level: warning}}
""")
        environ = {"PYTHONPATH": str(field.HERE.parent)} if not is_compiled else {}
        weir = [str(programs.weir(is_compiled=True))] if is_compiled else [sys.executable, "-m", "proxy"]
        command = [*weir, "run", "--config", str(config)]
        return place.start("weir", command, port, place.proxy_core, environ)

    def run(self, data: bytes, connections: int, seconds: float, *, mixed: bool = False) -> load.Load:
        core = self.place.load_core
        done = load.run(
            self.server.port, data, connections=connections, seconds=seconds, core=core, mixed=mixed
        )
        if done.refused or done.errors or not done.requests:
            raise RuntimeError(f"{connections} connections: {done}")
        return done

    def measured(
        self, place: str, data: bytes, connections: int, options: argparse.Namespace, *, mixed: bool = False
    ) -> Run:
        """The middle of the rounds, after one that does not count."""
        self.run(data, connections, options.seconds, mixed=mixed)
        pid = self.server.process.pid
        runs = []
        for _ in range(options.rounds):
            before = accounting.cpu_seconds(pid)
            done = self.run(data, connections, options.seconds, mixed=mixed)
            cost = (accounting.cpu_seconds(pid) - before) / done.requests * 1e6
            runs.append((cost, done.per_second, done.p99_ms))
        memory = accounting.memory_bytes(pid) / 2**20
        return Run(place, *(median(each) for each in zip(*runs, strict=True)), memory)


# --- the curves ---


def connections(weir: Weir, options: argparse.Namespace) -> Iterator[Run]:
    """Longer with more of them: opening them is not what is measured."""
    usual = options.seconds
    for count in CONNECTIONS:
        options.seconds = max(usual, count / OPENED_PER_SECOND)
        yield weir.measured(f"{count:,}", load.requests(PATH, count), count, options)


def keys(weir: Weir, options: argparse.Namespace) -> Iterator[Run]:
    for count in KEYS:
        data = load.requests(PATH, count)
        if count > KEYS[2]:
            weir.run(data, 32, FIRST_SECONDS * count / KEYS[-1], mixed=True)
        yield weir.measured(f"{count:,}", data, 32, options, mixed=True)


def fields(weir: Weir, options: argparse.Namespace) -> Iterator[Run]:
    for count in FIELDS:
        more = b"".join(b"X-Field-%d: value-%d\r\n" % (each, each) for each in range(count - USUAL_FIELDS))
        yield weir.measured(str(count), load.requests(PATH, 10_000, more=more), 32, options, mixed=True)


def bodies(weir: Weir, options: argparse.Namespace) -> Iterator[Run]:
    """Longer with larger ones, so that each connection has some."""
    usual = options.seconds
    for name, size in SIZES.items():
        options.seconds = max(usual, size / LEAST_PACE)
        file = weir.place.folder / "files" / f"{size}"
        file.write_bytes(os.urandom(size))
        yield weir.measured(f"answer of {name}", load.requests(f"/files/{size}", 4), 4, options)
        file.unlink()
    options.seconds = usual
    for name, size in list(SIZES.items())[:UPLOADS]:
        yield weir.measured(f"request of {name}", load.requests(PATH, 4, size), 4, options)


CURVES = {
    "connections": (connections, "memory"),
    "keys": (keys, "memory"),
    "keys-redis": (keys, "redis"),
    "fields": (fields, "memory"),
    "bodies": (bodies, "memory"),
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale")
    parser.add_argument("curves", nargs="*", default=list(CURVES), metavar="CURVE", help=", ".join(CURVES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of one run")
    parser.add_argument("--source", action="store_true", help="this checkout, in the place of what users get")
    options = parser.parse_args()
    for name in options.curves:
        curve, store = CURVES[name]
        with tempfile.TemporaryDirectory(prefix="weir-scale-") as folder:
            place = field.Field(Path(folder))
            try:
                weir = Weir(place, store, is_compiled=not options.source)
                print(f"\n| {name} | CPU us | requests/s | p99 ms | memory MiB |")
                print("| --- | ---: | ---: | ---: | ---: |")
                for run in curve(weir, options):
                    print(
                        f"| {run.place} | {run.cpu_us:,.1f} | {run.per_second:,.0f} | {run.p99_ms:,.1f}"
                        f" | {run.memory_mib:.0f} |",
                        flush=True,
                    )
            finally:
                place.stop_all()


if __name__ == "__main__":
    sys.exit(main())
