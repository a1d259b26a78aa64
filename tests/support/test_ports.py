"""Ports are given once."""

from __future__ import annotations

import subprocess
import sys

from tests.support.ports import free_port
from tests.support.weir import ROOT

ASK = "from tests.support.ports import free_port; print(*(free_port() for _ in range(100)), flush=True); input()"


def test_parallel_processes_never_get_the_same_port():
    """While any of them runs, whether or not it listens on them."""
    others = [
        subprocess.Popen(
            [sys.executable, "-c", ASK], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        for _ in range(3)
    ]
    try:
        theirs = [port for other in others for port in map(int, other.stdout.readline().split())]
        ours = [free_port() for _ in range(100)]
    finally:
        for other in others:
            other.communicate("\n")

    assert len({*theirs, *ours}) == 400
