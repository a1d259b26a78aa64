"""How long a server is waited for, and what its silence means when that time is over.

One deadline at a time: that of whatever the server must do next, as `patience` has it for clients. Knows
nothing of what the bytes are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import faults
from proxy.net.states import BODY_DUE, EACH_BYTE_EXTENDS, FAILS, HEAD_DUE, IS_TOLD
from proxy.net.sweep import NEVER

if TYPE_CHECKING:
    from proxy.net.upstream import Attempt, UpstreamConnection


def await_server(upstream: UpstreamConnection, attempt: Attempt) -> None:
    """Sets the deadline for what the server must do next: take the request, or answer."""
    if attempt.deadline_kind != EACH_BYTE_EXTENDS:
        return
    state = attempt.state
    is_answer_due = state == BODY_DUE or (state == HEAD_DUE and attempt.is_request_sent)
    if upstream.is_write_paused or (is_answer_due and not upstream.is_read_paused):
        upstream.deadline = upstream.address.sweeper.now + upstream.address.response_timeout
    else:
        upstream.deadline = NEVER  # the client is the slow one, or it is a tunnel, which may rest


def answer_is_late(upstream: UpstreamConnection) -> None:
    """The deadline has passed."""
    upstream.deadline = NEVER
    attempt = upstream.attempt
    if attempt is None:
        if not upstream.is_lingering or not upstream.may_linger(upstream.farewell):
            upstream.close()
    elif attempt.deadline_kind == IS_TOLD:
        attempt.deadline_kind = EACH_BYTE_EXTENDS
        await_server(upstream, attempt)
        attempt.exchange.response_late()
    elif attempt.deadline_kind == FAILS:
        upstream.break_off(attempt, faults.RESPONSE_STALLED)  # not its doing: the exchange was hasty
    else:
        is_silent = attempt.state == HEAD_DUE
        upstream.fail(attempt, faults.RESPONSE_TIMEOUT if is_silent else faults.RESPONSE_STALLED)
