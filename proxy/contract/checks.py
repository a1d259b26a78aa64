"""What the service promises for each status; a response that breaks it is counted, never blocked."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# status -> (field that must be there, the rule's word)
REQUIRED: dict[int, tuple[tuple[bytes, str], ...]] = {
    201: ((b"location", "location_missing"), (b"x-global-identifier", "global_identifier_missing")),
    401: ((b"www-authenticate", "www_authenticate_missing"),),
    405: ((b"allow", "allow_missing"),),
    429: ((b"retry-after", "retry_after_missing"),),
}
_NONE: tuple[str, ...] = ()


def violations(status: int, fields: Mapping[bytes, bytes]) -> tuple[str, ...]:
    """The words of the rules that a response's head breaks."""
    required = REQUIRED.get(status)
    if required is None:
        return _NONE
    return tuple(rule for name, rule in required if name not in fields)
