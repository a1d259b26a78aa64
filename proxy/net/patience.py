"""How long a client's connection is waited for, and what its silence means when that time is over.

One deadline at a time: that of whatever the client must do next. Knows nothing of what the bytes are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import faults
from proxy.net.connection import LINGER_SECONDS
from proxy.net.kernel import has_input
from proxy.net.states import BUSY, DISCARDING, HEADS, LINGERING, TUNNEL
from proxy.net.sweep import NEVER
from proxy.net.tunnel import expire_tunnel, tunnel_patience

if TYPE_CHECKING:
    from proxy.net.downstream import DownstreamConnection


def set_deadline(client: DownstreamConnection) -> None:
    """Sets that of what the client must do next; while it does not read, that comes first."""
    if client.is_write_paused:
        return
    rules, state, body = client.frontend.rules, client.state, client.body
    patience = NEVER
    if state == HEADS:
        patience = rules.head_timeout if client.is_head_begun else rules.idle_timeout
    elif state == DISCARDING or (state == BUSY and body is not None and body.receiver is not None):
        patience = rules.body_timeout
    elif state == TUNNEL:
        patience = tunnel_patience(client)
    client.deadline = client.frontend.sweeper.now + patience


def hear_out(client: DownstreamConnection) -> None:
    """Many a client sends its upload to the end before it reads why that was refused."""
    now = client.frontend.sweeper.now
    if now < client.linger_until:
        client.deadline = max(client.deadline, now + LINGER_SECONDS)


def time_is_up(client: DownstreamConnection) -> None:
    """The deadline has passed: what that means depends on what was waited for."""
    client.deadline = NEVER
    if client.state == LINGERING:
        if not client.may_linger(client.frontend.rules.body_timeout):
            client.abort()
    elif client.is_write_paused:
        _expire_writing(client)
    elif client.state == BUSY:
        client.fail(faults.BODY_TIMEOUT)
    elif client.state == TUNNEL:
        expire_tunnel(client)
    elif client.state == HEADS and client.buffer:
        client.refuse(faults.HEAD_TIMEOUT, client.buffer)
    elif client.state == HEADS and has_input(client.transport):
        client.deadline = client.frontend.sweeper.now  # it came just in time: seen before the next look
    else:
        client.close()


def _expire_writing(client: DownstreamConnection) -> None:
    if client.takes_output():
        client.deadline = client.frontend.sweeper.now + client.frontend.rules.body_timeout
        return
    client.fail(faults.READ_TIMEOUT)
    client.abort()
