"""What a piece of work costs, by the processor's clock: how busy the machine is with others does not count."""

from __future__ import annotations

import gc
import time
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


STONE = 0.22e-3  # seconds of a processor for one, on the machine that bounds are written for, at rest
STONES = 9


def slowness() -> float:
    """How many times longer this processor takes for plain work, at this moment: 1 or more.

    Two threads that share a core, or a host that has other guests, make all work longer by its own clock too.
    """
    return max(1.0, median([cpu_seconds(_stone) for _ in range(STONES)]) / STONE)


def _stone() -> int:
    """One frame, so that who traces calls and lines of Weir does not slow it."""
    total = 0
    for number in range(5_000):
        total += number * number % 7
    return total


def cpu_seconds(work: Callable[[], object]) -> float:
    """Of this thread, while it does the work once."""
    had_collector = gc.isenabled()
    gc.disable()  # the collector's pauses grow with what the tests have kept, not with the work
    try:
        began = time.thread_time()
        work()
        return time.thread_time() - began
    finally:
        if had_collector:
            gc.enable()
