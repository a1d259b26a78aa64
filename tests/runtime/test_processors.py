"""What `workers: auto` counts, on made-up machines."""

from __future__ import annotations

import os

import pytest

from proxy.runtime.processors import usable_processors


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A root folder with these files; eight processors."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))

    def make(files):
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path

    return make


@pytest.mark.parametrize(
    ("files", "count"),
    [
        ({}, 8),
        ({"proc/self/cgroup": "0::/\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "300000 100000\n"}, 3),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "6400000 100000\n"}, 8),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense\n"}, 8),
        (
            {
                "proc/self/cgroup": "0::/system.slice/weir.service\n",
                "sys/fs/cgroup/system.slice/weir.service/cpu.max": "400000 100000\n",
                "sys/fs/cgroup/system.slice/cpu.max": "200000 100000\n",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/pod\n1:name=systemd:/pod\n",
                "sys/fs/cgroup/cpu/pod/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu/pod/cpu.cfs_period_us": "50000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            8,
        ),
    ],
    ids=[
        "no cgroups",
        "no quota file",
        "no quota",
        "three",
        "two and a half",
        "half",
        "more than there are",
        "odd file",
        "slice above",
        "version 1",
        "version 1 without quota",
    ],
)
def test_quota_bounds_the_processors(machine, files, count):
    assert usable_processors(machine(files)) == count


def test_affinity_bounds_the_processors(machine, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})

    assert usable_processors(machine({})) == 1
