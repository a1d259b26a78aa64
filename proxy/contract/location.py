"""Location as clients may follow it: a server's own origin becomes the public one.

Path, query and fragment stay byte for byte; a relative reference and any other origin stay as they are.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

# RFC 3986 appendix B, the part before the path; the scheme may be left out (section 4.2).
_ORIGIN = re.compile(rb"(?:([A-Za-z][A-Za-z0-9+.\-]*):)?//([^/?#\\]*)(?=[/?#]|\Z)")
_DEFAULT_PORTS = {b"http": b":80", b"https": b":443"}


def public_location(location: bytes, origins: Iterable[bytes], public_origin: bytes) -> bytes:
    """The Location for clients; `origins` are those of the servers, such as http://10.0.0.7:9000."""
    match = _ORIGIN.match(location)
    if match is None:
        return location
    scheme, authority = match.groups()
    for origin in origins:
        own_scheme, _, own_authority = origin.lower().partition(b"://")
        if (scheme is None or scheme.lower() == own_scheme) and (
            _authority(authority, own_scheme) == _authority(own_authority, own_scheme)
        ):
            return public_origin.rstrip(b"/") + location[match.end() :]
    return location


def _authority(authority: bytes, scheme: bytes) -> bytes:
    """Spells it in lower case and without the scheme's own port (RFC 3986 section 6.2.3)."""
    lower = authority.lower().removesuffix(b":")
    return lower.removesuffix(_DEFAULT_PORTS.get(scheme, b":"))
