"""Results as tables for docs/performance.md: medians of all rounds, ratios to the peer that a case names."""

from __future__ import annotations

import platform
import re
import subprocess
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmarks.cases import Case

Rounds = list[dict[str, float]]

BUILDS = ("weir", "weir compiled")

INTRODUCTION = """\
# What Weir costs

Measured by `make bench`, which writes this file; every figure is the median of its rounds, the peers of a
case taking turns. The proxy has one core to itself, load (wrk), origin (nginx) and Redis share the other.
CPU is user and system time of the proxy's whole process tree, from /proc, divided by the requests answered.
Every proxy keeps one limit for each X-Auth-Token, keeps connections alive on both sides, writes an access
log line for each request, adds a request id and X-Forwarded-For; Weir also has its metrics and RateLimit
fields on. A connection keeps its user, as clients do, unless the case says otherwise. "weir compiled" is the
same source, [compiled ahead of time](decisions/0008-compiled-ahead-of-time.md).
"""

CAVEATS = """\
## What these figures do not show

- A request through a network: everything is loopback on one machine, so system calls cost less than a wire
  would.
- Fairness of the limits: nginx's and HAProxy's counters here are per process and not shared; only the Redis
  cases compare limits that hold across replicas. HAProxy counts a sliding window, nginx a leaky bucket,
  Weir a token bucket.
- A proxy that is faster than its load generator is measured with the other core busy, which makes waking it
  cheap; a slower one pays for waking an idle core at each batch of writes. That is in favour of the faster
  ones.
- TLS.
"""


def machine() -> dict[str, str]:
    return {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": _cpu(),
        "kernel": platform.release().partition("-")[0],
        "python": platform.python_version(),
        "uvloop": version("uvloop"),
        "nginx": _first_number(["nginx", "-v"]),
        "haproxy": _first_number(["haproxy", "-v"]),
        "redis": _first_number(["redis-server", "--version"]),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo").read_text()
    match = re.search(r"model name\s*:\s*(.+)", info)
    return f"{match[1] if match else platform.machine()}, {info.count('processor	:')} cores"


def _first_number(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return "not installed"
    match = re.search(r"\d+\.\d+[.\d]*", done.stdout + done.stderr)
    return match[0] if match else "?"


def render(results: dict[str, Any], cases: tuple[Case, ...]) -> str:
    facts = ", ".join(
        f"{name} {value}" for name, value in results["machine"].items() if name not in ("date", "cpu")
    )
    lines = [INTRODUCTION, f"{results['machine']['date']}; {results['machine']['cpu']}; {facts}.\n"]
    lines.append(_summary(results["cases"], cases))
    lines += [_case(case, results["cases"][case.name]) for case in cases if case.name in results["cases"]]
    if results.get("memory"):
        lines.append(_memory(results["memory"]))
    return "\n".join([*lines, CAVEATS])


def _summary(found: dict[str, dict[str, Rounds]], cases: tuple[Case, ...]) -> str:
    """Every target, and whether it is met: what does not speak for Weir stands here too."""
    lines = [
        "## Targets\n",
        _row(["", "against", "CPU, ratio", "compiled", "target", ""]),
        _row(["---", "---", "---:", "---:", "---:", "---"]),
    ]
    for case in cases:
        rounds = found.get(case.name, {})
        reference = rounds.get(case.against)
        if case.target is not None and "weir" in rounds and reference:
            ratios = [_quotient(rounds.get(name), reference) for name in BUILDS]
            lines.append(_judged(case.title, case.against, ratios, case.target))
    admitted, refused = found.get("memory-32", {}), found.get("refused-32", {})
    if "weir" in admitted and "weir" in refused:
        ratios = [_quotient(refused.get(name), admitted.get(name)) for name in BUILDS]
        lines.append(_judged("refused with 429, limits in memory", "Weir, admitted", ratios, 0.5))
    return "\n".join(lines) + "\n"


def _quotient(rounds: Rounds | None, reference: Rounds | None) -> float | None:
    if not rounds or not reference:
        return None
    return round(middle(rounds, "cpu_us") / middle(reference, "cpu_us"), 2)


def _judged(title: str, against: str, ratios: list[float | None], target: float) -> str:
    """The first ratio is that of the source as it is, the second that of the compiled build."""
    met = [ratio is not None and ratio <= target for ratio in ratios]
    word = "met" if met[0] else "met if compiled" if met[1] else "**missed**"
    cells = ["" if ratio is None else f"{ratio:.2f}" for ratio in ratios]
    return _row([title, against, *cells, f"{target:.2f}", word])


def _case(case: Case, peers: dict[str, Rounds]) -> str:
    has_redis = any("redis_us" in rounds[0] for rounds in peers.values())
    columns = ["", "CPU us/request", "ratio", "requests/s", "p50 ms", "p99 ms", "memory MiB"]
    columns += ["Redis CPU us/request"] if has_redis else []
    lines = [f"## {case.title}\n", _row(columns), _row(["---", *["---:"] * (len(columns) - 1)])]
    reference = peers.get(case.against)
    for name, rounds in peers.items():
        cells = [name, f"{middle(rounds, 'cpu_us'):.1f}", _ratio(rounds, reference)]
        cells += [f"{middle(rounds, 'per_second'):,.0f}", f"{middle(rounds, 'p50_ms'):.2f}"]
        cells += [f"{middle(rounds, 'p99_ms'):.2f}", f"{max(each['memory'] for each in rounds) / 2**20:.0f}"]
        cells += [f"{middle(rounds, 'redis_us'):.1f}" if "redis_us" in rounds[0] else ""] if has_redis else []
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _memory(memory: dict[str, dict[str, float]]) -> str:
    lines = [
        "## Memory\n",
        _row(["", "at rest MiB", "KiB for an idle connection"]),
        _row(["---", "---:", "---:"]),
    ]
    lines += [
        _row([name, f"{each['rest'] / 2**20:.0f}", f"{each['connection'] / 1024:.1f}"])
        for name, each in memory.items()
    ]
    return "\n".join(lines) + "\n"


def middle(rounds: Rounds, key: str) -> float:
    return median(each[key] for each in rounds)


def _ratio(rounds: Rounds, reference: Rounds | None) -> str:
    if reference is None:
        return ""
    return f"{middle(rounds, 'cpu_us') / middle(reference, 'cpu_us'):.2f}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
