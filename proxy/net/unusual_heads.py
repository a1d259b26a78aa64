"""Heads that do not come whole and at once: what is skipped, waited for, or refused at the door."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from proxy.http1.refused_heads import unfinished_fault
from proxy.net.patience import set_deadline

if TYPE_CHECKING:
    from proxy.net.downstream import DownstreamConnection

LAST_BYTES: Final = 2 * 1024  # a longer head is not kept for the next request to be compared with
_EMPTY_LINES = re.compile(rb"(?:\r\n)+")


def unusual_head(client: DownstreamConnection, data: bytes, end: int) -> int:
    """A head that is not whole, too large, or behind empty lines, which are skipped (RFC 9112, 2.2).

    How much of a turn it took.
    """
    empty_lines = _EMPTY_LINES.match(data)
    if empty_lines is not None:
        client.buffer = data[empty_lines.end() :]
        return bool(client.buffer)
    rules = client.frontend.rules
    fault = unfinished_fault(data, end, rules.line_bytes, rules.head_bytes)
    if fault is not None:
        client.refuse(fault, data)
    elif not client.is_head_begun:
        client.is_head_begun = True
        set_deadline(client)
    if fault is None and len(data) > LAST_BYTES:
        client.frontend.slowed(client)
    return 0
