"""What is told of an exchange: by the counters, the access log and the admin plane.

The gateway's exchange is one: it sets these as it goes, and they are read when it is over. What limits go by
(client, charges, decision) also steers; nothing else does. Knows nothing of sockets, limits or files; every
moment is in seconds of the loop's monotonic clock.
"""

from __future__ import annotations

from random import getrandbits
from typing import TYPE_CHECKING, Final

from proxy.http1 import trace_context

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.faults import Fault
    from proxy.policy.decision import Charge, Decision
    from proxy.policy.limits import Limit

# Outcome of an exchange: the upstream's answer, whole, whatever its status. The others are in `faults`.
SERVED: Final = "served"

UPSTREAM: Final = "upstream"  # source of an answer: the service ...
WEIR: Final = "weir"  # ... or Weir itself


class Trace:
    """An exchange's spans, if it is sampled."""

    __slots__ = ("agent", "decided", "host", "parent_id", "scheme", "server_id", "trace_id", "upstream_id")

    def __init__(self, trace_id: str, parent_id: str, fields: Mapping[bytes, bytes], scheme: bytes) -> None:
        self.trace_id = trace_id
        self.parent_id = parent_id  # "" at the root
        self.server_id = new_span_id()
        self.upstream_id = new_span_id()
        self.decided = 0.0  # when the limits had spoken; 0 if none was asked
        self.host = fields.get(b"host", b"")
        self.agent = fields.get(b"user-agent", b"")
        self.scheme = scheme

    def carried(self, head: bytes) -> bytes:
        """The request's head to the server, as a child of the span that tells of this call."""
        return trace_context.carried(head, self.trace_id, self.upstream_id)


def new_span_id() -> str:
    return f"{getrandbits(64) | 1:016x}"


class Record:
    __slots__ = (
        "bytes_in",
        "bytes_out",
        "charges",
        "client",
        "decision",
        "exempt",
        "fault",
        "finished",
        "headers",
        "method",
        "outcome",
        "peer",
        "redacted_status",
        "request_id",
        "server",
        "source",
        "started",
        "status",
        "target",
        "trace",
        "upstream_seconds",
        "upstream_started",
        "waited",
        "would_wait",
    )

    def __init__(self, method: bytes, target: bytes, peer: str, started: float) -> None:
        self.method = method
        self.target = target
        self.peer = peer  # address of the other end of the socket
        self.client = peer  # who is charged, after trusted hops
        self.started = started  # the head was complete
        self.finished = 0.0
        self.request_id = ""
        self.decision: Decision | None = None  # what the limits said; None if none was asked
        self.charges: Sequence[Charge] = ()  # what it was to be charged
        self.exempt: Sequence[Limit] = ()  # limits that match but let this client be
        self.waited = 0.0  # seconds for its tokens (`max_wait`)
        self.would_wait: Sequence[tuple[str, float]] = ()  # limits in shadow, and the seconds for each
        self.server = ""  # the upstream server that was asked, "" if none was
        self.upstream_started = 0.0  # 0 if nothing was sent to a server
        self.upstream_seconds = 0.0  # from the request head being written to the answer's head
        self.status = 0  # what the client was sent; 0 if nothing was
        self.source = WEIR
        self.redacted_status = 0  # the upstream's status when its body was replaced
        self.bytes_in = 0  # body bytes from the client
        self.bytes_out = 0  # body bytes to the client
        self.fault: Fault | None = None
        self.trace: Trace | None = None  # if its spans are recorded
        self.headers: Sequence[bytes] = ()  # values that the access log wants of the request
        self.outcome = ""  # how it ended
