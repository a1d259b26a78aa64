"""Everything that can go wrong with an exchange, in one table: side x phase x reason.

A fault says what the client is answered, whether the request may be sent again, and the words for log, metric and
Proxy-Status (RFC 9209 section 2.3). Knows nothing of sockets or messages.
"""

from __future__ import annotations

from dataclasses import dataclass

DOWNSTREAM = "downstream"
UPSTREAM = "upstream"
WEIR = "weir"


@dataclass(frozen=True, slots=True)
class Fault:
    side: str
    phase: str  # head, body, connect, response_head, response_body, policy
    reason: str  # one word for log and metric, unique in the table
    status: int  # what the client is answered, when nothing was sent yet; 0: the connection is just closed
    detail: str  # one sentence for the error object: never data of the request or the upstream
    is_retryable: bool = False  # nothing of the request can have been processed
    proxy_error: str = ""  # RFC 9209 proxy error type
    allow: str = ""  # the Allow field of a 405


FAULTS: dict[str, Fault] = {}
