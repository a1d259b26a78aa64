"""A request as somebody types it, to the bytes of its head."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

_TARGET_OF_URL = re.compile(r"https?://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE)


class TypedError(ValueError):
    """What was typed is no request; the message says why."""


class TypedRequest(NamedTuple):
    method: str
    target: str  # a path, or a whole URL
    headers: Sequence[tuple[str, str]] = ()
    body_bytes: int | None = None  # None: it says nothing of a body

    def head(self) -> bytes:
        """The bytes that a client would send. Raises TypedError."""
        host, target = self._split()
        named = {name.lower() for name, _ in self.headers}
        lines = [f"{self.method} {target} HTTP/1.1"]
        if "host" not in named:
            lines.append(f"Host: {host or 'localhost'}")
        lines += (f"{name}: {value}".rstrip() for name, value in self.headers)
        if self.body_bytes is not None and named.isdisjoint(("content-length", "transfer-encoding")):
            lines.append(f"Content-Length: {self.body_bytes}")
        text = "\r\n".join(lines)
        if re.search(r"[\r\n]", text.replace("\r\n", "")) or text.count("\r\n") != len(lines) - 1:
            raise TypedError("a method, target or header has the end of a line in it")
        try:
            return f"{text}\r\n\r\n".encode("latin-1")
        except UnicodeEncodeError:
            raise TypedError(
                "what is not ASCII in a URL is percent-encoded, in a header it is Latin-1"
            ) from None

    def _split(self) -> tuple[str, str]:
        """Host and target of a URL; what is none is a target."""
        url = _TARGET_OF_URL.fullmatch(self.target)
        if url is None:
            return "", self.target
        host, path = url.groups()
        return host.rpartition("@")[2], path if path.startswith("/") else f"/{path}"


def typed(method: str, target: str, headers: Sequence[str]) -> TypedRequest:
    """Raises TypedError."""
    return TypedRequest(method, target, [header_of(line) for line in headers])


def header_of(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not name.strip():
        raise TypedError(f"a header is written 'Name: value', not {line!r}")
    return name.strip(), value.strip()
