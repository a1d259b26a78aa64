"""Random faults, a thousand times: `make simulation SEEDS=1000000` tries more.

That it would see what is broken: test_mutants.py.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from tests.simulation import fleet, simulation, slots
from tests.support.cost import slowness
from tests.support.memory import MemoryLoop
from tests.support.weir import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import ModuleType

pytestmark = pytest.mark.unmeasured

SEEDS, AT_ONCE = 500, 25  # of each level
SLOT_SEEDS = 50
LEVELS = ((simulation, SEEDS), (fleet, SEEDS), (slots, SLOT_SEEDS))
PROCESSORS = 2  # that a thousand seeds have a minute on


def test_thousand_seeds_take_less_than_a_minute() -> None:
    """By the processor's time, whatever else runs on the machine."""
    seconds, times = 0.0, [slowness()]
    for level, count in LEVELS:
        begun = time.process_time()
        for seed in range(8):
            level.run(seed)
        seconds += (time.process_time() - begun) / 8 * count
        times.append(slowness())

    assert seconds / PROCESSORS < 60 * max(times)


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_limits_hold_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        simulation.run(seed)


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_replicas_keep_their_word_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        fleet.run(seed)


@pytest.mark.parametrize("first", range(0, SLOT_SEEDS, AT_ONCE))
def test_slots_hold_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        slots.run(seed)


@pytest.mark.parametrize("run", [simulation.run, fleet.run])
def test_seed_is_the_same_run_again(run: Callable[[int], list[str]]) -> None:
    assert run(7) == run(7)
    assert run(7) != run(8)


@pytest.mark.parametrize("level", [simulation, fleet, slots])
def test_run_leaves_nothing_behind(level: ModuleType) -> None:
    """A million of them are run one after the other."""
    for seed in range(5):
        level.run(seed)
    gc.collect()

    assert [kept for kept in gc.get_objects() if isinstance(kept, MemoryLoop)] == []


def test_seed_is_the_same_run_in_any_process() -> None:
    """Neither hashes of text, which differ from process to process, nor addresses of objects make a difference."""
    told = "from tests.simulation import fleet; print([fleet.run(seed) for seed in range(6)])"
    runs = {
        subprocess.run(
            [sys.executable, "-c", told],
            env=os.environ | {"PYTHONHASHSEED": hash_seed},
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }

    assert len(runs) == 1
