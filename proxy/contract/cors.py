"""What a browser app of another origin may see of Weir's own answers (Fetch, section 3.2: the CORS protocol).

Without these fields a 429 is a network error to it, and its Retry-After is never seen. The service's own
fields pass untouched, and its preflights are its own. Knows nothing of limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.config.sections.front import CorsSettings
    from proxy.http1.head import RequestHead

ANY = b"*"


class Cors:
    __slots__ = ("_exposed", "_for_any", "_origins", "_telling", "is_idle")

    def __init__(
        self, settings: CorsSettings, exposed: Iterable[bytes] = (), telling: Iterable[bytes] = ()
    ) -> None:
        """`exposed` are fields that an app may read beside those of every answer of our own.

        `telling` are fields by which a client is known: a preflight has none of them.
        """
        self._origins = frozenset(origin.encode() for origin in settings.origins)
        self._for_any = ANY in self._origins
        self._telling = frozenset(telling) - {b"host"} | {b"authorization", b"cookie"}
        names = (b"Retry-After", *exposed, b"X-Request-Id")
        self._exposed = b"Access-Control-Expose-Headers: %b\r\n" % b", ".join(names)
        self.is_idle = not self._origins

    def lines(self, fields: Mapping[bytes, bytes]) -> bytes:
        """The lines that an answer of our own has for a browser."""
        if self.is_idle:
            return b""
        origin = fields.get(b"origin")
        if self._for_any:
            return b"Access-Control-Allow-Origin: *\r\n%b" % self._exposed if origin is not None else b""
        if origin not in self._origins:
            return b"Vary: Origin\r\n"
        return (
            b"Access-Control-Allow-Origin: %b\r\nAccess-Control-Allow-Credentials: true\r\n%bVary: Origin\r\n"
            % (origin, self._exposed)
        )

    def is_preflight(self, head: RequestHead) -> bool:
        """A browser's question, of an origin that is known; it tells of nobody and has no body."""
        fields = head.fields
        if head.method != b"OPTIONS" or not fields.get(b"access-control-request-method"):
            return False
        is_known = b"origin" in fields and (self._for_any or fields[b"origin"] in self._origins)
        return is_known and head.section.body_length == 0 and self._telling.isdisjoint(fields)
