"""An exchange that became a tunnel (101): bytes both ways, until one side leaves.

The connections pass them on by themselves; here it begins and ends.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import faults
from proxy.faults import TUNNELLED
from proxy.http1.serialise import switching_head
from proxy.net import tunnel
from proxy.phases import NEXT, SWITCH
from proxy.record import UPSTREAM

if TYPE_CHECKING:
    from proxy.gateway import Exchange
    from proxy.http1.head import ResponseHead
    from proxy.net.upstream import UpstreamConnection


def switch(exchange: Exchange, upstream: UpstreamConnection, head: ResponseHead) -> None:
    """The server does; a client that has not asked for it could not be told from the bytes that follow."""
    if not exchange.facts.upgrade:
        upstream.close()
        exchange.upstream_failed(upstream, faults.UNASKED_UPGRADE)
        return
    exchange.phase = NEXT[exchange.phase][SWITCH]
    exchange.status, exchange.source = head.status, UPSTREAM
    exchange.downstream.write(switching_head(head, exchange.request_id))
    tunnel.join(exchange.downstream, upstream)


def server_ended(exchange: Exchange) -> bool:
    """It sends no more; whether the tunnel goes on the other way. Else what was sent still arrives."""
    goes_on = tunnel.server_ended(exchange.downstream)
    if not goes_on:
        end(exchange)
    return goes_on


def end(exchange: Exchange) -> None:
    """One side has left, and the other one with it, if it is still there."""
    if exchange.upstream is not None:
        exchange.upstream.linger()
    exchange.finish(TUNNELLED, keep=False)
