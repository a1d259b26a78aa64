"""Redaction: answers of certain statuses are replaced before a byte of them leaves.

The fields that describe the replaced body go, and so do those that tell of the inside of the service; what a client needs
to behave (Retry-After, Allow, WWW-Authenticate, CORS) stays. The original is kept for the log: its first 16 KiB, decoded,
with known shapes of secrets masked. Knows nothing of sockets or of the log itself.
"""

from __future__ import annotations

import json
import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.settings import ErrorSettings
    from proxy.http1.head import ResponseHead

CAPTURE_BYTES = 16 * 1024  # of an original, before and after decoding
MEMBER_CHARS = 256  # of a kept member

# They describe the body that is replaced (RFC 9110 section 8, RFC 9530).
DESCRIBING = frozenset(
    b"content-type content-length content-encoding content-language content-location content-range content-disposition "
    b"content-md5 content-digest repr-digest want-content-digest digest etag last-modified accept-ranges trailer "
    b"cache-control expires age pragma link".split()
)
# They tell of the inside.
LEAKING = frozenset(
    b"server via server-timing set-cookie location x-powered-by x-aspnet-version x-aspnetmvc-version x-sourcefiles "
    b"x-runtime x-generator x-served-by x-backend x-backend-server x-upstream x-host x-hostname x-instance x-node "
    b"x-correlation-info sourcemap x-sourcemap x-application-context x-owa-version x-varnish x-cache x-amz-cf-id "
    b"x-error x-error-message x-stack-trace x-request-id ms-author-via microsoftsharepointteamservices".split()
)
_LEAKING_PREFIXES = (
    b"x-debug",
    b"x-exception",
    b"x-error",
    b"x-stack",
    b"x-trace",
    b"x-drupal",
    b"x-php",
    b"x-envoy",
    b"x-sql",
)

_CREDENTIALS = frozenset(
    b"authorization proxy-authorization cookie set-cookie x-auth-token x-api-key".split()
)

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    (
        re.compile(
            r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL
        ),
        "***",
    ),
    (re.compile(r"\beyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"), "***"),  # a JWT
    (re.compile(r"(?i)\b(bearer|basic|digest|negotiate)\s+[A-Za-z0-9._~+/=-]{6,}"), r"\1 ***"),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "***"),  # an AWS access key
    (re.compile(r"(?i)(://[^\s:/@'\"]{0,64}:)[^\s@'\"]{1,256}@"), r"\1***@"),  # a password in a URL
    (
        re.compile(
            r"(?i)((?:password|passwd|pwd|secret|token|api[_-]?key|access[_-]?key|account[_-]?key|client[_-]?secret|"
            r"x-auth-token|authorization|cookie|session(?:id)?|sid|sig|signature)[\"']?\s*[:=]\s*[\"']?)"
            r"[^\s\"';,&<>]{1,1024}"
        ),
        r"\1***",
    ),
)


class Redaction:
    """Which statuses are replaced, and what of the original may stay."""

    __slots__ = ("_covered", "_keep")

    def __init__(self, ranges: Sequence[tuple[int, int]], keep_members: Sequence[str] = ()) -> None:
        self._covered = bytearray(1000)
        for low, high in ranges:
            self._covered[low : high + 1] = b"\1" * (high + 1 - low)
        self._keep = tuple(keep_members)

    @classmethod
    def from_settings(cls, settings: ErrorSettings) -> Redaction:
        return cls([(statuses.low, statuses.high) for statuses in settings.redact], settings.keep_members)

    def covers(self, status: int) -> bool:
        return self._covered[status] == 1

    def original(self, head: ResponseHead) -> Original:
        return Original(head, self._keep)


class Original:
    """An answer that is being replaced: what of it the log and the client may see."""

    __slots__ = ("_captured", "_head", "_keep", "size", "status")

    def __init__(self, head: ResponseHead, keep: Sequence[str]) -> None:
        self._head = head
        self._keep = keep
        self._captured = b""
        self.status = head.status
        self.size = 0  # bytes of its body so far

    def feed(self, data: bytes) -> None:
        self.size += len(data)
        room = CAPTURE_BYTES - len(self._captured)
        if room > 0:
            self._captured += data[:room]

    def kept_lines(self) -> bytes:
        """The header lines that stay."""
        return b"".join([b"%b: %b\r\n" % header for header in self._head.headers if stays(header[0].lower())])

    def kept_members(self) -> dict[str, object]:
        """Members of a JSON object that a setting allows: scalars, and short."""
        if not self._keep:
            return {}
        try:
            body = json.loads(self._decoded())
        except (ValueError, RecursionError):
            return {}
        if not isinstance(body, dict):
            return {}
        return {name: body[name] for name in self._keep if name in body and _is_short_scalar(body[name])}

    def for_log(self) -> dict[str, object]:
        """The whole truth for whoever is on call, without credentials."""
        return {
            "status": self.status,
            "reason": self._head.reason.decode("latin-1"),
            "headers": {
                name.decode("latin-1"): "***"
                if name.lower() in _CREDENTIALS
                else masked(value.decode("latin-1"))
                for name, value in self._head.headers
            },
            "body": masked(self._decoded().decode("utf-8", "backslashreplace")),
            "body_bytes": self.size,
        }

    def _decoded(self) -> bytes:
        return decoded(self._captured, self._head.fields.get(b"content-encoding", b""))


def stays(name: bytes) -> bool:
    """Whether a field of a replaced answer goes to the client; `name` in lower case."""
    return name not in DESCRIBING and name not in LEAKING and not name.startswith(_LEAKING_PREFIXES)


def decoded(data: bytes, encoding: bytes) -> bytes:
    """At most CAPTURE_BYTES of the body behind a content coding; what cannot be decoded stays as it came."""
    coding = encoding.strip(b" \t").lower()
    try:
        if coding in (b"gzip", b"x-gzip"):
            return zlib.decompressobj(31).decompress(data, CAPTURE_BYTES)
        if coding == b"deflate":
            return _inflated(data)
    except zlib.error:
        pass
    return data


def _inflated(data: bytes) -> bytes:
    """RFC 9110 section 8.4.1.2: a zlib stream, though some send it bare."""
    try:
        return zlib.decompressobj().decompress(data, CAPTURE_BYTES)
    except zlib.error:
        return zlib.decompressobj(-15).decompress(data, CAPTURE_BYTES)


def masked(text: str) -> str:
    """Known shapes of secrets as asterisks."""
    for pattern, replacement in _SECRETS:
        text = pattern.sub(replacement, text)
    return text


def _is_short_scalar(value: object) -> bool:
    return (
        value is None
        or isinstance(value, bool | int | float)
        or (isinstance(value, str) and len(value) <= MEMBER_CHARS)
    )
