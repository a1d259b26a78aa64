"""A request's method and target as text that is safe in a log: no secret, no control character, never long.

Values of query parameters whose names sound like a secret are masked, rather once too often than once too
seldom; so is who logs in by a URL (`//user:password@host`). A backslash begins an escape of ours, and nothing
else: one that came is escaped too. What is looked at is bounded, so that no target makes its line dear.
Knows nothing of the log's format.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

# RFC 9110 section 9, PATCH (RFC 5789), WebDAV (RFC 4918, 3253, 5323) and QUERY (its draft).
METHODS = frozenset(
    b"GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH PROPFIND PROPPATCH MKCOL COPY MOVE LOCK UNLOCK "
    b"REPORT SEARCH QUERY".split()
)

TARGET_CHARS: Final = 2048  # a line stays below 4 KiB, so that it is whole wherever lines are cut
METHOD_CHARS = 32
HEADER_CHARS = 512
MASK = "***"
CUT = "~"  # ends a target that was longer
PARAMETERS_MAX = 32  # that are judged and shown
ESCAPES_MAX = 64  # of ASCII, that are read and shown
QUERIES_KNOWN = 1024  # paths differ, but the same few queries come again and again
QUERY_CHARS = 128  # of those that are remembered
NAMES_MAX = 1024  # parameter names whose judgement is remembered

# What names of secrets hold, whatever stands around it ...
_CERTAIN = (
    "token", "secret", "passw", "passphrase", "pwd", "credential", "signature", "session", "jwt", "saml",
    "bearer", "cookie", "assertion", "hmac", "sessid", "verifier", "passcode", "csrf", "xsrf",
)  # fmt: skip
# ... or are: "auth" but not "author", "key" but not "keyword".
_SECRET_NAME = re.compile(
    r"auth(?!or(?!i[sz]))|keys?$|^code$|(?:^|[^a-z])(?:key|sig|sid|t?otp|pin|pass|pw|ticket|cv[vc]2?)(?:$|[^a-z])"
    r"|(?:user|device|access|login|security|verification|activation|recovery|reset|invite|backup|sms|mfa|2fa)_?-?code$"
)
# One of these is in each of them: a text without any is looked at once.
_HINTS = (
    *_CERTAIN,
    "key",
    "sig",
    "auth",
    "pass",
    "pw",
    "code",
    "sid",
    "otp",
    "pin",
    "ticket",
    "cvv",
    "cvc",
    "@",
)
# Who logs in by a URL (RFC 3986, 3.2.1); a slash in a password should have been escaped, but often is not.
_USER = re.compile(r"(?<=//)(?:[^/?#@]+|[^/?#@:]*:(?!\d{1,5}[/?#])[^@?&#]{1,256})@")
_ESCAPE = re.compile("%([2-7][0-9a-fA-F])")  # of ASCII: no other is a part of a word of a secret
_ASCII = {f"{code:02{form}}": chr(code) for code in range(0x20, 0x80) for form in "xX"}
_SEPARATORS = re.compile(r"([&;?#])")  # of parameters, old ones too, of fragments, and of URLs in URLs
_ESCAPED = {code: f"\\x{code:02x}" for code in (*range(0x20), ord("\\"), *range(0x7F, 0x100))}
_known_queries: Final[dict[str, str]] = {}
METHOD_TEXTS: Final = {method: method.decode("ascii") for method in METHODS}


def target_text(target: bytes) -> str:
    """The target without secrets. It is cut before it is masked: what is left of a value is still masked."""
    text = target[:TARGET_CHARS].decode("latin-1")
    if len(target) > TARGET_CHARS:
        text = text[: TARGET_CHARS - 1] + CUT
    if "@" in text:
        text = _USER.sub(f"{MASK}@", text)
    path, mark, query = text.partition("?")
    if "#" in path:  # a fragment may hold the token of a login
        path, mark, query = text.partition("#")
    if mark:
        masked = _known_queries.get(query) or _remembered(query)
        text = f"{path}{mark}{masked}"[:TARGET_CHARS]
    return text if text.isascii() and text.isprintable() and "\\" not in text else _escaped(text)


def header_text(value: bytes) -> str:
    """A field that is no credential; a URL in it loses the secrets of its query."""
    return target_text(value)[:HEADER_CHARS]


def method_text(method: bytes) -> str:
    known = METHOD_TEXTS.get(method)
    return known if known is not None else _escaped(method[:METHOD_CHARS].decode("latin-1"))


def _remembered(query: str) -> str:
    """Masked, and kept for the next time unless it is long."""
    masked = _masked(query)
    if len(query) <= QUERY_CHARS:
        if len(_known_queries) >= QUERIES_KNOWN:
            _known_queries.clear()
        _known_queries[query] = masked
    return masked


def _masked(query: str) -> str:
    """Bounded first. Where no word of a secret stands, not even escaped, nothing is taken apart."""
    parts = _SEPARATORS.split(query, PARAMETERS_MAX)
    if len(parts) > 2 * PARAMETERS_MAX:
        parts[-1] = CUT
        query = "".join(parts)
    told = query
    if "%" in query:
        pieces = _ESCAPE.split(query, ESCAPES_MAX)
        if len(pieces) > 2 * ESCAPES_MAX:
            query = query[: -len(pieces[-1])] + CUT
            pieces[-1], parts = "", _SEPARATORS.split(query)
        told = _joined(pieces)
    told = told.lower()
    for word in _HINTS:
        if word in told:
            return "".join(map(_parameter, parts))
    return query


def _parameter(text: str) -> str:
    name, _, value = text.partition("=")
    if value and (_is_secret(name) or ("%" in value and _holds_secret(value))):
        return f"{name}={MASK}"
    return text


@lru_cache(NAMES_MAX)
def _is_secret(name: str) -> bool:
    name = _unescaped(name).lower()
    for word in _CERTAIN:
        if word in name:
            return True
    return _SECRET_NAME.search(name) is not None


def _holds_secret(value: str) -> bool:
    """A URL as a value, escaped, with a secret among its own parameters, or with who logs in."""
    text = _unescaped(value)
    parameters = _SEPARATORS.split(text)
    return _USER.search(text) is not None or any(
        "=" in parameter and _is_secret(parameter.partition("=")[0]) for parameter in parameters
    )


def _unescaped(text: str) -> str:
    return _joined(_ESCAPE.split(text)) if "%" in text else text


def _joined(pieces: list[str]) -> str:
    """What `_ESCAPE` has split, without escapes."""
    pieces[1::2] = [_ASCII[digits] for digits in pieces[1::2]]
    return "".join(pieces)


def _escaped(text: str) -> str:
    """Is plain ASCII, cut again: an escape takes four characters. `text` has none beyond Latin-1."""
    plain = text.translate(_ESCAPED)
    return plain if len(plain) <= TARGET_CHARS else plain[: TARGET_CHARS - 1] + CUT
