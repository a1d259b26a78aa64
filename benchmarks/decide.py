"""python -m benchmarks.decide: what a decision for another proxy costs, beside a request that Weir forwards.

One Weir, which forwards on one port and decides on others. CPU time is that of its process, from /proc; each
round measures every row, and the middle of the rounds counts. Then each kind of question at half of what it
can take: its 99th percentile is what a proxy that asks adds to its own. Beside it the same pace of an nginx
that answers at once, in Weir's place: so much of it is the machine's and the load's own.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import accounting, field, load, programs

CONNECTIONS = 32
USERS = 5000  # and URIs, where no two requests shall be alike
CLIENT = "X-Forwarded-For: 192.0.2.1\r\n"
TOLD = "X-Original-Method: GET\r\nX-Original-URI: {}\r\n"


class Row(NamedTuple):
    """One kind of request: the port it goes to, and what is in it."""

    name: str
    port: int
    data: bytes
    mixed: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.decide")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2, help="of one run")
    parser.add_argument("--compiled", action="store_true", help="the build that users get")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="weir-decide-") as folder:
        place = field.Field(Path(folder))
        try:
            upstream, store, nothing = field.origin(place), field.redis(place), nothing_to_do(place)
            for url in ("memory", f"redis://127.0.0.1:{store.port}"):
                kind = url.partition(":")[0]
                nothing_ms = "of an nginx that answers at once"
                print(f"\n| limits in {kind} | CPU us | ratio | p50 ms | p99 ms | {nothing_ms} |")
                print("| --- | ---: | ---: | ---: | ---: | ---: |")
                measure(place, upstream, nothing, url, options)
        finally:
            place.stop_all()


def measure(
    place: field.Field, upstream: field.Server, nothing: field.Server, url: str, options: argparse.Namespace
) -> None:
    server, rows = start(place, upstream, url, is_compiled=options.compiled)
    costs: dict[str, list[float]] = {row.name: [] for row in rows}
    speeds: dict[str, list[float]] = {row.name: [] for row in rows}
    for _ in range(options.rounds):
        for row in rows:
            cost, done = one_run(place, server, row, options.seconds)
            costs[row.name].append(cost)
            speeds[row.name].append(done.per_second)
    base = {row.mixed: median(costs[row.name]) for row in rows if row.name.startswith("forwarded")}
    for row in rows:
        half = median(speeds[row.name]) / 2
        waits: list[tuple[float, float, float]] = []
        for _ in range(options.rounds):
            done = one_run(place, server, row, options.seconds, half)[1]
            floor = one_run(place, nothing, row._replace(port=nothing.port), options.seconds, half)[1]
            waits.append((done.p50_ms, done.p99_ms, floor.p99_ms))
        p50, p99, machine = (median(each) for each in zip(*waits, strict=True))
        cost = median(costs[row.name])
        told = f"{cost:.1f} | {cost / base[row.mixed]:.2f} | {p50:.2f} | {p99:.2f} | {machine:.2f}"
        print(f"| {row.name} | {told} |", flush=True)
    place.stop(server)


def nothing_to_do(place: field.Field) -> field.Server:
    """An nginx on Weir's core that answers whatever is asked."""
    port, config = field.free_port(), place.folder / "nothing.conf"
    head = field.nginx_head(place, "nothing")
    server = f"server {{ listen 127.0.0.1:{port}; return 200; }}"
    config.write_text(f"{head}http {{ access_log off; keepalive_requests 1000000000; {server} }}")
    return place.start("nothing", ["nginx", "-c", str(config)], port, place.proxy_core)


def start(
    place: field.Field, upstream: field.Server, url: str, *, is_compiled: bool
) -> tuple[field.Server, list[Row]]:
    forward, fields, line = (field.free_port() for _ in range(3))
    config = place.folder / f"{url[:5]}.yaml"
    config.write_text(f"""
listen:
  - 127.0.0.1:{forward}
  - {{address: 127.0.0.1:{fields}, mode: decide, front: nginx}}
  - {{address: 127.0.0.1:{line}, mode: decide, front: itself}}
admin: {{listen: 127.0.0.1:{field.free_port()}}}
upstream: {{servers: ["{upstream.url}"]}}
forwarded: {{trust: [127.0.0.1]}}
store: {{url: "{url}", timeout: 1s}}
limits:
  - {{name: per-user, key: ["header:X-Auth-Token"], rate: 1000000/s, burst: 1000000}}
drain: {{delay: 0s, timeout: 1s}}
log: {{access: {place.folder}/{url[:5]}.access.log, level: warning}}
""")
    weir = [str(programs.weir(is_compiled=True))] if is_compiled else [sys.executable, "-m", "proxy"]
    # Of the checkout: it would stand before what is installed.
    environ = {} if is_compiled else {"PYTHONPATH": str(field.HERE.parent)}
    command = [*weir, "run", "--config", str(config)]
    server = place.start(f"weir-{url[:5]}", command, forward, place.proxy_core, environ)
    path = "/api/entities/10657"
    paths = [f"{path}?page={number}" for number in range(USERS)]
    rows = []
    for which, told, users in (("", [path], CONNECTIONS), (", each of another user", paths, 1)):
        is_mixed = users == 1
        rows += [
            Row(f"forwarded{which}", forward, asked(told, users), is_mixed),
            Row(f"asked by Envoy{which}", line, asked(told, users), is_mixed),
            Row(f"asked by nginx{which}", line, asked(told, users, CLIENT), is_mixed),
            Row(
                f"asked by nginx, the request in fields{which}",
                fields,
                asked(told, users, CLIENT + TOLD, "/_weir"),
                is_mixed,
            ),
        ]
    return server, rows


def asked(paths: list[str], users: int, more: str = "", target: str = "") -> bytes:
    """A request of each user for each path, or for `target` with the path in a field."""
    return b"".join(
        load.requests(target or path, users, more=more.format(path).encode(), first=number)
        for number, path in enumerate(paths)
    )


def one_run(
    place: field.Field, server: field.Server, row: Row, seconds: float, rate: float = 0
) -> tuple[float, load.Load]:
    """CPU time of one request in microseconds."""
    before = accounting.cpu_seconds(server.process.pid)
    done = load.run(
        row.port,
        row.data,
        connections=CONNECTIONS,
        seconds=seconds,
        core=place.load_core,
        mixed=row.mixed,
        rate=rate,
    )
    if done.refused or done.errors:
        raise RuntimeError(f"{row.name}: {done}")
    return (accounting.cpu_seconds(server.process.pid) - before) / done.requests * 1e6, done


if __name__ == "__main__":
    sys.exit(main())
