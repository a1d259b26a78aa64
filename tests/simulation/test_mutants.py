"""That the simulation sees what it is there to find: things are broken on purpose, and some seed must tell."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

from proxy import settlement, waiting
from proxy.limiter import operations, resets
from proxy.limiter.book import Book
from proxy.limiter.keeping import Keeping
from proxy.limiter.leases import Leases
from proxy.limiter.outage import UnknownVerdict
from proxy.limiter.overrides import Overrides
from proxy.limiter.wire import Wire
from proxy.net.sweep import Sweeper
from proxy.policy.decision import Decision
from proxy.telemetry.access_log import AccessLog
from tests.simulation import fleet, redis_model, simulation, slots
from tests.simulation.accounts import BrokenError
from tests.simulation.redis_model import Runtime
from tests.simulation.simulation import Simulation

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.unmeasured


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


# --- whole replicas ---


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
        (Book, "sweep", _not_at_all, "left in a replica's store: .*buckets that are known"),
    ],
)
def test_simulation_sees_what_is_broken(
    place: object, name: str, breaks: Callable[..., object], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line forgotten, a token not given back, one given back twice, a deadline that stays, a table that grows."""
    monkeypatch.setattr(place, name, breaks(getattr(place, name)))

    _assert_seen(fleet.run, 100, told)


# --- limits on concurrency ---


def test_simulation_sees_slots_that_leak(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slot that is never renewed."""
    monkeypatch.setattr(Keeping, "_renew", lambda *_: None)

    _assert_seen(slots.run, 20, "are held of")


def test_simulation_sees_tables_that_grow_beside_slots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Book, "sweep", lambda *_: None)

    _assert_seen(slots.run, 20, "left in a replica: .*buckets that are known")


# --- limits on rates ---


def test_simulation_sees_a_burst_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """An outage that starts from full buckets: the fault that it is there to find."""
    monkeypatch.setattr(Book, "local_debt", lambda *_: 0)

    _assert_seen(simulation.run, 20, "were given")


def test_data_that_are_flushed_cost_a_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/limits.md says; without that grace it shows."""
    monkeypatch.setattr(Simulation, "refilled", lambda _: None)

    _assert_seen(simulation.run, 100, "data flushed(.|\n)*were given")


def test_simulation_sees_replies_to_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A doubled reply that no call waits for is passed over."""
    end = Wire._end
    monkeypatch.setattr(Wire, "_end", lambda self, said=None: end(self) if said is None else None)

    _assert_seen(simulation.run, 60, "doubled replies were not noticed")


REFUSALS = {
    "plain.lua": ("answers[i] = -1 - debt", "answers[i], debts[key] = -1 - debt, math.min(after, most)"),
    "take.lua": (
        "answers[i] = refused(key, debt,",
        "debts[key], changed[key] = math.min(debt + charge.cost, charge.most), charge; answers[i] = refused(key, debt,",
    ),
}


@pytest.mark.parametrize("run", [simulation.run, fleet.run])
@pytest.mark.parametrize("script", REFUSALS)
def test_simulation_sees_refusals_that_are_charged(
    script: str, run: Callable[[int], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    right, wrong = (text.encode() for text in REFUSALS[script])
    sources: dict[bytes, bytes] = {}

    def changed_source(digest: bytes, source: bytes) -> None:
        sources[digest] = source.replace(right, wrong)

    monkeypatch.setattr(redis_model, "RUNTIME", Runtime())
    monkeypatch.setattr(redis_model, "_SOURCES", sources)
    monkeypatch.setattr(redis_model, "known_source", changed_source)

    _assert_seen(run, 100, "refused, and owes")


def _keeps_doubts(settle: Callable[..., bytes]) -> Callable[..., bytes]:
    def settled(book: Book, *arguments: Any) -> bytes:
        doubts = dict(book._doubts)
        record = settle(book, *arguments)
        book._doubts.update(doubts)
        return record

    return settled


def _grants_ten_times_as_much(granted: Callable[..., None]) -> Callable[..., None]:
    def more(leases: Leases, key: bytes, sent_us: int) -> None:
        granted(leases, key, sent_us)
        tokens, until_us = leases._held[key]
        leases._held[key] = 10 * tokens, until_us

    return more


def _costs_one(charge_record: Callable[..., bytes]) -> Callable[..., bytes]:
    return lambda terms, units, ceiling: charge_record(terms, min(units, terms.interval), ceiling)


def _admits(_: Callable[..., None]) -> Callable[..., None]:
    def admitting(verdict: Any, charge: Any, *, admits: bool) -> None:  # noqa: ARG001 - that is what is broken
        super(UnknownVerdict, verdict).__init__(charge, True, 0)  # noqa: FBT003 - as there

    return admitting


def _forgets_shadow(decision: Callable[..., Decision]) -> Callable[..., Decision]:
    def decided(*arguments: Any) -> Decision:
        verdicts = decision(*arguments).verdicts
        return Decision(verdicts[0].is_admitted, verdicts)

    return decided


def _deletes_nothing(_: Callable[..., Any]) -> Callable[..., Any]:
    async def delete(*_: object) -> int:
        return 0

    return delete


@pytest.mark.parametrize(
    ("place", "name", "breaks", "told"),
    [
        (Book, "settle", _keeps_doubts, "left in a replica: .*doubts"),
        (Book, "sweep", _not_at_all, "left in a replica: .*buckets that are known"),
        (Leases, "sweep", _not_at_all, "left in a replica: .*leases"),
        (Leases, "granted", _grants_ten_times_as_much, "were given"),
        (operations, "charge_record", _costs_one, "were given|after a long rest"),
        (UnknownVerdict, "__init__", _admits, "deny, and decided otherwise"),
        (operations.Take, "decision", _forgets_shadow, "a limit in shadow refused"),
        (Overrides, "apply", lambda _: lambda _, charges, __: (charges, None), "blocked was not refused"),
        (resets, "delete", _deletes_nothing, "was refused right after a reset"),
    ],
)
def test_simulation_sees_what_is_broken_in_stores(
    place: object, name: str, breaks: Callable[..., object], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables that grow; a lease, a cost, a shadow, `deny`, a block and a reset that are not what they should be."""
    monkeypatch.setattr(place, name, breaks(getattr(place, name)))

    _assert_seen(simulation.run, 100, told)
