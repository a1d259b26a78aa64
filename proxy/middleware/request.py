"""A request as a framework has it becomes a head that the rules can read. Knows nothing of limits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.http1.head import HeaderSection, RequestHead
from proxy.http1.lines import HeaderLine

if TYPE_CHECKING:
    from collections.abc import Iterable


def head_of(
    method: str, target: bytes, headers: Iterable[tuple[bytes, bytes]], *, has_crumbs: bool = False
) -> RequestHead:
    """It has been judged by the server that took it, and is not forwarded."""
    section = HeaderSection(b"")
    fields, lines = section.fields, section.lines
    for name, value in headers:
        field = name.lower()
        lines.append(HeaderLine(field, value, name, 0))
        if has_crumbs and field == b"cookie" and field in fields:
            fields[field] = b"%b; %b" % (fields[field], value)
        elif field in fields:
            fields[field] = b"%b, %b" % (fields[field], value)
            section.repeated = (section.repeated or set()) | {field}
        else:
            fields[field] = value
    return RequestHead(method.encode("latin-1", "replace"), target, 1, section)
