"""What the service's answer, or that there is none, does to the tokens that a request has cost.

Knows nothing of how they are kept.
"""

from __future__ import annotations

from time import time
from typing import TYPE_CHECKING

from proxy.limiter.store import obey
from proxy.policy.decision import spared, unspent
from proxy.policy.upstream_429 import emptied, retry_after_us
from proxy.policy.vouching import heard

if TYPE_CHECKING:
    from proxy.gateway import Exchange
    from proxy.http1.head import ResponseHead


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
    obey(store, heard(decision, head.status, exchange.head, exchange.client))


def give_back(exchange: Exchange) -> None:
    """What a 304 does not cost (`cost_304`)."""
    if exchange.rules.limits.gives_back and exchange.decision is not None:
        back = spared(exchange.decision)
        if back:
            exchange.shared.store.give_back(back)


def give_back_all(exchange: Exchange) -> None:
    """No server could be had: the service has not done anything for it."""
    if exchange.decision is not None:
        back = unspent(exchange.decision)
        if back:
            exchange.shared.store.give_back(back)


def empty(exchange: Exchange, head: ResponseHead) -> None:
    """A 429 of the service: the buckets that admitted the request are empty (`on_upstream_429`)."""
    if exchange.rules.limits.empties and exchange.decision is not None:
        debts = emptied(exchange.decision, retry_after_us(head.fields, time()))
        if debts:
            exchange.shared.store.empty(debts)
