"""Waiting for the writer's thread: as short as it takes, and never for ever."""

from __future__ import annotations

from time import monotonic, sleep


def until(condition, seconds=10.0):
    deadline = monotonic() + seconds
    while not condition():
        assert monotonic() < deadline, "it did not happen"
        sleep(0.001)
