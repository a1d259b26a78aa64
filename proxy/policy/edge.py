"""What is refused before a token is spent and before the service is asked: unknown paths, methods, strangers.

Whether a credential is good only the service knows; here it is missing or not. Paths are matched as limits
match them, on a normalised copy. Knows nothing of how a refusal is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import faults
from proxy.http1.path import normalised
from proxy.policy.globs import paths_pattern

if TYPE_CHECKING:
    import re
    from collections.abc import Iterable
    from collections.abc import Set as AbstractSet

    from proxy.config.sections.answers import ContractSettings
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead

FORWARDED = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # what Allow says if no list does


class Edge:
    __slots__ = (
        "_body_bytes",
        "_by_path",
        "_credentials",
        "_known",
        "_methods",
        "_open",
        "_single",
        "is_idle",
    )

    def __init__(
        self,
        settings: ContractSettings,
        single: AbstractSet[bytes] = frozenset(),
        body_bytes: int | None = None,
    ) -> None:
        """`single` are the fields that must not be repeated, as limits read their keys from them."""
        self._single = single
        self._body_bytes = body_bytes
        self._known = _pattern(settings.known_paths)
        self._methods = tuple(settings.allow_methods)
        self._by_path = [(_pattern(rule.paths), tuple(rule.allow)) for rule in settings.path_methods]
        self._credentials = frozenset(name.lower().encode() for name in settings.credentials)
        self._open = _pattern(settings.open_paths)
        # A request whose fields are all different need not be asked about.
        self.is_idle = body_bytes is None and not (
            settings.known_paths or self._methods or self._by_path or self._credentials
        )

    def refusal(self, head: RequestHead) -> Fault | None:
        """The first reason to refuse; a preflight request never has credentials (Fetch section 3.2)."""
        section = head.section
        if section.repeated and not self._single.isdisjoint(section.repeated):
            return faults.REPEATED_CREDENTIAL
        if self._known is not None and not self._known.fullmatch(head.path):
            return faults.UNKNOWN_PATH
        methods = self._allowed(head.path)
        if methods and head.method.decode() not in methods:
            return faults.METHOD_NOT_ALLOWED
        if self._credentials and head.method != b"OPTIONS" and not self._is_open(head):
            return faults.MISSING_CREDENTIALS
        if self._body_bytes is not None and section.body_length > self._body_bytes:
            return faults.BODY_TOO_LARGE
        return None

    def allow_line(self, target: bytes) -> bytes:
        """RFC 9110 section 10.2.1."""
        return b"Allow: %b\r\n" % ", ".join(self._allowed(normalised(target)) or FORWARDED).encode()

    def _allowed(self, path: bytes) -> tuple[str, ...]:
        """The methods of the first entry that matches; empty: all of them."""
        for paths, methods in self._by_path:
            if paths is None or paths.fullmatch(path):
                return methods
        return self._methods

    def _is_open(self, head: RequestHead) -> bool:
        if self._open is not None and self._open.fullmatch(head.path):
            return True
        fields = head.fields
        return any(fields.get(name, b"").strip() for name in self._credentials)


def _pattern(globs: Iterable[str]) -> re.Pattern[bytes] | None:
    globs = tuple(globs)
    return paths_pattern(globs) if globs else None
