"""Services as they are: how lenient ones read a credential, a cookie, a parameter, a path or a host.

Each reader takes what a request holds and gives what the service goes by, or None. They are written after what
frameworks and often copied snippets do, not after the readers of Weir.
"""

from __future__ import annotations

import base64
import binascii
import re
import unicodedata
from http.cookies import CookieError, SimpleCookie
from ipaddress import ip_address
from urllib.parse import parse_qsl, unquote, unquote_plus, unquote_to_bytes

from aiohttp._cookie_helpers import parse_cookie_header
from werkzeug.http import parse_cookie


def _words(value: bytes) -> list[str]:
    return value.decode("latin-1").split()


def _at(items, index):
    return items[index] if len(items) > abs(index) - (index < 0) else None


# --- a field that holds a token ---

FIELD = {
    "as it is": lambda value: value.decode("latin-1"),
    "stripped": lambda value: value.decode("latin-1").strip(),
    "stripped as UTF-8": lambda value: value.decode("utf-8", "ignore").strip(),
    "first of a list": lambda value: value.decode("latin-1").split(",")[0].strip(),
    "last of a list": lambda value: value.decode("latin-1").split(",")[-1].strip(),
    "composed": lambda value: unicodedata.normalize("NFKC", value.decode("utf-8", "replace")).strip(),
    "printable only": lambda value: re.sub(rb"[^\x20-\x7e]", b"", value).decode().strip(),
}

# --- Authorization ---


def _of_scheme(value: bytes):
    scheme, _, rest = value.decode("latin-1").strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else None


def _by_pattern(value: bytes):
    found = re.match(r"(?i)bearer\s+(\S+)", value.decode("latin-1").strip())
    return found and found[1]


def _of_list(value: bytes):
    return _at(_words(value.split(b",")[-1]), -1)


def _rails(value: bytes):
    """`authenticate_with_http_token` (actionpack, http_authentication.rb)."""
    text = value.decode("latin-1")
    scheme = re.match(r"(?:Token|Bearer)\s+", text)
    parts = [part for part in re.split(r"[,;\t]\s?", text[scheme.end() :]) if part] if scheme else []
    return re.sub(r'^"|"$', "", parts[0].removeprefix("token=")) if parts else None


AUTHORIZATION = {
    "Rails": _rails,
    "behind bearer": _of_scheme,
    "by pattern": _by_pattern,
    "second word": lambda value: _at(_words(value), 1),
    "last word": lambda value: _at(_words(value), -1) if len(_words(value)) > 1 else None,
    "last of a list": lambda value: _of_list(value) if len(_words(value)) > 1 else None,
    "from the eighth character": lambda value: (
        value[7:].decode("latin-1").strip() if value[:7].lower() == b"bearer " else None
    ),
    "without the word": lambda value: (
        value.decode("latin-1").replace("Bearer ", "").strip() if b"Bearer " in value else None
    ),
}


def basic(value: bytes):
    """User and password, as b64decode reads them: it skips what is not Base64."""
    words = value.split(None, 1)
    if len(words) < 2 or words[0].lower() != b"basic":
        return None
    try:
        return base64.b64decode(words[1] + b"==")
    except binascii.Error:
        return None


def web_token(value: bytes):
    """What is signed, and the signature as bytes."""
    text = _of_scheme(value) or ""
    signed, _, signature = text.rpartition(".")
    try:
        return signed, base64.urlsafe_b64decode(signature.encode("latin-1") + b"==")
    except binascii.Error:
        return None


# --- cookies ---


def _pairs(cookie: str, separators: str = ";"):
    for pair in re.split(f"[{separators}]", cookie):
        name, equals, value = pair.partition("=")
        if equals:
            value = value.strip()
            yield name.strip(), value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _first(pairs, name):
    return next((value for each, value in pairs if each == name), None)


def _last(pairs, name):
    return _first(reversed(list(pairs)), name)


def _simple(cookie: str, name: str):
    try:
        morsel = SimpleCookie(cookie).get(name)
    except CookieError:
        return None
    return morsel and morsel.value


def _mangled(name: str) -> str:
    """As PHP names variables: up to a bracket that is closed; one that is not is a character as others are."""
    name, bracket, rest = name.partition("\0")[0].lstrip(" ").partition("[")
    name = re.sub(r"[. ]", "_", name)
    return f"{name}_{re.sub(r'[. ]', '_', rest)}" if bracket and "]" not in rest else name


def _php(cookie: str, name: str):
    return _first(((_mangled(each), unquote(value)) for each, value in _pairs(cookie)), name)


COOKIE = {
    "first": lambda cookie, name: _first(_pairs(cookie), name),
    "last": lambda cookie, name: _last(_pairs(cookie), name),
    "unescaped": lambda cookie, name: _first(((n, unquote(v)) for n, v in _pairs(cookie)), name),
    "in any case": lambda cookie, name: _first(((n.lower(), v) for n, v in _pairs(cookie)), name.lower()),
    "last in any case": lambda cookie, name: _last(((n.lower(), v) for n, v in _pairs(cookie)), name.lower()),
    "divided by commas too": lambda cookie, name: _last(_pairs(cookie, ";,"), name),
    "http.cookies": _simple,
    "werkzeug": lambda cookie, name: parse_cookie(cookie).get(name),
    "aiohttp": lambda cookie, name: _last(((n, m.value) for n, m in parse_cookie_header(cookie)), name),
    "PHP": _php,
}

# --- query parameters ---

QUERY = {
    "first": lambda query, name: _first(parse_qsl(query, keep_blank_values=True), name),
    "last": lambda query, name: _last(parse_qsl(query, keep_blank_values=True), name),
    "divided by ; too": lambda query, name: _last(
        parse_qsl(query.replace(";", "&"), keep_blank_values=True), name
    ),
    "in any case": lambda query, name: _last(((n.lower(), v) for n, v in parse_qsl(query)), name),
    "plus is plus": lambda query, name: _last(((unquote(n), unquote(v)) for n, v in _plain(query)), name),
    "stripped": lambda query, name: (_last(parse_qsl(query), name) or "").strip() or None,
    "a list": lambda query, name: _last(((n.partition("[")[0], v) for n, v in parse_qsl(query)), name),
    "PHP": lambda query, name: _last(((_mangled(n), v) for n, v in parse_qsl(query)), name),
}


def _plain(query: str):
    return [tuple(pair.partition("=")[::2]) for pair in query.split("&")]


# --- paths ---


def _resolved(path: bytes) -> bytes:
    out: list[bytes] = []
    for part in path.split(b"/"):
        if part == b"..":
            del out[-1:]
        elif part not in (b"", b"."):
            out.append(part)
    return b"/" + b"/".join(out)


def _bare(path: bytes) -> bytes:
    return re.sub(rb";[^/]*", b"", path)


PATH = {
    "as it is": lambda path: path,
    "decoded": unquote_to_bytes,
    "decoded, any slash at the end": lambda path: unquote_to_bytes(path).rstrip(b"/") or b"/",
    "lower case": lambda path: unquote_to_bytes(path).lower(),
    "resolved, then decoded by segment": lambda path: b"/".join(
        unquote_to_bytes(part).replace(b"/", b"%2F") for part in _resolved(path).split(b"/")
    ),
    "decoded, then resolved": lambda path: _resolved(unquote_to_bytes(path)),
    "decoded twice": lambda path: _resolved(unquote_to_bytes(unquote_to_bytes(path))),
    "Tomcat": lambda path: _resolved(unquote_to_bytes(_bare(path))),
    "IIS": lambda path: _resolved(unquote_to_bytes(path).replace(b"\\", b"/")).lower(),
    "without parameters": _bare,
    "divided after decoding": lambda path: re.split(rb"[?#]", unquote_to_bytes(path), maxsplit=1)[0],
    "without the format": lambda path: re.sub(rb"\.[^/.]+\Z", b"", unquote_to_bytes(path)),
    "trimmed": lambda path: b"/".join(part.strip() for part in unquote_to_bytes(path).split(b"/")),
    "composed": lambda path: (
        unicodedata.normalize("NFKC", unquote_to_bytes(path).decode("utf-8", "replace")).casefold().encode()
    ),
}

# --- hosts ---


def _address(host: str):
    try:
        return str(ip_address(host.strip("[]")))
    except ValueError:
        return None


HOST = {
    "lower case": lambda host: host.lower(),
    "without port": lambda host: host.partition(":")[0].lower(),
    "without final dot": lambda host: host.partition(":")[0].rstrip(".").lower(),
    "unescaped": lambda host: unquote_plus(host).partition(":")[0].lower(),
    "address": lambda host: _address(re.sub(r":\d+$", "", host)),
}
