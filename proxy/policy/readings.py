"""How a request's values are read that partition keys name: as lenient services read them, or not at all.

Most are read from one field; a judge gives the value in its one spelling (spelling.py), empty if there is
none, None where services could read two different ones. A reader does the same for a whole request.
docs/limits.md has the table. Knows nothing of limits, hashes or rates.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import unquote_to_bytes

from proxy.clients.networks import address_texts, parsed, partition_of
from proxy.http1.path import folded, segment
from proxy.policy.authorization import ALONE, claim_of, credential_of
from proxy.policy.spelling import escaped, plain, sole_member, word

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.config.key_names import KeyPart
    from proxy.http1.head import RequestHead

    ValueJudge = Callable[[bytes], bytes | None]
    Reader = Callable[[RequestHead, str], bytes | None]  # the request and the client's address in

AUTHORIZATION = b"authorization"
HOST = b"host"
SCHEMES = frozenset((b"basic", b"bearer", b"digest", b"jwt", b"token"))  # nobody else's value begins so
# Fields that describe a request: they hold lists and prose, and nobody is served by what one of them says.
_DESCRIPTIVE = frozenset(
    b"accept accept-charset accept-encoding accept-language cache-control content-type date forwarded from "
    b"if-match if-modified-since if-none-match if-unmodified-since origin pragma prefer priority range "
    b"referer user-agent x-forwarded-for x-forwarded-host x-forwarded-proto x-real-ip".split()
)


def field_of(part: KeyPart) -> bytes | None:
    """The field that it is read from, if it is read from one."""
    if part.kind == "header":
        return part.name.lower().encode()
    return {"cookie": b"cookie", "jwt": AUTHORIZATION, "host": b"host"}.get(part.kind)


def judge_of(part: KeyPart) -> ValueJudge:
    """What reads a part out of a field's value."""
    if part.kind == "cookie":
        return _cookie_judge(part.name.encode())
    if part.kind == "jwt":
        return partial(claim_of, claim=part.name)
    field = field_of(part)
    assert field is not None
    return _words if field in _DESCRIPTIVE else _OF_FIELDS.get(field, word)


def reader(part: KeyPart, ipv6_prefix: int) -> Reader:
    field = field_of(part)
    if field == HOST:
        return _host
    if field is not None:
        return _field_reader(field, judge_of(part))
    if part.kind == "client-ip":
        return _address_reader(ipv6_prefix)
    if part.kind == "query":
        return _query_reader(part.name.encode())
    return _segment_reader(int(part.name)) if part.kind == "path" else _PLAIN[part.kind]


def _field_reader(field: bytes, judge: ValueJudge) -> Reader:
    def read(head: RequestHead, _client: str) -> bytes | None:
        return judge(head.fields.get(field, b""))

    return read


def named_value(part: KeyPart, text: str, ipv6_prefix: int) -> bytes | None:
    """The value, in its one spelling, of whom an operator names by it."""
    value = text.encode("utf-8", "surrogatepass")
    if part.kind in ("header", "host"):
        return judge_of(part)(value)
    if part.kind == "client-ip":
        return partition_of(text, ipv6_prefix)
    if part.kind == "const":
        return _ANYBODY
    return folded(value) if part.kind == "path" else plain(value)


def text_of(value: str) -> str:
    """What plans name whoever sends this value, in whatever field; empty if it could be read as two values.

    With a scheme in front it is read as Authorization is. Other text is that of a header or, where it is not
    ASCII, of a claim.
    """
    data = value.strip().encode("utf-8", "surrogateescape")
    scheme, _, rest = data.partition(b" ")
    if rest and scheme.lower() in SCHEMES:
        judge: ValueJudge = credential_of
    else:
        judge = word if data.isascii() else plain
    return (judge(data) or b"").decode("utf-8", "surrogateescape")


def texts_of(part: KeyPart, value: bytes, client: str, ipv6_prefix: int) -> list[bytes]:
    """How plans name who has a value: as itself, of Authorization what follows the scheme, or an address."""
    if part.kind == "client-ip":
        return address_texts(client, ipv6_prefix)
    if part.kind == "const":
        return []
    if field_of(part) == AUTHORIZATION and part.kind == "header":
        token = value.removeprefix(ALONE)
        padding = b"=" * (-len(token) % 4)  # of Base64, which is no part of the value
        return [token, token + padding] if padding else [token]
    return [value]


def credential_field(part: KeyPart) -> bytes | None:
    """The field that must be there once: repeated, one value could be charged and another be served."""
    field = field_of(part)
    return None if field in _DESCRIPTIVE else field


def is_of_section(part: KeyPart) -> bool:
    """It is the same for every request that repeats its header section, whatever it asks for."""
    return part.kind not in ("query", "path", "method")


# --- fields ---


def _words(value: bytes) -> bytes:
    return b" ".join(value.split())


def host_of(value: bytes) -> bytes:
    """The name without port, final dot and regard to case; escaped letters and addresses in their one
    spelling.
    """
    name = unquote_to_bytes(value.strip()) if b"%" in value else value.strip()
    if name.startswith(b"["):
        address = parsed(name[1:].partition(b"]")[0].decode("latin-1"))
        return str(address).encode() if address is not None else name
    return folded(name.partition(b":")[0].rstrip(b"."))


_OF_FIELDS: dict[bytes, ValueJudge] = {AUTHORIZATION: credential_of, HOST: host_of}


def _host(head: RequestHead, _client: str) -> bytes:
    """Who names none (HTTP/1.0) is served as one host, by whatever name the service is then sent."""
    return host_of(head.fields.get(HOST, b"")) or _ANYBODY


# --- cookies ---

_EQUALS = ord("=")
_INNER_MAX = 16  # times that a name may stand within values: each is looked at to the value's end
_ESCAPED_NAMES = re.compile(rb'(?<![^;,\s"])=*([^;,\s"=%]*%[^;,\s"=]*)[ \t]*=').findall


def _cookie_judge(name: bytes) -> ValueJudge:
    """RFC 6265 section 5.4; some services take names in any case, `.`, `[` or a space for `_`.

    And some pass over a `=` before the name, or unescape it: there is no telling which.
    """
    spelled = re.escape(name).replace(b"_", rb"[_.\[ ]")
    search = re.compile(rb"(?i)(?<![^;,\s\"=])%b[ \t]*=([^;]*)" % spelled).search
    unescaped = re.compile(rb"(?i)%b[ \t]*(?:\[.*)?" % spelled, re.DOTALL).fullmatch
    indexed = re.compile(rb"(?i)(?<![^;,\s\"])%b[ \t]*\[" % spelled).search

    def judge(cookie: bytes) -> bytes | None:
        if b"[" in cookie and indexed(cookie):
            return None  # `sid[0]` is `sid` for some services
        if b"%" in cookie and any(map(unescaped, _escaped_names(cookie))):
            return None
        value: bytes | None = b""
        first, end, inner = -1, 0, 0
        found = search(cookie)
        while found is not None:
            start = found.start()
            if start and cookie[start - 1] == _EQUALS:  # part of a value, or of no name
                inner += 1
                if inner > _INNER_MAX or _is_nameless(cookie, start):
                    return None
            elif first < 0:
                first, value, end = start, _cookie_value(found[1]), found.end()
            elif start < end or _cookie_value(found[1]) != value:
                return None  # one within the value of another never agrees with it
            else:
                end = found.end()
            found = search(cookie, found.start(1))
        return value if first < 0 or _is_between_cookies(cookie[:first]) else None

    return judge


def _escaped_names(cookie: bytes) -> list[bytes]:
    """Names with a `%` in them, as a service reads them that unescapes them."""
    return [unquote_to_bytes(name).strip() for name in _ESCAPED_NAMES(cookie)]


def _is_nameless(cookie: bytes, at: int) -> bool:
    while at and cookie[at - 1] in b"= \t":
        at -= 1
    return at == 0 or cookie[at - 1] in b';,"'


def _is_between_cookies(before: bytes) -> bool:
    """Not within quotes, nor behind white space or a comma, which divide cookies for some services only."""
    return before.rstrip(b" \t")[-1:] in (b"", b";") and before.count(b'"') % 2 == 0


def _cookie_value(text: bytes) -> bytes | None:
    value = text.strip()
    if len(value.split()) > 1:
        return None  # ends at the space for some services
    if len(value) >= 2 and value.startswith(b'"') and value.endswith(b'"'):
        value = value[1:-1]
        if b"\\" in value:
            return None  # an escape for some services
    if b"," in value:
        sole = sole_member(value)
        if sole is None:
            return None
        value = sole
    return escaped(value)


# --- the target ---


_TO_UNDERSCORE = bytes.maketrans(b" .", b"__")


def _query_reader(name: bytes) -> Reader:
    wanted = _parameter_names(name)[0]

    def read(head: RequestHead, _client: str) -> bytes | None:
        _, mark, query = head.target.partition(b"?")
        if not mark:
            return b""
        found: bytes | None = b""
        told = set[bytes]()
        for value in _parameters(query, wanted):
            if value in told:
                continue
            known = escaped(value, plus=True)
            if known is None or (told and known != found):
                return None  # the rest is not read: a client fills a long target with others
            found = known
            told.add(value)
        return found

    return read


def _parameters(query: bytes, wanted: bytes) -> Iterator[bytes]:
    """Every value that some service could take for that of the parameter."""
    wants: dict[bytes, bool] = {}  # names, each judged once
    for text in query.split(b"&"):
        end = -1
        for pair in text.split(b";"):
            end += len(pair) + 1
            name, _, value = pair.partition(b"=")
            is_wanted = wants.get(name)
            if is_wanted is None:
                is_wanted = wants[name] = wanted in _parameter_names(name)
            if is_wanted:
                yield value
                if end < len(text):  # `;` parts it for some services only
                    yield value + text[end:]


def _parameter_names(text: bytes) -> tuple[bytes, bytes, bytes]:
    """`user[]` is also `user`; `user.id`, `user id` and `user[id` are `user_id` for some services."""
    name = folded(unquote_to_bytes(text.replace(b"+", b" "))).partition(b"\0")[0].lstrip()
    whole, told = name.translate(_TO_UNDERSCORE), name.rstrip().translate(_TO_UNDERSCORE)
    return told.partition(b"[")[0], told.replace(b"[", b"_"), whole.partition(b"[")[0]


def _segment_reader(number: int) -> Reader:
    def read(head: RequestHead, _client: str) -> bytes | None:
        found = {folded(unquote_to_bytes(segment(path, number))) for path in head.folded_paths}
        return None if len(found) > 1 else found.pop()

    return read


# --- the rest ---

_ANYBODY = b"*"  # any one value


def _method(head: RequestHead, _client: str) -> bytes:
    return head.method


def _address_reader(ipv6_prefix: int) -> Reader:
    def read(_head: RequestHead, client: str) -> bytes:
        return partition_of(client, ipv6_prefix)

    return read


def _const(_head: RequestHead, _client: str) -> bytes:
    return _ANYBODY


_PLAIN: dict[str, Reader] = {"method": _method, "const": _const}
