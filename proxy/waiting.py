"""A request whose tokens are reserved and not there yet (`max_wait`): it waits for its turn, or must not.

Whose turn it is knows `limiter.queues`; what a request has reserved comes back if it goes without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.own_answers import refuse
from proxy.phases import NEXT, QUEUE, QUEUED
from proxy.policy.slots import holds_slots
from proxy.settlement import give_back_all, vacate

if TYPE_CHECKING:
    from proxy.gateway import Exchange
    from proxy.policy.decision import Decision, Verdict


def turns(exchange: Exchange, decision: Decision) -> list[Verdict]:
    """What it must wait for; what it would have to, for limits in shadow, is told."""
    if exchange.rules.limits.watched_waits:
        exchange.would_wait = decision.would_wait
    return decision.waits


def wait(exchange: Exchange, decision: Decision, waits: list[Verdict]) -> None:
    """Keeps it until its turn comes; if too many wait already, it is refused."""
    fault = exchange.shared.room.enter(exchange, decision, waits)
    if fault is None:
        exchange.phase = NEXT[exchange.phase][QUEUE]
        return
    give_back_all(exchange)
    decision.turn_down(waits)
    refuse(exchange, fault)


def keeps_others_waiting(exchange: Exchange) -> bool:
    """Whether it does, by its place in the line, or by slots that it holds."""
    decision = exchange.decision
    return exchange.phase == QUEUED or (decision is not None and holds_slots(decision))


def leave(exchange: Exchange) -> None:
    """Those behind move up before its tokens come back."""
    exchange.waited = exchange.shared.room.leave(exchange)
    give_back_all(exchange)


def forgo(exchange: Exchange, decision: Decision) -> None:
    """The client left before the store had answered."""
    vacate(decision, exchange.shared.store)
    if decision.is_admitted and exchange.rules.limits.may_wait and decision.waits:
        exchange.decision = decision
        give_back_all(exchange)
