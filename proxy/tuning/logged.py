"""One exchange as an access log tells it, whatever its format."""

from __future__ import annotations

import msgspec


class Logged(msgspec.Struct, gc=False):
    """What the log does not tell is empty."""

    time: str = ""
    client: str = ""
    method: str = ""
    target: str = ""
    status: int = 0
    source: str = "upstream"  # who answered: the service or Weir
    fault: str | None = None
    upstream_ms: float = 0.0  # until the head of the service's answer
    keys: msgspec.Raw = msgspec.Raw(b"")  # Weir's own: hashed keys by the limit's name
    limits: msgspec.Raw = msgspec.Raw(b"")  # Weir's own: names of limits by what they said
    plan: str | None = None
    duration_ms: float = 0.0  # Weir's own, as what follows
    waited_ms: float = 0.0  # for its token
    outcome: str = ""  # whether it was served
    sample: float = 1.0  # the share of lines like this one that were written
    credential: str = ""  # of the field that --key-field names
