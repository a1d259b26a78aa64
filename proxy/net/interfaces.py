"""What the sockets and the story of an exchange ask of each other.

The floors below the gateway know it only by these interfaces: the object itself is handed in when a
connection is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy.faults import Fault
    from proxy.http1.head import ResponseHead
    from proxy.net.server_address import ServerAddress
    from proxy.net.upstream import UpstreamConnection

Trailers = list[tuple[bytes, bytes]]


class ExchangeEvents(Protocol):
    """An exchange, as its two connections and those in between tell it what happens."""

    method: bytes  # as they are told of, also where a head is refused
    target: bytes

    # By downstream.
    def begin(self) -> None: ...
    def refuse_head(self, fault: Fault, *, has_body: bool = True) -> None: ...
    def fail(self, fault: Fault) -> None: ...
    def client_left(self) -> None: ...
    def reassure(self) -> None: ...
    def client_paused(self) -> None: ...
    def client_resumed(self) -> None: ...
    def crashed(self, error: Exception) -> None: ...

    # By the pool.
    def may_search_on(self, fault: Fault) -> bool: ...
    def connected(self, upstream: UpstreamConnection) -> None: ...
    def connect_failed(self, address: ServerAddress, fault: Fault) -> None: ...
    def turned_away(self, fault: Fault) -> None: ...

    # By upstream.
    def trailers_onward(self, trailers: Trailers) -> Trailers: ...
    def interim(self, head: ResponseHead) -> None: ...
    def response_head(self, upstream: UpstreamConnection, head: ResponseHead, data: bytes) -> None: ...
    def response_data(self, data: bytes) -> None: ...
    def response_end(self, trailers: Trailers) -> None: ...
    def response_late(self) -> None: ...
    def upstream_failed(self, upstream: UpstreamConnection, fault: Fault) -> None: ...
    def server_ended(self) -> bool: ...
    def upstream_paused(self) -> None: ...
    def upstream_resumed(self, upstream: UpstreamConnection) -> None: ...


class Caller(Protocol):
    """Who asked an address for a new connection; is told once."""

    def opened(self, upstream: UpstreamConnection) -> None: ...
    def failed(self, address: ServerAddress, fault: Fault) -> None: ...


class Held(Protocol):
    """What takes room for as long as a client has not read it."""

    def drop(self) -> None: ...


class ConnectionRules(Protocol):
    """What a downstream connection must know of the settings; read anew at each use, so that a reload reaches
    it.
    """

    line_bytes: int
    head_bytes: int
    headers_max: int
    body_bytes: int | None
    head_timeout: float
    body_timeout: float
    idle_timeout: float
    tunnel_timeout: float
    aborts_half_closed: bool
    methods: frozenset[bytes]
    buffer_bytes: int | None
    connections_max: int
    connections_per_address: int | None
    ipv6_prefix: int

    def is_trusted(self, peer: str) -> bool: ...
