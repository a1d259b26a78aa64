"""A tunnel: a client's connection and a server's that pass on to each other whatever comes (101).

Knows nothing of why they do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import faults
from proxy.http1.framing import UNTIL_CLOSE
from proxy.net.answer_deadline import await_server
from proxy.net.broken_answer import LastWords
from proxy.net.request_body import RequestBody
from proxy.net.states import TUNNEL

if TYPE_CHECKING:
    from proxy.net.downstream import DownstreamConnection
    from proxy.net.upstream import UpstreamConnection


def join(client: DownstreamConnection, server: UpstreamConnection) -> None:
    """From here on what one of them sends is the other's."""
    _turn_server(server)
    client.state = TUNNEL
    body = client.body = RequestBody(UNTIL_CLOSE)
    body.receiver = server
    _rest(client)
    client.resume_reading()
    if client.buffer:
        early, client.buffer = client.buffer, b""
        body.pass_on(server, early)
    if client.is_half_closed:  # behind its request already
        client_ended(client)


def _turn_server(server: UpstreamConnection) -> None:
    server.heard = server.address.sweeper.now
    server.address.standing.answered()
    attempt = server.attempt
    assert attempt is not None, "it has just answered"
    attempt.state = TUNNEL
    if server.address.ssl is not None and attempt.last_words is None:
        attempt.last_words = LastWords(server.transport)
    await_server(server, attempt)


def server_of(client: DownstreamConnection) -> UpstreamConnection:
    """Who has what the client of a tunnel sends."""
    return _joined(client)[1]


def send_on(client: DownstreamConnection, data: bytes) -> None:
    """The client has said something."""
    body, server = _joined(client)
    body.pass_on(server, data)


def _joined(client: DownstreamConnection) -> tuple[RequestBody, UpstreamConnection]:
    """What the client sends, and who has it. A client whose tunnel has ended is in another state."""
    body = client.body
    assert body is not None, "a tunnel has its body to its end"
    assert body.receiver is not None, "and its receiver, which is never taken away"
    return body, body.receiver


# --- its end ---


def can_half_close(server: UpstreamConnection) -> bool:
    """TLS knows no half of an end."""
    return server.address.ssl is None and not server.transport.is_closing()


def client_ended(client: DownstreamConnection) -> None:
    """It sends no more, the server may; where it cannot be told, the tunnel is over."""
    server = server_of(client)
    if can_half_close(server):
        server.flush()
        server.transport.write_eof()
    else:
        client.leave()


def server_ended(client: DownstreamConnection) -> bool:
    """It sends no more, the client may; false if the tunnel must end as a whole."""
    if client.scheme != b"http" or client.is_half_closed or client.transport.is_closing():
        return False
    client.flush()
    client.transport.write_eof()
    client.is_end_sent = True
    _rest(client)
    return True


def tunnel_patience(client: DownstreamConnection) -> float:
    """Seconds that it may be silent; not as many where only its end is waited for."""
    rules = client.frontend.rules
    return rules.body_timeout if client.is_end_sent else rules.tunnel_timeout


def _rest(client: DownstreamConnection) -> None:
    if not client.is_write_paused:  # else that it reads comes first
        client.deadline = client.frontend.sweeper.now + tunnel_patience(client)


def expire_tunnel(client: DownstreamConnection) -> None:
    """The client has said nothing for long; perhaps the server has."""
    now, patience = client.frontend.sweeper.now, client.frontend.rules.tunnel_timeout
    heard = server_of(client).heard
    if heard + patience > now and not client.is_end_sent:
        client.deadline = heard + patience
    else:
        client.fail(faults.TUNNEL_TIMEOUT)
