"""The normalised copy of a path that limits and rules match on: `..` and `%2F` tricks cannot evade them.

Percent-escapes are decoded once, `\\` counts as `/`, runs of slashes are one, dot segments are resolved (RFC
3986 section 5.2.4). What is forwarded is the client's own bytes.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

# A path for which all of the below changes nothing.
_IS_PLAIN = re.compile(rb"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9\-._~!$&'()*+,;=:@]+)*/?")


def normalised(target: bytes) -> bytes:
    path = target.partition(b"?")[0]
    if _IS_PLAIN.fullmatch(path):
        return path or b"/"
    if not path.startswith(b"/"):
        return path  # "*" of OPTIONS
    segments: list[bytes] = []
    decoded = unquote_to_bytes(path).replace(b"\\", b"/")
    for segment in decoded.split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    ends_in_folder = decoded.endswith((b"/", b"/.", b"/.."))
    return b"/" + b"/".join(segments) + (b"/" if segments and ends_in_folder else b"")
