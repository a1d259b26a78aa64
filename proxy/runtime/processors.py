"""How many processors this process may use: those it may run on, less what a cgroup's CPU quota takes away.

A quota is rounded down, but to one at least: a worker too many would only be throttled. Reads /proc and
/sys/fs/cgroup; where they are missing or odd there is no quota.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def usable_processors(root: Path = Path("/")) -> int:
    processors = len(os.sched_getaffinity(0))
    for quota in _quotas(root):
        processors = min(processors, int(quota))
    return max(processors, 1)


def _quotas(root: Path) -> Iterator[float]:
    """How many processors the cgroup and all above it allow."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0":
            yield from _up(root / "sys/fs/cgroup", path, _quota_v2)
        elif "cpu" in controllers.split(","):
            yield from _up(root / "sys/fs/cgroup/cpu", path, _quota_v1)


def _up(mount: Path, path: str, read: Callable[[Path], float]) -> Iterator[float]:
    folder = mount / path.lstrip("/")
    quotas = (read(each) for each in (folder, *folder.parents) if each.is_relative_to(mount))
    return filter(None, quotas)


def _quota_v2(folder: Path) -> float:
    try:
        limit, period = (folder / "cpu.max").read_text().split()
        return 0.0 if limit == "max" else int(limit) / int(period)
    except (OSError, ValueError):
        return 0.0


def _quota_v1(folder: Path) -> float:
    try:
        limit = int((folder / "cpu.cfs_quota_us").read_text())
        period = int((folder / "cpu.cfs_period_us").read_text())
    except (OSError, ValueError):
        return 0.0
    return limit / period if limit > 0 else 0.0
