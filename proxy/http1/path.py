"""One path as services may read it: they differ in what they decode, resolve, strip and compare.

Most paths have one reading. One with escapes, dots, doubled slashes or parameters has several: from what the
client has written to what the most lenient service makes of it. What limits goes by any of them, so that no
spelling leads round it; what lets something through must hold in every one. What is forwarded is the client's
own bytes.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote_to_bytes

# A path that everybody reads alike, but for case and a slash at the end.
_IS_PLAIN = re.compile(rb"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9\-._~!$&'()*+,=:@]+)*/?")
# What may stand in a path as it is (RFC 3986 section 3.3) needs no escape; what delimits must not have one.
_NEEDLESS = frozenset(
    b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=:@/\\?#%"
)
_ESCAPE = re.compile(rb"%([0-9A-Fa-f]{2})")
_PARAMETERS = re.compile(rb";[^/]*")
_ENDS = re.compile(rb"[?#]")  # decoded, for services that look for the query only then
_BLANKS = b"\0\t\n\v\f\r "
_WIDE_ESCAPE = re.compile(rb"%[uU]([0-9A-Fa-f]{4})")  # as IIS decodes it, of UTF-16
# A character in more bytes than it takes (RFC 3629 section 10): what lenient decoders still read.
_OVERLONG = re.compile(rb"[\xC0\xC1][\x80-\xBF]|\xE0[\x80-\x9F][\x80-\xBF]|\xF0[\x80-\x8F][\x80-\xBF]{2}")
_DIVIDES = re.compile(rb"[./\\;?#%\0 ]")
_LIKE_SLASHES = str.maketrans("\u2044\u2215\u2216", "//\\")  # as Windows fits them into other character sets
_LETTERS_I = str.maketrans({"\u0131": "i", "\u0307": None})  # without a dot, and with one more
DECODINGS_MAX = 3  # services that decode twice exist: behind a proxy of their own that does too


def readings(target: bytes) -> tuple[bytes, ...]:
    """The path of a request target in all of its readings, the most lenient last."""
    path = target.partition(b"?")[0]
    if _IS_PLAIN.fullmatch(path):
        return (path or b"/",)
    if not path.startswith(b"/"):
        return (path,)  # "*" of OPTIONS
    sent = _ESCAPE.sub(_needed, path)
    decoded = _decodings(path)
    texts = dict.fromkeys((sent, *decoded, *_decodings(_PARAMETERS.sub(b"", path))))
    if b"%u" in decoded[-1] or b"%U" in decoded[-1]:
        texts |= dict.fromkeys([unquote_to_bytes(_narrowed(text)) for text in (path, decoded[-1])])
    texts |= dict.fromkeys([_composed(text) for text in texts if not text.isascii()])
    texts |= dict.fromkeys([text.partition(b"\0")[0] for text in texts if b"\0" in text])
    texts |= dict.fromkeys([text.replace(b"\\", b"/") for text in texts if b"\\" in text])
    texts |= dict.fromkeys([_ENDS.split(text, 1)[0] for text in texts if b"?" in text or b"#" in text])
    whole = [_resolved(text) for text in texts]
    bare = [_resolved(_PARAMETERS.sub(b"", text), _BLANKS) for text in texts]
    return tuple(dict.fromkeys((sent, *whole, *bare)))


def folded(text: bytes) -> bytes:
    """Makes texts equal without regard to case and, where they are UTF-8, to how a letter is composed. The
    two letters i of Turkish are one: some services compare by upper case.
    """
    if text.isascii():
        return text.lower()
    try:
        return unicodedata.normalize("NFKC", text.decode()).casefold().translate(_LETTERS_I).encode()
    except UnicodeDecodeError:
        return text.lower()


def segment(path: bytes, number: int) -> bytes:
    """One of its segments that are not empty, the first is 1; empty if there are not so many."""
    parts = [part for part in path.split(b"/") if part]
    return parts[number - 1] if len(parts) >= number else b""


def _needed(escape: re.Match[bytes]) -> bytes:
    """Keeps an escape where it is a spelling of its own, not where its character could stand by itself."""
    byte = int(escape[1], 16)
    return escape[0] if byte in _NEEDLESS or byte < 0x20 or byte == 0x7F else bytes((byte,))


def _narrowed(path: bytes) -> bytes:
    """`%u0061` is `a` to some services."""
    return _WIDE_ESCAPE.sub(lambda escape: chr(int(escape[1], 16)).encode("utf-8", "surrogatepass"), path)


def _composed(text: bytes) -> bytes:
    """Where letters become dots, slashes or spaces by it (U+FF0E is a wide dot); what is no UTF-8 goes."""
    try:
        composed = unicodedata.normalize("NFKC", text.decode()).translate(_LIKE_SLASHES).encode()
    except UnicodeDecodeError:
        letters = _OVERLONG.sub(_shortest, text).decode("utf-8", "ignore")
        return unicodedata.normalize("NFKC", letters).encode()
    return composed if len(_DIVIDES.findall(composed)) > len(_DIVIDES.findall(text)) else text


def _shortest(overlong: re.Match[bytes]) -> bytes:
    lead, *rest = overlong[0]
    point = lead & (0x1F if lead < 0xE0 else 0x0F if lead < 0xF0 else 0x07)
    for byte in rest:
        point = point << 6 | byte & 0x3F
    return chr(point).encode("utf-8", "surrogatepass")


def _decodings(path: bytes) -> list[bytes]:
    """Once, and as often as it changes something."""
    found: list[bytes] = []
    for _ in range(DECODINGS_MAX):
        path = unquote_to_bytes(path)
        if path in found:
            break
        found.append(path)
    return found


def _resolved(path: bytes, blanks: bytes = b"") -> bytes:
    """Runs of slashes are one, dot segments are gone (RFC 3986 section 5.2.4); `blanks` are not part of a
    segment's ends.
    """
    parts = path.split(b"/")
    segments: list[bytes] = []
    for part in parts:
        name = part.strip(blanks) if blanks else part
        if name == b"..":
            del segments[-1:]
        elif name not in (b"", b"."):
            segments.append(name)
    ends_in_folder = parts[-1] in (b"", b".", b"..")
    return b"/" + b"/".join(segments) + (b"/" if segments and ends_in_folder else b"")
