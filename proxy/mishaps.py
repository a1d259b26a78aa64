"""What may go wrong on the way of an exchange, and what becomes of it: by the fault, and by how far it came.

It is tried once more, answered by the fault's row, or broken off. Which events these are is `gateway`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from proxy import faults
from proxy import phases as life
from proxy.faults import FAULTED
from proxy.own_answers import refuse, replace
from proxy.phases import PHASES, RETRY
from proxy.telemetry.log import event
from proxy.tunnelling import end

if TYPE_CHECKING:
    from proxy.faults import Fault
    from proxy.gateway import Exchange
    from proxy.net.upstream import UpstreamConnection

# One request on so many connections: one that proved stale, and two that broke. One that is `fresh` cannot
# prove stale, so there is no second of the kind.
ATTEMPTS_MAX = 3

_log = logging.getLogger("weir.gateway")


def client_failed(exchange: Exchange, fault: Fault) -> None:
    """It broke a rule, or ran out of time."""
    exchange.drop_upstream()
    if exchange.phase == life.TUNNELLING:
        exchange.fault = fault
        end(exchange)
    elif exchange.phase == life.ANSWERING:
        _break_off(exchange, fault)
    elif exchange.phase not in (life.IDLE, life.OVER):
        refuse(exchange, fault)


def client_left(exchange: Exchange) -> None:
    """Nobody waits for the answer any more; a tunnel ends with the side that leaves it."""
    if exchange.phase in (life.IDLE, life.OVER):
        return
    if exchange.phase == life.TUNNELLING:
        end(exchange)
        return
    exchange.drop_upstream()
    fault = exchange.fault = faults.INTERNAL if exchange.has_crashed else faults.CLIENT_GONE
    exchange.finish(fault.outcome, keep=False)


def server_failed(exchange: Exchange, upstream: UpstreamConnection, fault: Fault) -> None:
    """Another attempt, if nothing of the request can have been done; else the client must see it."""
    exchange.upstream = None
    phase = exchange.phase
    if phase == life.TUNNELLING:
        end(exchange)
        return
    exchange.shared.metrics.count_upstream_failure(upstream.address.name, fault.reason)
    if phase == life.REDACTING and exchange.body_filter is not None:
        replace(exchange, exchange.body_filter.original)
    elif phase == life.AWAITING and _may_repeat(exchange, upstream, fault):
        exchange.forward(RETRY, upstream.address, fresh=True)  # more than one may have been closed at a time
    elif phase in (life.AWAITING, life.HOLDING):
        refuse(exchange, fault)
    else:
        assert phase == life.ANSWERING, "who is not served by it has let go of it"
        _break_off(exchange, fault)


def crashed(exchange: Exchange, error: Exception) -> None:
    """A mistake of ours, from whichever fence it met. The client learns nothing of it."""
    event(_log, logging.ERROR, "crashed", phase=PHASES[exchange.phase], error=error)
    if exchange.phase in (life.IDLE, life.OVER) or exchange.has_crashed:
        exchange.drop_upstream()
        exchange.downstream.abort()
    else:
        exchange.has_crashed = True
        exchange.fault = faults.INTERNAL
        exchange.fail(faults.INTERNAL)


def may_search_on(exchange: Exchange, fault: Fault) -> bool:
    """An address could not be had: another one may be tried."""
    if fault.resent == faults.COSTLY:
        return exchange.shared.retries.spend()
    return fault.resent in (faults.ELSEWHERE, faults.NOT_HERE)


def _may_repeat(exchange: Exchange, upstream: UpstreamConnection, fault: Fault) -> bool:
    shared, head = exchange.shared, exchange.head
    if fault.resent == faults.NOT_HERE:
        if exchange.attempts >= ATTEMPTS_MAX or not shared.pool.has_other((upstream.address,)):
            return False
    elif fault.resent != faults.IDEMPOTENT:
        return False
    return shared.retries.repeats(head.method, head.section.body_length)


def _break_off(exchange: Exchange, fault: Fault) -> None:
    """The client has part of an answer: it must see that there is no more, never a clean end."""
    exchange.fault = fault
    if exchange.is_endless:
        exchange.downstream.reset()
    exchange.finish(FAULTED, keep=False)
