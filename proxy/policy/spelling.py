"""The one spelling of a value: what lenient services read alike is one value, what they differ in is none.

Every function gives the value in that spelling, empty if there is none, and None where services could read
two: such a request is refused, for one could be charged and another be served. Knows nothing of requests.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final
from urllib.parse import unquote_to_bytes

# One word of visible ASCII, without quotes or the comma that makes a list: what nearly every credential is.
_VISIBLE: Final = bytes([byte for byte in range(0x21, 0x7F) if byte not in b',"'])
_SCHEMES: Final = frozenset((b"basic", b"bearer", b"jwt", b"token"))
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")
_BEGINS_JSON = b"eyJ"  # '{"' in Base64
_DIGITS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
# What the last character of a text may be, by its length modulo 4: the other bits of it are not looked at.
_ENDINGS = (_DIGITS + b"-_+/", b"", b"AQgw", b"AEIMQUYcgkosw048")


def word(value: bytes) -> bytes | None:
    """A credential within a field: visible ASCII, for what else there is may be dropped or replaced.

    Services that take it from a field of their own drop a scheme before it and quotes around it.
    """
    if value.isalnum():
        return value
    if value and not value.translate(None, _VISIBLE):  # a fifth of what a pattern costs
        return value if value[:3] != _BEGINS_JSON else web_token(value)
    text = sole_member(value) if b"," in value else value
    text = plain(text) if text is not None and text.isascii() else None
    return _bare(text) if text and (b" " in text or b'"' in text) else text


def _bare(text: bytes) -> bytes | None:
    scheme, _, rest = text.partition(b" ")
    if rest and b" " not in rest and scheme.lower() in _SCHEMES:
        return word(rest)
    if len(text) > 2 and text[:1] == text[-1:] == b'"' and b'"' not in text[1:-1]:
        return word(text[1:-1])
    return text


def plain(value: bytes) -> bytes | None:
    """Text: services strip it, split it at white space of any kind, and compose its letters anew."""
    text = b" ".join(value.split())
    if not text.isascii():
        try:
            composed = " ".join(unicodedata.normalize("NFKC", text.decode()).split())
        except UnicodeDecodeError:
            return None  # is dropped, replaced, or read as another character set
        if any(unicodedata.category(each)[0] in "CZ" for each in composed if each != " "):
            return None  # is not to be seen
        text = composed.encode()
    if _CONTROL.search(text):
        return None
    return web_token(text) if text[:3] == _BEGINS_JSON else text


def sole_member(value: bytes) -> bytes | None:
    """The only member of a list (RFC 9110 section 5.6.1), of which some services take the first and some the
    last.
    """
    members = {member for part in value.split(b",") if (member := part.strip())}
    if len(members) > 1:
        return None
    return members.pop() if members else b""


def web_token(token: bytes) -> bytes | None:
    """A JSON Web Token (RFC 7515): lenient readers take its signature in many spellings."""
    if token.count(b".") < 2:
        return token
    return token if all(is_base64(part, b"-_") for part in token.split(b".")) else None


def is_base64(text: bytes, last_two: bytes) -> bool:
    """It is in the only spelling without padding (RFC 4648); the alphabets differ in two characters."""
    if not text:
        return True
    return text[-1] in _ENDINGS[len(text) % 4] and not text.translate(None, _DIGITS + last_two)


def escaped(value: bytes, *, plus: bool = False) -> bytes | None:
    """A value that some services unescape (`%41` for A), and with `plus` also from `+` for a space."""
    if b"%" in value:
        value = unquote_to_bytes(value)
    return plain(value.replace(b"+", b" ") if plus else value)
