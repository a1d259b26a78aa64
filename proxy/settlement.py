"""What the service's answer, or that there is none, does to the tokens that a request has cost; and what its
end does to the slots that it holds.

A reload may come between the two: the store knows the limits of today only. Knows nothing of how tokens are
kept.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from proxy.limiter.store import obey
from proxy.policy.decision import spared, unspent
from proxy.policy.slots import slots_of
from proxy.policy.upstream_429 import emptied, moved, retry_after_us
from proxy.policy.vouching import Transfer, Word, heard

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.gateway import Exchange
    from proxy.http1.head import ResponseHead
    from proxy.limiter.store import Store
    from proxy.policy.decision import Charge, Decision
    from proxy.policy.upstream_429 import Debt


def settle(exchange: Exchange, head: ResponseHead) -> None:
    if head.status == 304:
        give_back(exchange)
    elif head.status == 429:
        empty(exchange, head)


def vouch(exchange: Exchange, head: ResponseHead) -> None:
    """What it says of the request's credentials (`unproven`, `on_upstream_401`)."""
    decision, store = exchange.decision, exchange.shared.store
    if decision is None:
        return
    word = heard(decision, head.status, exchange.head, exchange.client)
    moves = [
        Transfer(taken, _todays(exchange, move.back), move.verdicts)
        for move in word.moves
        for taken in _todays(exchange, [move.taken])
    ]
    obey(store, Word(word.proven, _todays(exchange, word.back), moves))


def give_back(exchange: Exchange) -> None:
    """What a 304 does not cost (`cost_304`)."""
    if exchange.rules.limits.gives_back and exchange.decision is not None:
        _return(exchange, spared(exchange.decision))


def give_back_all(exchange: Exchange) -> None:
    """No server could be had: the service has not done anything for it."""
    if exchange.decision is not None:
        _return(exchange, unspent(exchange.decision))


def vacate(decision: Decision | None, store: Store) -> None:
    """The request has ended, however it did: whatever slots it holds come back, once."""
    if decision is not None and (slots := slots_of(decision)):
        store.vacate(slots)


def empty(exchange: Exchange, head: ResponseHead) -> None:
    """A 429 of the service: the buckets that admitted the request are empty (`on_upstream_429`)."""
    if exchange.rules.limits.empties and exchange.decision is not None:
        debts = emptied(exchange.decision, retry_after_us(head.fields, time()))
        if debts:
            exchange.shared.store.empty(_moved(exchange, debts))


def _return(exchange: Exchange, back: list[Charge]) -> None:
    if back:
        exchange.shared.store.give_back(_todays(exchange, back))


def _todays(exchange: Exchange, charges: list[Charge]) -> list[Charge]:
    limits = exchange.shared.rules.limits
    if not charges or limits is exchange.rules.limits:
        return charges
    return [renewed for charge in charges if (renewed := limits.renewed(charge)) is not None]


def _moved(exchange: Exchange, debts: Sequence[Debt]) -> Sequence[Debt]:
    limits = exchange.shared.rules.limits
    if limits is exchange.rules.limits:
        return debts
    found = [(charge, debt, limits.renewed(charge)) for charge, debt in debts]
    return [moved(charge, debt, renewed) for charge, debt, renewed in found if renewed is not None]
