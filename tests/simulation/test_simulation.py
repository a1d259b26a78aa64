"""Random faults, a thousand times: `make simulation SEEDS=1000000` tries more.

That it would see a fault is tried too: things are broken on purpose, and some seed must tell.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from proxy import settlement, waiting
from proxy.limiter.book import Book
from proxy.limiter.keeping import Keeping
from proxy.net.sweep import Sweeper
from proxy.telemetry.access_log import AccessLog
from tests.simulation import fleet, simulation, slots
from tests.simulation.accounts import BrokenError
from tests.support.weir import ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unmeasured

SEEDS, AT_ONCE = 500, 25  # of each level
SLOT_SEEDS = 50


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


def test_simulation_sees_slots_that_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """A vacation that is lost, and a slot that is never renewed: what it is there to find."""
    monkeypatch.setattr(Keeping, "_renew", lambda *_: None)

    _assert_seen(slots.run, 20, "are held of")


@pytest.mark.parametrize("run", [simulation.run, fleet.run])
def test_seed_is_the_same_run_again(run: Callable[[int], list[str]]) -> None:
    assert run(7) == run(7)
    assert run(7) != run(8)


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


def test_simulation_sees_a_burst_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage that starts from full buckets: the fault that it is there to find."""
    monkeypatch.setattr(Book, "local_debt", lambda *_: 0)

    _assert_seen(simulation.run, 20, "were given")


def _twice(function: Callable[..., None]) -> Callable[..., None]:
    def both(*arguments: object) -> None:
        function(*arguments)
        function(*arguments)

    return both


def _not_at_all(_: Callable[..., None]) -> Callable[..., None]:
    return lambda *_: None


def _every_other(function: Callable[..., None]) -> Callable[..., None]:
    count = 0

    def sometimes(*arguments: object) -> None:
        nonlocal count
        count += 1
        if count % 2:
            function(*arguments)

    return sometimes


@pytest.mark.parametrize(
    ("place", "name", "breaks", "told"),
    [
        (AccessLog, "write", _every_other, "lines and exchanges differ"),
        (waiting, "give_back_all", _not_at_all, "were to come back"),
        (settlement, "_return", _twice, "were to come back"),
        (Sweeper, "discard", _not_at_all, "has left: .*deadlines"),
    ],
)
def test_simulation_sees_what_is_broken(
    place: object, name: str, breaks: Callable[..., object], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line forgotten, a token not given back, one given back twice, a deadline that stays."""
    monkeypatch.setattr(place, name, breaks(getattr(place, name)))

    _assert_seen(fleet.run, 40, told)


def _assert_seen(run: Callable[[int], list[str]], seeds: int, words: str) -> None:
    """Some seed tells it. Others may tell of what else has broken by it."""
    told = []
    for seed in range(seeds):
        try:
            run(seed)
        except BrokenError as error:
            told.append(str(error))
            if re.search(words, told[-1]):
                return
    raise AssertionError(f"no seed tells: {told}")
