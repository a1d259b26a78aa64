"""A request's body, cut piece by piece from what its client sends: passed on, or dropped.

Knows nothing of limits, servers or what an answer means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.net.patience import set_deadline
from proxy.net.states import BUSY, DISCARDING, HEADS

if TYPE_CHECKING:
    from proxy.net.downstream import DownstreamConnection
    from proxy.net.request_body import RequestBody

TURN: Final = 32  # heads and pieces of bodies until others have their turn: about 1 ms at 25 us each


def next_piece(client: DownstreamConnection) -> int:
    """Passes on one piece, or drops it: how much of a turn it took, 0 if there is nothing to be done."""
    body, data = client.body, client.buffer
    if body is None or not data:
        return 0
    if client.state == DISCARDING:
        return _discard(client, body, data)
    receiver = body.receiver
    if client.state != BUSY or receiver is None:
        return 0
    if body.has_length:
        content, client.buffer = body.read(data), body.rest
    else:
        content, client.buffer = body.read(data), body.unread or body.rest
        if (fault := body.fault(len(content), client.frontend.rules.body_bytes)) is not None:
            client.fail(fault)
            return 0
    if body.is_over:
        body.receiver = None
    set_deadline(client)
    body.pass_on(receiver, content)
    return TURN if body.unread else 1


def _discard(client: DownstreamConnection, body: RequestBody, data: bytes) -> int:
    body.read(data)
    client.buffer = body.rest
    if body.is_over:
        client.state = HEADS
        client.body = None
        set_deadline(client)
    return int(body.is_over)
