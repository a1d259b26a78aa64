"""python -m benchmarks.limiters: Weir's middleware beside slowapi, fastapi-limiter, limits and throttled-py.

The same FastAPI service with each of them, one limit for each X-Auth-Token, called as an ASGI server does,
without a socket: only the limiter differs. CPU time is that of a request above that of the bare service, in
memory and in Redis with 32 requests at once; then what four processes admit of one burst, and what becomes of
requests while Redis is killed, frozen or full. Each has the settings that its docs begin with.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import field, programs
from benchmarks.limited import OUTAGE_CALLS, PEERS, burst, cost, outage

PROCESSES = 4
BURST = 100
PATIENCE = 60.0  # seconds that a child may take with frozen Redis


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limiters")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="*", default=["figures", "outages"], choices=["figures", "outages"])
    parser.add_argument("--child", nargs=4, metavar=("WHAT", "PEER", "STORE", "AT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _be_child(*options.child)
        return
    python = programs.limiters()
    with tempfile.TemporaryDirectory(prefix="weir-limiters-") as folder:
        place = field.Field(Path(folder))
        try:
            if "figures" in options.parts:
                _compare(place, python, options.rounds)
            if "outages" in options.parts:
                _break(place, python)
        finally:
            place.stop_all()


def _be_child(what: str, peer: str, store: str, at: str) -> None:
    do = {"cost": lambda: cost(peer, store), "burst": lambda: burst(peer, store, BURST, float(at))}
    print(json.dumps(asyncio.run(do.get(what, lambda: outage(peer, store))())), flush=True)


def _compare(place: field.Field, python: Path, rounds: int) -> None:
    print("| | CPU us, memory | CPU us, Redis | admitted of a burst of 100 by 4 processes |")
    print("| --- | ---: | ---: | ---: |")
    for peer in PEERS:
        print(_figures(place, python, peer, rounds), flush=True)


def _break(place: field.Field, python: Path) -> None:
    print(f"\n| of {OUTAGE_CALLS} requests | Redis killed | frozen | full |\n| --- | --- | --- | --- |")
    for peer in PEERS:
        found = [_outage(place, python, peer, kind) for kind in ("killed", "frozen", "full")]
        print(f"| {peer} | {' | '.join(found)} |", flush=True)


def _figures(place: field.Field, python: Path, peer: str, rounds: int) -> str:
    server = field.redis(place)
    store = f"redis://127.0.0.1:{server.port}"
    memory = median(_read(_child(python, "cost", peer, "memory")) for _ in range(rounds))
    redis = median(_read(_child(python, "cost", peer, store)) for _ in range(rounds))
    at = str(time.time() + 4)  # all have started by then
    children = [_child(python, "burst", peer, store, at) for _ in range(PROCESSES)]
    admitted = sum(_read(child) for child in children)
    place.stop(server)
    return f"| {peer} | {memory:.0f} | {redis:.0f} | {admitted:.0f} |"


def _outage(place: field.Field, python: Path, peer: str, kind: str) -> str:
    server = field.redis(place)
    child = _child(python, "outage", peer, f"redis://127.0.0.1:{server.port}")
    assert child.stdout is not None
    assert child.stdin is not None
    child.stdout.readline()  # it has been served
    if kind == "killed":
        place.stop(server)
    elif kind == "frozen":
        server.process.send_signal(signal.SIGSTOP)
    else:
        command = ["redis-cli", "-p", str(server.port), "config", "set", "maxmemory", "1"]
        subprocess.run(command, check=True, capture_output=True)
    child.stdin.write(b"go\n")
    child.stdin.flush()
    try:
        found = json.loads(child.communicate(timeout=PATIENCE)[0].splitlines()[-1])
    except subprocess.TimeoutExpired:
        child.kill()
        found = None
    if kind != "killed":
        server.process.send_signal(signal.SIGCONT)
        place.stop(server)
    if found is None:
        return f"none answered in {PATIENCE:.0f} s"
    return f"{found['served']} served, {found['failed']} failed, slowest {found['slowest_ms']:.0f} ms"


def _child(python: Path, what: str, peer: str, store: str, at: str = "0") -> subprocess.Popen[bytes]:
    command = [str(python), "-m", "benchmarks.limiters", "--child", what, peer, store, at]
    root = field.HERE.parent
    environ = os.environ | {"PYTHONPATH": str(root)}
    return subprocess.Popen(
        command,
        cwd=root,
        env=environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )


def _read(child: subprocess.Popen[bytes]) -> float:
    return float(json.loads(child.communicate(timeout=120)[0].splitlines()[-1]))


if __name__ == "__main__":
    sys.exit(main())
