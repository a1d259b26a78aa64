"""python -m benchmarks.budget [--write]: CPU time and system calls of each stage of an exchange.

py-spy looks at the stacks of both builds, with frames of Python and of C. A sample belongs to the stage of
the innermost frame that names one. It cannot tell a poll that works from one that rests, so perf says what
part of the CPU time polls take, and it counts system calls. What a request costs in all is measured while
nobody looks. --write puts the table into docs/performance.md.
"""

from __future__ import annotations

import argparse
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import accounting, field, load, programs
from benchmarks.cases import BUILDS, CASES, Case
from benchmarks.peers import PEERS
from benchmarks.peers.task import Task

if TYPE_CHECKING:
    from collections.abc import Callable

PAGE = field.HERE.parent / "docs" / "performance.md"
BEGIN, END = "<!-- budget -->\n", "<!-- end of budget -->"
WANTED = ("redis-32", "redis-mixed")  # at few connections most looks find it asleep: too few are left
LOOKS = 500  # a second; each stops the process for a moment
WARM_SECONDS, PERF_SECONDS, SPY_SECONDS = 1, 3, 8

# A stage, and the frames that belong to it, outermost ones last: `module:function`, or a symbol of C.
STAGES = (
    ("other threads: the log's writer, the config's watcher", r"Thread\._bootstrap|start_thread"),
    ("reads from sockets", r"(__libc_)?read"),
    ("writes to sockets", r"(__libc_)?write"),
    ("count and log", r"(metrics|histogram|access_log|safe_text|top_keys|line_forms):"),
    ("whom to charge", r"(limits|keys|readings|spelling|edge|authorization):|heads:.*(facts|study|onward)"),
    ("ask the store", r"(redis|dispatcher|batch|link|wire|scripts|operations|cache|book|memory|overrides):"),
    ("send the request on", r"(pool|server_address|balancer):|heads:.*request|upstream:.*send_head"),
    ("read the answer, send it on", r"upstream:|head:.*[Rr]esponse|heads:.*response|fields:|judgement:"),
    ("read the request", r"(downstream|head|request_body|body):"),
    ("the exchange's story", r"(gateway|own_answers|settlement|filtering|pages):"),
    ("write once a tick", r"connection:"),
    ("the loop: turns, calls into Python", r"uv_.*|Loop__.*|loop_.*|run_forever"),
)  # fmt: skip
POLLS = "polls"
REST = re.compile(
    r"epoll_p?wait|clock_nanosleep|PyThread_acquire_lock.*|lock_PyThread_acquire.*|pthread_cond.*"
)
_PATTERNS = [(name, re.compile(pattern)) for name, pattern in STAGES]
_SOURCE = re.compile(r"(\S+) \(proxy/(?:.*/)?(\w+)\.py:\d+\)")
_COMPILED = re.compile(r"CPy(?:Def|Py)_([a-z0-9_]+?)___(\w+) \(")

Figures = dict[str, float]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.budget", description=__doc__.partition("\n")[0]
    )
    parser.add_argument("--write", action="store_true", help="put the table into docs/performance.md")
    parser.add_argument("--cases", nargs="*", default=WANTED, choices=[case.name for case in CASES])
    options = parser.parse_args()
    programs.need("perf", "redis-server", "nginx")
    columns: dict[str, tuple[Figures, Figures]] = {}
    for case in (case for case in CASES if case.name in options.cases):
        for build in BUILDS:
            with tempfile.TemporaryDirectory(prefix="weir-budget-") as folder:
                place = field.Field(Path(folder))
                try:
                    columns[f"{case.name}, {build}"] = measure(case, build, place)
                finally:
                    place.stop_all()
    table = rendered(columns)
    print(table)
    if options.write:
        head, _, rest = PAGE.read_text().partition(BEGIN)
        PAGE.write_text(f"{head}{BEGIN}{table}{END}{rest.partition(END)[2]}")


def measure(case: Case, build: str, place: field.Field) -> tuple[Figures, Figures]:
    """Microseconds by stage, and system calls by name, of one request."""
    store = field.redis(place) if case.needs_redis else None
    server = PEERS[build](Task(place, field.origin(place), case.rate, store))
    users = case.users or case.connections
    data = load.requests(case.path, users)

    def go(seconds: float) -> load.Load:
        is_mixed = users != case.connections
        return load.run(
            server.port,
            data,
            connections=case.connections,
            seconds=seconds,
            core=place.load_core,
            mixed=is_mixed,
        )

    go(WARM_SECONDS)
    pid = accounting.tree(server.process.pid)[-1]
    before = accounting.cpu_seconds(pid)
    done = go(PERF_SECONDS)
    whole = (accounting.cpu_seconds(pid) - before) / done.requests * 1e6
    polls = under(go, lambda: polled(pid, place.folder))
    shares = under(go, lambda: looked_at(pid, place.folder))
    told = {name: (1 - polls) * share * whole for name, share in shares.items()}
    return {POLLS: polls * whole} | told, counted(pid, go)


def under(go: Callable[[float], load.Load], look: Callable[[], Any]) -> Any:
    """What is found while the load runs."""
    seen = threading.Event()

    def keep_going() -> None:
        while not seen.is_set():
            go(PERF_SECONDS)

    running = threading.Thread(target=keep_going)
    running.start()
    time.sleep(WARM_SECONDS)
    try:
        return look()
    finally:
        seen.set()
        running.join()


# --- perf ---


def polled(pid: int, folder: Path) -> float:
    """The part of its CPU time that goes into asking the kernel what is ready, and waking up."""
    data = folder / "perf.data"
    _run("perf", "record", "-q", "-g", "-F", "4000", "-o", data, "-p", pid, "sleep", PERF_SECONDS)
    stacks = _run("perf", "script", "-i", data, "-F", "ip,sym").split("\n\n")
    samples = [stack for stack in stacks if stack.strip()]
    return sum("epoll_wait" in stack or "epoll_pwait" in stack for stack in samples) / len(samples)


def counted(pid: int, go: Callable[[float], load.Load]) -> Figures:
    """System calls of all its threads, by name, for each request of a load."""
    events = [f"syscalls:sys_enter_{name}" for name in ("read", "write", "epoll_pwait")]
    command = ["perf", "stat", "-x", ",", "-e", ",".join([*events, "raw_syscalls:sys_enter"]), "-p", str(pid)]
    counting = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    time.sleep(WARM_SECONDS)
    done = go(PERF_SECONDS)
    counting.send_signal(signal.SIGINT)
    told = counting.communicate(timeout=WARM_SECONDS + 30)[1]
    counts = [float(line.split(",")[0]) / done.requests for line in told.splitlines() if "sys_enter" in line]
    read, write, poll, every = counts
    return {"reads": read, "writes": write, POLLS: poll, "others": every - read - write - poll}


# --- py-spy ---


def looked_at(pid: int, folder: Path) -> dict[str, float]:
    """The part of what is no rest and no poll, by stage."""
    raw = folder / "stacks"
    spy = [
        programs.py_spy(),
        "record",
        "--native",
        "--format",
        "raw",
        "--rate",
        LOOKS,
        "--duration",
        PERF_SECONDS,
    ]
    _run(*spy, "--output", raw, "--pid", pid)
    found: Counter[str] = Counter()
    for line in raw.read_text().splitlines():
        stack, _, count = line.rpartition(" ")
        frames = stack.split(";")
        if not any(REST.match(frame) for frame in frames[-4:]):
            found[stage_of(frames)] += int(count)
    return {name: count / found.total() for name, count in found.items()}


def stage_of(frames: list[str]) -> str:
    """Outermost frame first."""
    names = [_name(frame) for frame in frames]
    threads, pattern = _PATTERNS[0]
    if any(pattern.fullmatch(name) for name in names):
        return threads
    for name in reversed(names):
        for stage, pattern in _PATTERNS[1:]:
            if pattern.match(name):
                return stage
    return _PATTERNS[-1][0]


def _name(frame: str) -> str:
    """`module:function` of what is ours, else the symbol."""
    source = _SOURCE.match(frame)
    if source is not None:
        return f"{source[2]}:{source[1]}"
    compiled = _COMPILED.match(frame)
    if compiled is not None:
        return f"{compiled[1]}:{compiled[2]}"
    return frame.partition(" (")[0]


def _run(*command: object) -> str:
    done = subprocess.run([*map(str, command)], capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]}: {done.stderr[-500:]}")
    return done.stdout + done.stderr


# --- the table ---


def rendered(columns: dict[str, tuple[Figures, Figures]]) -> str:
    names = [*(name for name, _ in STAGES), POLLS]
    rows = [["us of CPU time for", *columns], ["---", *["---:"] * len(columns)]]
    names.sort(key=lambda name: -sum(times.get(name, 0) for times, _ in columns.values()))
    rows += [[name, *(f"{times.get(name, 0):.1f}" for times, _ in columns.values())] for name in names]
    rows.append(["**together**", *(f"**{sum(times.values()):.1f}**" for times, _ in columns.values())])
    rows += [
        [f"system calls: {name}", *(f"{calls[name]:.2f}" for _, calls in columns.values())]
        for name in ("reads", "writes", POLLS, "others")
    ]
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


if __name__ == "__main__":
    main()
