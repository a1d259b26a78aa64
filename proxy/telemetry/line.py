"""The fields of an access-log line: docs/observability.md tells what they say.

Apart from what fills them, since a class of msgspec's making cannot be compiled ahead of time.
"""

from __future__ import annotations

import msgspec


class AccessLine(msgspec.Struct, omit_defaults=True, gc=False):
    """The fields of a line, in order; those that are None are left out."""

    time: str
    request_id: str
    client: str
    peer: str
    method: str
    target: str
    status: int
    source: str
    outcome: str
    bytes_in: int
    bytes_out: int
    duration_ms: float
    limits: msgspec.Raw | None = None
    keys: msgspec.Raw | None = None
    plan: str | None = None
    via: str | None = None
    server: str | None = None
    upstream_ms: float | None = None
    waited_ms: float | None = None
    would_wait_ms: msgspec.Raw | None = None
    fault: str | None = None
    redacted_status: int | None = None
    trace_id: str | None = None
    user_agent: str | None = None
    referer: str | None = None
    host: str | None = None
    sample: float | None = None
