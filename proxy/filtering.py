"""An answer that goes through a filter: watched, held until its beginning is known, or replaced.

The filter says what comes next (`contract.filters`); here it is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import phases as life
from proxy.contract.filters import CONTINUE, REPLACE, REPORT, SWALLOW, UNCHANGED, ReplaceFilter
from proxy.own_answers import leave_unchanged, replace
from proxy.phases import ANSWER, NEXT, REDACT

if TYPE_CHECKING:
    from proxy.contract.filters import BodyFilter
    from proxy.gateway import Exchange


def send_through(exchange: Exchange, body_filter: BodyFilter) -> None:
    """From now on the filter has the answer's data before the client does."""
    exchange.body_filter = body_filter
    if body_filter.event == ANSWER:
        exchange.answer(body_filter.original.head, b"")
        return
    exchange.phase = NEXT[exchange.phase][body_filter.event]
    if body_filter.patience and exchange.upstream is not None:
        exchange.upstream.expect_within(body_filter.patience, is_final=body_filter.event == REDACT)


def heed(exchange: Exchange, body_filter: BodyFilter, step: int, data: bytes) -> None:
    """What the filter says: the next step, and what goes on to the client."""
    original = body_filter.original
    if step == CONTINUE:
        if data:
            exchange.pass_on(data)
    elif step == SWALLOW:
        body_filter.drop()
        send_through(exchange, ReplaceFilter(original))
    elif step == REPLACE:
        exchange.drop_upstream()
        replace(exchange, original)
    elif step == UNCHANGED:
        leave_unchanged(exchange, original.head)
    else:
        if step == REPORT:
            exchange.shared.evidence.leaked(exchange, original)
        _release(exchange, body_filter, data)


def _release(exchange: Exchange, body_filter: BodyFilter, data: bytes) -> None:
    """The filter is over. What it held has its room for as long as the client does not take it."""
    if exchange.phase == life.HOLDING:
        exchange.answer(body_filter.original.head, data)
    elif data:
        exchange.pass_on(data)
    exchange.body_filter = None
    exchange.downstream.hold(body_filter)
