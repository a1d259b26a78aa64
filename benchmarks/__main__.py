"""python -m benchmarks: measures Weir and its peers side by side.

python -m benchmarks                                     everything, results into benchmarks/out/
python -m benchmarks --write                             and docs/performance.md
python -m benchmarks --cases memory-32 --peers weir haproxy --rounds 3 --seconds 3
python -m benchmarks --render benchmarks/out/before.json    docs/performance.md from earlier results
python -m benchmarks --compare benchmarks/out/before.json --cases memory-32 --peers weir
"""

from __future__ import annotations

import argparse
import json
import socket
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import accounting, load, peers, report
from benchmarks.cases import CASES, Case

OUT = Path(__file__).parent / "out"
PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
IDLE_CONNECTIONS = 5000
RESTING = ("weir", "weir compiled", "haproxy", "nginx")  # whose idle connections are weighed


def main() -> None:
    options = _options()
    if options.render:
        PAGE.write_text(report.render(json.loads(Path(options.render).read_text()), CASES))
        return
    cases = tuple(case for case in CASES if not options.cases or case.name in options.cases)
    if absent := peers.missing_tools(needs_redis=any(case.needs_redis for case in cases)):
        sys.exit(f"the benchmarks need {absent} (Debian: apt-get install {absent})")
    results: dict[str, Any] = {"machine": report.machine(), "cases": {}, "memory": {}}
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        place = peers.Field(Path(folder))
        try:
            for case in cases:
                results["cases"][case.name] = measure(place, case, options)
            if options.memory:
                results["memory"] = idle_memory(place, options.peers or list(RESTING))
        finally:
            place.stop_all()
    OUT.mkdir(exist_ok=True)
    target = OUT / f"{options.name}.json"
    target.write_text(json.dumps(results, indent=1))
    print(f"written: {target}")
    if options.compare:
        compare(json.loads(Path(options.compare).read_text()), results)
    if options.write:
        PAGE.write_text(report.render(results, CASES))
        print(f"written: {PAGE}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--cases", nargs="*", choices=[case.name for case in CASES], help="default: all")
    parser.add_argument(
        "--peers", nargs="*", choices=list(peers.PEERS), help="default: all that a case names"
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=4, help="of one run")
    parser.add_argument(
        "--memory", action=argparse.BooleanOptionalAction, default=True, help="idle connections too"
    )
    parser.add_argument("--name", default=time.strftime("%Y%m%d-%H%M%S"), help="of the file of results")
    parser.add_argument(
        "--compare", metavar="FILE", help="results of before: prints the ratio of CPU, after to before"
    )
    parser.add_argument("--render", metavar="FILE", help="render docs/performance.md from these results")
    parser.add_argument("--write", action="store_true", help="render docs/performance.md")
    return parser.parse_args()


def measure(place: peers.Field, case: Case, options: argparse.Namespace) -> dict[str, report.Rounds]:
    """All rounds of one case, the peers taking turns in changing order."""
    print(f"\n{case.title}")
    try:
        upstream = peers.origin(place)
        store = peers.redis(place) if case.needs_redis else None
        servers = _start(place, case, options.peers, upstream, store)
        found: dict[str, report.Rounds] = {name: [] for name in servers}
        for number in range(options.rounds):
            names = list(servers)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                found[name].append(one_run(case, servers[name], store, options.seconds, place.load_core))
                print(f"  {name:16} {_brief(found[name][-1])}", flush=True)
    finally:
        place.stop_all()
    return found


def _start(
    place: peers.Field,
    case: Case,
    wanted: list[str] | None,
    upstream: peers.Server,
    store: peers.Server | None,
) -> dict[str, peers.Server]:
    servers = {}
    for name in case.peers:
        if wanted and name not in wanted:
            continue
        if absent := peers.missing(name):
            print(f"  {name}: left out, since it needs {absent}")
            continue
        servers[name] = peers.PEERS[name][0](place, upstream, case.rate, store)
    return servers


def one_run(
    case: Case, server: peers.Server, store: peers.Server | None, seconds: int, core: int
) -> dict[str, float]:
    """One run of load on one proxy, and what it cost. Fails if the answers are not those of the case."""
    url = server.url + case.path
    load.run(url, connections=case.connections, seconds=1, script=case.script, core=core)  # warm
    pid = server.process.pid
    before, store_before = (
        accounting.cpu_seconds(pid),
        accounting.cpu_seconds(store.process.pid) if store else 0.0,
    )
    done = load.run(url, connections=case.connections, seconds=seconds, script=case.script, core=core)
    spent = accounting.cpu_seconds(pid) - before
    check(case, server.name, done)
    run = {
        "cpu_us": spent / done.requests * 1e6,
        "per_second": done.per_second,
        "p50_ms": done.p50_ms,
        "p99_ms": done.p99_ms,
        "memory": accounting.memory_bytes(pid),
    }
    if store:
        run["redis_us"] = (accounting.cpu_seconds(store.process.pid) - store_before) / done.requests * 1e6
    return run


def check(case: Case, name: str, done: load.Load) -> None:
    """A benchmark of wrong answers is worth nothing."""
    share = done.refused / max(done.requests, 1)
    is_right = share < 0.001 if case.rate > 1000 else share > 0.95
    if not is_right or done.errors:
        raise RuntimeError(
            f"{case.name}: {name} refused {share:.1%} of {done.requests}, {done.errors} socket errors"
        )


def idle_memory(place: peers.Field, names: list[str]) -> dict[str, dict[str, float]]:
    """What a proxy takes at rest, and for each connection that has had one answer and now waits."""
    print(f"\n{IDLE_CONNECTIONS} idle connections")
    found = {}
    for name in names:
        if peers.missing(name) or name not in RESTING:
            continue
        try:
            server = peers.PEERS[name][0](
                place, peers.origin(place), 10_000_000 if name.startswith("weir") else 100_000, None
            )
            rest = accounting.memory_bytes(server.process.pid)
            clients = [_idle_client(server.port) for _ in range(IDLE_CONNECTIONS)]
            full = accounting.memory_bytes(server.process.pid)
            for client in clients:
                client.close()
        finally:
            place.stop_all()
        found[name] = {"rest": rest, "connection": (full - rest) / IDLE_CONNECTIONS}
        print(f"  {name:16} {rest / 2**20:.0f} MiB at rest, {found[name]['connection'] / 1024:.1f} KiB each")
    return found


def _idle_client(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), 5)
    client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Auth-Token: idle\r\n\r\n")
    client.recv(4096)
    return client


def compare(before: dict[str, Any], after: dict[str, Any]) -> None:
    print("\nCPU per request, after / before")
    for case, found in after["cases"].items():
        for name, rounds in found.items():
            old = before["cases"].get(case, {}).get(name)
            if old:
                ratio = report.middle(rounds, "cpu_us") / report.middle(old, "cpu_us")
                print(f"  {case:18} {name:16} {ratio:.3f}")


def _brief(run: dict[str, float]) -> str:
    redis_us = f"  redis {run['redis_us']:.1f} us" if "redis_us" in run else ""
    return (
        f"{run['cpu_us']:7.1f} us  {run['per_second']:9,.0f}/s  p99 {run['p99_ms']:.2f} ms  "
        f"{run['memory'] / 2**20:.0f} MiB{redis_us}"
    )


if __name__ == "__main__":
    sys.exit(main())
