"""What the sockets and the story of an exchange ask of each other.

The floors below the gateway know it only by these interfaces: the object itself is handed in when a
connection is made.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead, ResponseHead
    from proxy.net.pool import Server
    from proxy.net.upstream import Upstream

Trailers = list[tuple[bytes, bytes]]


class Lane(Protocol):
    """The story of one exchange, as its two connections see it."""

    # From downstream.
    def begin(self, head: RequestHead) -> None: ...
    def refuse_head(self, fault: Fault, *, has_body: bool = True) -> None: ...
    def request_data(self, data: bytes) -> None: ...
    def request_end(self, trailers: Trailers) -> None: ...
    def fail(self, fault: Fault) -> None: ...
    def client_left(self) -> None: ...
    def client_paused(self) -> None: ...
    def client_resumed(self) -> None: ...
    def crashed(self, error: Exception) -> None: ...

    # From the pool.
    def connected(self, upstream: Upstream) -> None: ...
    def connect_failed(self, server: Server, fault: Fault) -> None: ...

    # From upstream.
    def interim(self, head: ResponseHead) -> None: ...
    def response_head(self, head: ResponseHead) -> None: ...
    def response_data(self, data: bytes) -> None: ...
    def response_end(self, trailers: Trailers) -> None: ...
    def upstream_failed(self, fault: Fault) -> None: ...
    def upstream_paused(self) -> None: ...
    def upstream_resumed(self) -> None: ...


class DownstreamLimits(Protocol):
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
    connections_max: int
