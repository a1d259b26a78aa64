"""What a piece of work costs, by the processor's clock: how busy the machine is with others does not count."""

from __future__ import annotations

import gc
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


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
