"""python -m benchmarks: measures Weir and its peers side by side.

python -m benchmarks                                      everything, results into benchmarks/out/
python -m benchmarks --write                              and docs/performance.md with its chart
python -m benchmarks --cases redis-32 --peers Weir nginx --rounds 3 --seconds 3
python -m benchmarks --name today --cases 64k 8m          adds to (or replaces in) benchmarks/out/today.json
python -m benchmarks --render benchmarks/out/today.json   docs/performance.md from earlier results
python -m benchmarks --compare benchmarks/out/before.json --cases redis-32 --peers Weir
"""

from __future__ import annotations

import argparse
import json
import socket
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks import accounting, chart, field, load, programs, report
from benchmarks.cases import BUILDS, CASES, MIXED_USERS, Case
from benchmarks.peers import HAPROXY_LOG, NGINX, PEERS
from benchmarks.peers.task import Task

DOCS = field.HERE.parent / "docs"
PAGE = DOCS / "performance.md"
CHART = DOCS / "performance.svg"
IDLE_CONNECTIONS = 5000
RESTING = (*BUILDS, NGINX, HAPROXY_LOG)  # whose idle connections are weighed
WARM_SECONDS = 1
MEMORY = "memory"  # what stands for a case where idle connections are meant


def main() -> None:
    options = _options()
    if options.render:
        write(json.loads(Path(options.render).read_text()))
        return
    programs.need("nginx", "taskset", "redis-server")
    field.OUT.mkdir(exist_ok=True)
    target = field.OUT / f"{options.name}.json"
    results: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {"cases": {}}
    results["machine"] = report.machine()
    before = json.loads(Path(options.compare).read_text()) if options.compare else None
    wanted = options.cases or [*(case.name for case in CASES), MEMORY]
    with tempfile.TemporaryDirectory(prefix="weir-bench-") as folder:
        place = field.Field(Path(folder))
        for case in (case for case in CASES if case.name in wanted):
            found = measure(place, case, options)
            results["cases"].setdefault(case.name, {}).update(found)
            target.write_text(json.dumps(results, indent=1))
        if MEMORY in wanted:
            results["memory"] = idle_memory(place, options.peers or list(RESTING))
            target.write_text(json.dumps(results, indent=1))
    print(f"written: {target}\n")
    print(report.targets(results))
    if before:
        print(report.compared(before, results))
    if options.write:
        write(results)


def write(results: dict[str, Any]) -> None:
    PAGE.write_text(report.render(results, PAGE.read_text()))
    CHART.write_text(chart.render(results))
    print(f"written: {PAGE} {CHART}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    names = [*(case.name for case in CASES), MEMORY]
    parser.add_argument("--cases", nargs="*", choices=names, help="default: all")
    parser.add_argument("--peers", nargs="*", choices=list(PEERS), help="default: all that a case names")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3, help="of one run")
    parser.add_argument("--name", default=time.strftime("%Y%m%d-%H%M%S"), help="of the file of results")
    parser.add_argument(
        "--compare", metavar="FILE", help="results of before: prints the ratio of CPU, after to before"
    )
    parser.add_argument("--render", metavar="FILE", help="render docs/performance.md from these results")
    parser.add_argument("--write", action="store_true", help="render docs/performance.md")
    return parser.parse_args()


# --- one case ---


def measure(place: field.Field, case: Case, options: argparse.Namespace) -> dict[str, report.Rounds]:
    """All rounds of one case, the peers taking turns in changing order."""
    print(f"\n{case.title}", flush=True)
    try:
        store = field.redis(place) if case.needs_redis else None
        task = Task(place, field.origin(place), case.rate, store)
        servers = _start(task, [each for each in case.peers if not options.peers or each in options.peers])
        pace = _half_load(case, servers, place) if case.paced_by else 0
        found: dict[str, report.Rounds] = {name: [] for name in servers}
        for number in range(options.rounds):
            names = list(servers)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                found[name].append(one_run(case, servers[name], store, options.seconds, place, pace))
                print(f"  {name:26} {_brief(found[name][-1])}", flush=True)
    finally:
        place.stop_all()
    return found


def _start(task: Task, names: list[str]) -> dict[str, field.Server]:
    servers = {}
    for name in names:
        try:
            servers[name] = PEERS[name](task)
        except programs.MissingError as missing:
            print(f"  {name}: left out, since it needs {missing}")
    return servers


def _half_load(case: Case, servers: dict[str, field.Server], place: field.Field) -> float:
    if case.paced_by not in servers:
        raise SystemExit(f"{case.name} needs {case.paced_by}, by which its load is set")
    return _load(case, servers[case.paced_by], 2, place).per_second / 2


def _load(case: Case, server: field.Server, seconds: float, place: field.Field, pace: float = 0) -> load.Load:
    users = case.users or case.connections
    data = load.requests(case.path, users, case.body_bytes)
    return load.run(
        server.port,
        data,
        connections=case.connections,
        seconds=seconds,
        core=place.load_core,
        mixed=users == MIXED_USERS,
        rate=pace,
    )


def one_run(
    case: Case,
    server: field.Server,
    store: field.Server | None,
    seconds: float,
    place: field.Field,
    pace: float = 0,
) -> dict[str, float]:
    """One run of load on one proxy, and what it cost. Fails if the answers are not those of the case."""
    _load(case, server, WARM_SECONDS, place, pace)
    pids = [server.process.pid, *([store.process.pid] if store else [])]
    before = [accounting.cpu_seconds(pid) for pid in pids]
    done = _load(case, server, seconds, place, pace)
    spent = [accounting.cpu_seconds(pid) - each for pid, each in zip(pids, before, strict=True)]
    check(case, server.name, done)
    run = asdict(done) | {
        "cpu_us": spent[0] / done.requests * 1e6,
        "memory": accounting.memory_bytes(server.process.pid),
    }
    if store:
        run["redis_us"] = spent[1] / done.requests * 1e6
    return run


def check(case: Case, name: str, done: load.Load) -> None:
    """A benchmark of wrong answers is worth nothing."""
    share = done.refused / max(done.requests, 1)
    is_right = share < 0.001 if case.rate > 1000 else share > 0.95
    is_limited = not name.startswith("caddy")
    if (is_limited and not is_right) or done.errors or not done.requests:
        raise RuntimeError(
            f"{case.name}: {name} refused {share:.1%} of {done.requests}, {done.errors} broken connections"
        )


# --- what rests ---


def idle_memory(place: field.Field, names: list[str]) -> dict[str, dict[str, float]]:
    """What a proxy takes at rest, and for each connection that has had one answer and now waits."""
    print(f"\n{IDLE_CONNECTIONS} idle connections")
    found = {}
    for name in RESTING:
        if name not in names:
            continue
        try:
            servers = _start(Task(place, field.origin(place), 1_000_000, None), [name])
            if name in servers:
                found[name] = _weigh(servers[name])
                rest, each = found[name]["rest"] / 2**20, found[name]["connection"] / 1024
                print(f"  {name:26} {rest:.0f} MiB at rest, {each:.1f} KiB each")
        finally:
            place.stop_all()
    return found


def _weigh(server: field.Server) -> dict[str, float]:
    rest = accounting.memory_bytes(server.process.pid)
    clients = [_idle_client(server.port) for _ in range(IDLE_CONNECTIONS)]
    full = accounting.memory_bytes(server.process.pid)
    for client in clients:
        client.close()
    return {"rest": rest, "connection": (full - rest) / IDLE_CONNECTIONS}


def _idle_client(port: int) -> socket.socket:
    client = socket.create_connection(("127.0.0.1", port), 5)
    client.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Auth-Token: idle\r\n\r\n")
    client.recv(4096)
    return client


def _brief(run: dict[str, float]) -> str:
    redis_us = f"  redis {run['redis_us']:.1f} us" if "redis_us" in run else ""
    times = "  ".join(f"{run[f'{each}_ms']:.2f}" for each in ("p50", "p99", "p999"))
    return (
        f"{run['cpu_us']:7.1f} us  {run['per_second']:9,.0f}/s  p50, p99, p99.9 {times} ms  "
        f"{run['memory'] / 2**20:.0f} MiB{redis_us}"
    )


if __name__ == "__main__":
    main()
