"""A client that sends no more, and may still wait for its answer (RFC 9112 section 9.6 lets it).

Knows nothing of how its connection ends.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from proxy.net.states import BUSY, CLOSED, HEADS, LINGERING, TUNNEL
from proxy.net.tunnel import can_half_close, server_of

if TYPE_CHECKING:
    from proxy.net.downstream import DownstreamConnection
    from proxy.net.interfaces import ExchangeEvents

PROBE_SECONDS: Final = 0.25  # most answers are there before


def may_be_answered(client: DownstreamConnection, unread: int) -> bool:
    """Whether what has come, and what lies unread, can be all that a client wants answered.

    TLS knows no half of an end.
    """
    state, body = client.state, client.body
    if client.scheme != b"http":
        return False
    if state == TUNNEL:
        return can_half_close(server_of(client)) and not client.is_end_sent
    if client.frontend.rules.aborts_half_closed or state in (LINGERING, CLOSED):
        return False
    if state == HEADS:
        return b"\r\n\r\n" in client.buffer
    return body is None or not body.has_length or body.left <= len(client.buffer) + unread


def inquire(client: DownstreamConnection) -> None:
    """It sends no more. Nothing tells at once whether it is still there, or whether all has come."""
    if client.exchange is not None:
        asyncio.get_running_loop().call_later(PROBE_SECONDS, _probe, client, client.exchange)
    if _is_uncounted(client):
        client.frontend.foresight.ask(client)


def _probe(client: DownstreamConnection, exchange: ExchangeEvents) -> None:
    """The kernel meets what a closed socket is sent with a reset."""
    if client.exchange is exchange and client.state == BUSY:
        exchange.reassure()


def _is_uncounted(client: DownstreamConnection) -> bool:
    """Only who reads on in a body of chunks can tell whether it has come whole."""
    body = client.body
    return client.state == BUSY and body is not None and body.is_chunked and not body.is_over


def has_sent_too_little(client: DownstreamConnection) -> bool:
    """What has come of it is not enough for anything more."""
    state, body = client.state, client.body
    if state == HEADS:
        return not client.is_write_paused
    return state == BUSY and body is not None and body.receiver is not None and not client.buffer
