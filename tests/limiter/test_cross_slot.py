"""Limits in different slots, decided by a counter of the test's own: in order, and given back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.addresses import parse_store
from proxy.limiter.cross_slot import CrossSlot
from proxy.limiter.dialler import Dialler
from proxy.limiter.redis import RedisStore
from proxy.policy.decision import DENIAL_CACHE, LOCAL, STORE, Charge, Decision, Verdict
from proxy.policy.slots import Slot, SlotVerdict
from tests.limiter.asking import limits_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.limiter.store import Waiter


class Counter:
    """Writes down what is asked; refuses the limits it is told to, and has no Redis for others."""

    def __init__(self, refuses: str = "", down: str = "", denies: str = "", knows: str = "") -> None:
        self.log: list[str] = []
        self._refuses, self._down, self._denies = refuses.split(), down.split(), denies.split()
        self._knows = knows.split()
        self._asked: list[tuple[Sequence[Charge], Waiter]] = []

    def denial(self, charges: Sequence[Charge]) -> Decision | None:
        denied = [charge for charge in charges if charge.limit.name in self._denies]
        return Decision(False, [Verdict(denied[0], False, 0)], DENIAL_CACHE) if denied else None

    def known_refusals(self, charges: Sequence[Charge]) -> list[Verdict]:
        return [Verdict(charge, False, 0) for charge in charges if charge.limit.name in self._knows]

    def is_down(self, charges: Sequence[Charge]) -> bool:
        return charges[0].limit.name in self._down

    def ask(self, charges: Sequence[Charge], waiter: Waiter) -> None:
        self.log.append(f"take {names(charges)}")
        self._asked.append((charges, waiter))

    def give_back(self, charges: Sequence[Charge]) -> None:
        self.log.append(f"back {names(charges)}")

    def decide_locally(self, charges: Sequence[Charge]) -> Decision:
        self.log.append(f"local {names(charges)}")
        return self._decision(charges, LOCAL)

    def give_back_locally(self, charges: Sequence[Charge]) -> None:
        self.log.append(f"local back {names(charges)}")

    def vacate(self, slots: Sequence[Slot]) -> None:
        self.log.append(f"ends {names([slot.charge for slot in slots])}")

    def answer(self) -> None:
        """The reply to what was asked first."""
        charges, waiter = self._asked.pop(0)
        waiter.decided(self._decision(charges, STORE))

    def _decision(self, charges: Sequence[Charge], via: str) -> Decision:
        verdicts = [self._verdict(charge) for charge in charges]
        is_admitted = all(verdict.is_admitted or verdict.limit.is_shadow for verdict in verdicts)
        return Decision(is_admitted, verdicts, via)

    def _verdict(self, charge: Charge) -> Verdict:
        fits = charge.limit.name not in self._refuses
        if not charge.terms.slots:
            return Verdict(charge, fits, 0)
        verdict = SlotVerdict(charge, 0, fits=fits)
        verdict.slot = Slot(charge, 1)
        return verdict


class Client:
    def __init__(self) -> None:
        self.told: list[Decision] = []

    def decided(self, decision: Decision) -> None:
        self.told.append(decision)


def names(charges: Sequence[Charge]) -> str:
    return " ".join(charge.limit.name for charge in charges)


def asked(counter: Counter, shadow: str = "", concurrency: str = "") -> Decision:
    """The decision on a request with limits a and c in one slot, b and d in two others."""
    limits = limits_of(
        *(
            {"name": name, "mode": "shadow" if name in shadow else "enforce"}
            | ({"concurrency": 1} if name in concurrency else {"rate": "15/s"})
            for name in "abcd"
        )
    )
    places = {"a": b"\1", "b": b"\2", "c": b"\1", "d": b"\3"}
    client = Client()
    charges = [Charge(limit.terms, places[limit.name] * 16) for limit in limits]
    request = CrossSlot(counter, counter, charges, client)
    decision = request.begin()
    while decision is None and not client.told:
        counter.answer()
    assert len(client.told) == (decision is None)
    return decision or client.told[0]


def test_places_are_asked_in_order() -> None:
    """Limits that share a place share a call; the verdicts come in the order of the limits."""
    counter = Counter()
    decision = asked(counter)

    assert counter.log == ["take a c", "take b", "take d"]
    assert decision.is_admitted
    assert [verdict.limit.name for verdict in decision.verdicts] == ["a", "b", "c", "d"]


def test_refusal_gives_back_what_was_taken() -> None:
    """And asks no further."""
    counter = Counter(refuses="b")
    decision = asked(counter)

    assert counter.log == ["take a c", "take b", "back a c"]
    assert not decision.is_admitted
    assert [verdict.limit.name for verdict in decision.refusals] == ["b"]


def test_refusal_names_all_that_are_known_to_refuse_and_no_other() -> None:
    """Also in places that are not asked any more."""
    decision = asked(Counter(refuses="b", knows="d"))

    assert [verdict.limit.name for verdict in decision.refusals] == ["b", "d"]
    assert [verdict.limit.name for verdict in asked(Counter(refuses="b")).verdicts] == ["a", "b", "c"]


def test_what_a_shadow_limit_refused_is_not_given_back() -> None:
    counter = Counter(refuses="c d")
    asked(counter, shadow="c")

    assert counter.log == ["take a c", "take b", "take d", "back a", "back b"]


def test_shadow_limits_come_last() -> None:
    """They refuse nobody, so nothing is taken from them in vain."""
    counter = Counter(refuses="d")
    asked(counter, shadow="b")

    assert counter.log == ["take a c", "take d", "back a c"]


def test_place_without_redis_is_decided_locally() -> None:
    counter = Counter(refuses="d", down="b")
    decision = asked(counter)

    assert counter.log == ["take a c", "local b", "take d", "back a c", "local back b"]
    assert not decision.is_admitted


def test_place_without_redis_may_refuse() -> None:
    """The places behind it are not asked."""
    counter = Counter(refuses="b", down="b")
    decision = asked(counter)

    assert counter.log == ["take a c", "local b", "back a c"]
    assert (decision.is_admitted, decision.via) == (False, LOCAL)
    assert [verdict.limit.name for verdict in decision.refusals] == ["b"]


def test_refusal_ends_what_holds_slots() -> None:
    """A slot is no token: it is not given back a second time."""
    counter = Counter(refuses="d")
    asked(counter, concurrency="bc")

    assert counter.log == ["take a c", "take b", "take d", "ends c", "back a", "ends b"]


def test_nothing_is_waited_for_when_all_places_are_without_redis() -> None:
    counter = Counter(down="a b d")
    decision = asked(counter)

    assert counter.log == ["local a c", "local b", "local d"]
    assert (decision.is_admitted, decision.via) == (True, LOCAL)


def test_known_refusal_asks_nobody() -> None:
    """But not of a place that is without Redis: there the limit may allow."""
    counter = Counter(denies="d")

    assert asked(counter).via == DENIAL_CACHE
    assert counter.log == []
    assert asked(Counter(denies="d", down="d")).is_admitted


def test_cluster_that_is_not_found_gives_back_what_one_limit_took_when_another_refuses() -> None:
    """All is decided here, place by place."""
    limits = limits_of({"name": "wide", "rate": "10/m"}, {"name": "narrow", "rate": "1/h"})
    wide, narrow = limits
    store = RedisStore(Dialler(parse_store("redis+cluster://redis.test")), 0.05)
    store.configure(limits)
    request = [Charge(wide.terms, b"\1" * 16), Charge(narrow.terms, b"\2" * 16)]
    decisions = [store.take(request, Client()) for _ in range(5)]
    left = store.take(request[:1], Client())

    assert [decision.is_admitted for decision in decisions] == [True] + [False] * 4
    assert left.verdicts[0].remaining == 8
