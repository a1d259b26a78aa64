"""The request that a proxy in front asks about, read from what it tells of it (docs/decide.md).

Each kind of proxy tells method and target in its own way, in fields that it sets itself; all other fields are
the client's. What is told is judged as if the client had sent it here. Where a field is missing, doubled or
said in two ways, the proxy is not believed: one of the two may be the client's own. Knows nothing of sockets,
limits or trust.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from proxy.faults import BAD_FRONT, BAD_HOST, Fault
from proxy.http1.authority import is_authority
from proxy.http1.head import RequestHead, is_plain_line, request_head

if TYPE_CHECKING:
    from proxy.http1.head import HeaderSection

ANY_HEADERS: Final = 1 << 30  # they were counted when the question came


class Told(NamedTuple):
    """Names of the fields in which a kind of proxy tells the request."""

    method: bytes
    target: bytes
    host: bytes | None  # None: in Host, which it passes on


ORIGINAL: Final = Told(b"x-original-method", b"x-original-uri", None)
FORWARDED: Final = Told(b"x-forwarded-method", b"x-forwarded-uri", b"x-forwarded-host")
ITSELF: Final[None] = None  # the question has the line and the Host of the request


def asked(
    head: RequestHead, line_bytes: int, methods: frozenset[bytes], *, front: str
) -> RequestHead | Fault:
    """The request that the question `head` is about; `front` is the kind of proxy that asks."""
    section = head.section
    if front == "auto":
        is_original = ORIGINAL.method in section.fields or ORIGINAL.target in section.fields
        is_forwarded = FORWARDED.method in section.fields or FORWARDED.target in section.fields
        if is_original and is_forwarded:
            return BAD_FRONT
        told = ORIGINAL if is_original else FORWARDED if is_forwarded else ITSELF
    else:
        told = _BY_FRONT[front]
    return head if told is None else _read(head, told, line_bytes, methods)


_BY_FRONT: Final[dict[str, Told | None]] = {
    "nginx": ORIGINAL,
    "haproxy": ORIGINAL,
    "traefik": FORWARDED,
    "caddy": FORWARDED,
    "envoy": ITSELF,
    "itself": ITSELF,
}


def _read(head: RequestHead, told: Told, line_bytes: int, methods: frozenset[bytes]) -> RequestHead | Fault:
    section = head.section
    method, target = _once(section, told.method), _once(section, told.target)
    host = _once(section, told.host) if told.host is not None else section.fields.get(b"host", b"")
    if not (method and target and host):
        return BAD_FRONT
    # By the rules that hold for heads of clients; the fields have been judged already.
    about = RequestHead(method, target, 1, section)
    if not is_plain_line(method, target, line_bytes, methods):
        data = b"%b %b HTTP/1.1\r\n%b" % (method, target, section.data)
        judged = request_head(data, line_bytes, ANY_HEADERS, about, methods)
        if isinstance(judged, Fault):
            return judged
        about = judged
    about.minor = head.minor
    if told.host is not None:
        if not is_authority(host):
            return BAD_HOST
        about.fields = {**section.fields, b"host": host}
    return about


def _once(section: HeaderSection, name: bytes) -> bytes:
    """Empty where it is missing or doubled."""
    if section.repeated and name in section.repeated:
        return b""
    return section.fields.get(name, b"")
