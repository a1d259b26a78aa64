"""JSON Web Tokens (RFC 7519) for tests, signed by nobody."""

from __future__ import annotations

import base64
import json


def token(claims, scheme="Bearer", *, urlsafe=True):
    """The value of an Authorization field. Claims may be bytes, to be no JSON."""
    payload = claims if isinstance(claims, bytes) else json.dumps(claims, ensure_ascii=False).encode()
    encoded = base64.urlsafe_b64encode(payload) if urlsafe else base64.b64encode(payload)
    return f"{scheme} eyJhbGciOiJub25lIn0.{encoded.rstrip(b'=').decode()}.c2ln"
