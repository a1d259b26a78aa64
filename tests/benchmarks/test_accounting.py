"""The cost of a process tree, from /proc."""

import os
import subprocess
import sys

from benchmarks import accounting

CHILD = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"


def test_tree_holds_grandchildren():
    parent = subprocess.Popen([sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        while len(found := accounting.tree(parent.pid)) < 2:
            assert parent.poll() is None

        assert found[0] == parent.pid
    finally:
        parent.communicate(b"\n", timeout=10)


def test_work_shows_as_cpu_time():
    before = accounting.cpu_seconds(os.getpid())
    while accounting.cpu_seconds(os.getpid()) - before < 0.05:
        sum(range(10_000))

    assert accounting.memory_bytes(os.getpid()) > 2**20


def test_process_that_is_gone_costs_nothing():
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()

    assert accounting.cpu_seconds(gone.pid) == 0
    assert accounting.memory_bytes(gone.pid) == 0
