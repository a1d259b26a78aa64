"""What a process and all its children cost: CPU time and memory, read from /proc."""

from __future__ import annotations

import os
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")  # a second; utime and stime of /proc/PID/stat are in ticks


def tree(pid: int, proc: Path = Path("/proc")) -> list[int]:
    """The process and everything it started that still runs."""
    children: dict[int, list[int]] = {}
    for entry in proc.iterdir():
        if entry.name.isdigit():
            fields = _stat(entry)
            if fields:
                children.setdefault(int(fields[1]), []).append(int(entry.name))
    found, queue = [], [pid]
    while queue:
        each = queue.pop()
        found.append(each)
        queue.extend(children.get(each, []))
    return found


def cpu_seconds(pid: int) -> float:
    """User and system time of the whole tree so far."""
    ticks = 0
    for each in tree(pid):
        fields = _stat(Path(f"/proc/{each}"))
        if fields:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / TICKS


def memory_bytes(pid: int) -> int:
    """Proportional set size of the whole tree: shared pages count once."""
    total = 0
    for each in tree(pid):
        try:
            rollup = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue  # it has just ended
        total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total * 1024


def _stat(entry: Path) -> list[str]:
    """The fields behind the command's name, which may hold spaces: state, ppid, ..."""
    try:
        return (entry / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []
