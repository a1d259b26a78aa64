"""Random faults, a few hundred times: `make simulation SEEDS=1000000` tries more."""

from __future__ import annotations

import pytest

from proxy.limiter.book import Book
from tests.simulation.simulation import BrokenError, run

SEEDS, AT_ONCE = 300, 50
FOUND = {
    13: "a reload in the moment before an outage forgot what clients owed",
    514: "a request decided here, since its reply came too late, was never charged in Redis",
}


@pytest.mark.parametrize("first", range(0, SEEDS, AT_ONCE))
def test_limits_hold_whatever_goes_wrong(first: int) -> None:
    for seed in range(first, first + AT_ONCE):
        run(seed)


@pytest.mark.parametrize("seed", FOUND)
def test_what_was_found_stays_mended(seed: int) -> None:
    run(seed)


def test_seed_is_the_same_run_again() -> None:
    assert run(7) == run(7)
    assert run(7) != run(8)


def test_simulation_sees_a_burst_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage that starts from full buckets: the fault that it is there to find."""
    monkeypatch.setattr(Book, "local_debt", lambda *_: 0)
    with pytest.raises(BrokenError, match="were given"):
        for seed in range(20):
            run(seed)
