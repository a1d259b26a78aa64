"""python -m benchmarks.watched: what clients notice of who watches Weir, and of a log that is stuck.

One worker at half of what it can take, limits in memory. Beside the calm one: 50 dashboards that are open; 4
scrapers of /metrics without a pause; an access log into a pipe that nobody reads, and onto a disk that is
full (a tmpfs of 1 MiB, for which it takes root). They take turns; of the rounds the middle counts.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from benchmarks import accounting, field, load, programs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

CONNECTIONS = 32
VIEWERS, SCRAPERS = 50, 4
LIMITS = 32
DISK = "size=1m"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.watched")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="of one run")
    parser.add_argument("--source", action="store_true", help="this checkout, in the place of what users get")
    parser.add_argument("--watch", nargs=2, metavar=("PATH", "PORT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.watch:
        path, port = options.watch
        asyncio.run(watch(path, int(port)))
    with tempfile.TemporaryDirectory(prefix="weir-watched-") as folder:
        place = field.Field(Path(folder))
        try:
            measure(place, options)
        finally:
            place.stop_all()


def measure(place: field.Field, options: argparse.Namespace) -> None:
    upstream = field.origin(place)
    data = load.requests("/api/entities/10657", CONNECTIONS)
    found: dict[str, list[tuple[float, ...]]] = {name: [] for name in TROUBLES}
    pace = 0.0
    for _ in range(options.rounds):
        for name, (log, watchers) in TROUBLES.items():
            with log(place) as path:
                server, admin = start(place, upstream, path, is_compiled=not options.source)
                pace = pace or run(place, server, data, options.seconds).per_second / 2
                with watchers(place, admin):
                    run(place, server, data, 1, pace)
                    before = accounting.cpu_seconds(server.process.pid)
                    done = run(place, server, data, options.seconds, pace)
                    cost = (accounting.cpu_seconds(server.process.pid) - before) / done.requests * 1e6
                found[name].append((done.p50_ms, done.p99_ms, done.p999_ms, cost))
                place.stop(server)
    print(f"half of what it can take: {pace:,.0f} requests/s\n")
    print("| | p50 ms | p99 ms | p99.9 ms | CPU us |\n| --- | ---: | ---: | ---: | ---: |")
    for name, rounds in found.items():
        p50, p99, p999, cost = (median(each) for each in zip(*rounds, strict=True))
        print(f"| {name} | {p50:.2f} | {p99:.2f} | {p999:.2f} | {cost:.1f} |")


def start(
    place: field.Field, upstream: field.Server, log: Path, *, is_compiled: bool
) -> tuple[field.Server, int]:
    port, admin = field.free_port(), field.free_port()
    limits = [
        f'  - {{name: limit-{number}, key: "header:X-{number}", rate: 1/s}}' for number in range(1, LIMITS)
    ]
    config = place.folder / "weir.yaml"
    config.write_text(
        f"""
listen: 127.0.0.1:{port}
admin: {{listen: 127.0.0.1:{admin}}}
upstream: {{servers: ["{upstream.url}"]}}
drain: {{delay: 0s, timeout: 1s}}
log: {{access: {log}, level: error}}
limits:
  - {{name: per-user, key: ["header:X-Auth-Token"], rate: 1000000/s}}
"""
        + "\n".join(each.replace("rate", "when_absent: skip, rate") for each in limits)
    )
    weir = [str(programs.weir(is_compiled=True))] if is_compiled else [sys.executable, "-m", "proxy"]
    environ = {} if is_compiled else {"PYTHONPATH": str(field.HERE.parent)}
    command = [*weir, "run", "--config", str(config)]
    return place.start("weir", command, port, place.proxy_core, environ), admin


def run(place: field.Field, server: field.Server, data: bytes, seconds: float, rate: float = 0) -> load.Load:
    done = load.run(
        server.port, data, connections=CONNECTIONS, seconds=seconds, core=place.load_core, rate=rate
    )
    if done.refused or done.errors:
        raise RuntimeError(str(done))
    return done


# --- those who watch ---


@contextmanager
def watching(path: str, place: field.Field, admin: int) -> Iterator[None]:
    """On the core of the load, in a process of its own."""
    command = ["taskset", "-c", str(place.load_core), sys.executable, "-m", "benchmarks.watched"]
    environ = os.environ | {"PYTHONPATH": str(field.HERE.parent)}
    process = subprocess.Popen([*command, "--watch", path, str(admin)], env=environ, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()  # all have had something
        yield
    finally:
        process.kill()
        process.wait()


async def watch(path: str, port: int) -> None:
    """Until it is killed."""
    begun: asyncio.Queue[None] = asyncio.Queue()
    one, count = (view, VIEWERS) if path == "/events" else (scrape, SCRAPERS)
    tasks = [asyncio.create_task(one(port, path, begun)) for _ in range(count)]
    for _ in tasks:
        await begun.get()
    print("watching", flush=True)
    await asyncio.gather(*tasks)


async def view(port: int, path: str, begun: asyncio.Queue[None]) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % path.encode())
    begun.put_nowait(await reader.read(1) and None)
    while await reader.read(2**16):
        pass


async def scrape(port: int, path: str, begun: asyncio.Queue[None]) -> None:
    while True:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET %b HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" % path.encode())
        await reader.read()
        writer.close()
        begun.put_nowait(None)


# --- logs that cannot be written ---


@contextmanager
def a_file(place: field.Field) -> Iterator[Path]:
    yield place.folder / "access.log"


@contextmanager
def a_stalled_pipe(place: field.Field) -> Iterator[Path]:
    path = place.folder / "pipe"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        yield path
    finally:
        os.close(reader)
        path.unlink()


@contextmanager
def a_full_disk(place: field.Field) -> Iterator[Path]:
    disk = place.folder / "disk"
    disk.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", DISK, "tmpfs", str(disk)], check=True)
    try:
        yield disk / "access.log"
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def nobody(_: field.Field, __: int) -> AbstractContextManager[None]:
    return nullcontext()


def by(path: str) -> Callable[[field.Field, int], AbstractContextManager[None]]:
    return lambda place, admin: watching(path, place, admin)


TROUBLES: dict[
    str,
    tuple[
        Callable[[field.Field], AbstractContextManager[Path]],
        Callable[[field.Field, int], AbstractContextManager[None]],
    ],
] = {
    "calm": (a_file, nobody),
    f"{VIEWERS} viewers of the dashboard": (a_file, by("/events")),
    f"{SCRAPERS} scrapers without a pause": (a_file, by("/metrics")),
    "a log pipe that nobody reads": (a_stalled_pipe, nobody),
    "a log on a full disk": (a_full_disk, nobody),
}


if __name__ == "__main__":
    sys.exit(main())
