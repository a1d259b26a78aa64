"""The origin of a Location: the service names itself, the client must be told the public name (RFC 9110 section 10.2.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def public_location(location: bytes, origins: Sequence[bytes], public: bytes) -> bytes:
    """`location` with its origin replaced when it is one of `origins`; anything else as it came."""
    for origin in origins:
        if location[: len(origin)].lower() == origin.lower() and location[len(origin) : len(origin) + 1] in (
            b"",
            b"/",
            b"?",
            b"#",
        ):
            return public + location[len(origin) :]
    return location
