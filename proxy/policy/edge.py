"""What is refused before a token is spent and before the service is asked: unknown paths, methods, strangers.

Whether a credential is good only the service knows; here it is missing or not. A path is known or open, and a
method allowed, only if that holds for whatever a service may make of the path. Knows nothing of how a refusal
is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy import faults
from proxy.http1.path import folded, readings
from proxy.policy.globs import paths_pattern
from proxy.policy.matching import lets_through

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from proxy.config.sections.answers import ContractSettings, PathMethods
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead
    from proxy.policy.globs import PathPattern

    Entries = list[tuple[PathPattern | None, tuple[str, ...]]]

FORWARDED = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # what Allow says if no list does


class Edge:
    __slots__ = (
        "_body_bytes",
        "_by_folded_path",
        "_by_path",
        "_credentials",
        "_known",
        "_methods",
        "_open",
        "_repeats",
        "is_idle",
    )

    def __init__(
        self,
        settings: ContractSettings,
        repeats: Callable[[RequestHead, str], bool] | None = None,
        body_bytes: int | None = None,
    ) -> None:
        """`repeats` says of a request and its client that a field is there twice which a limit charges by."""
        self._repeats = repeats
        self._body_bytes = body_bytes
        self._known = _pattern(settings.known_paths)
        self._methods = tuple(settings.allow_methods)
        # An entry may allow more than others, or less: it counts for paths that fit exactly and widely.
        self._by_path = _methods_of(settings.path_methods, wide=False)
        self._by_folded_path = _methods_of(settings.path_methods, wide=True)
        self._credentials = frozenset(name.lower().encode() for name in settings.credentials)
        self._open = _pattern(settings.open_paths)
        # A request whose fields are all different need not be asked about.
        self.is_idle = body_bytes is None and not (
            settings.known_paths or self._methods or self._by_path or self._credentials
        )

    def refusal(self, head: RequestHead, client: str) -> Fault | None:
        """The first reason to refuse; a preflight request never has credentials (Fetch section 3.2)."""
        section = head.section
        if section.repeated and self._repeats is not None and self._repeats(head, client):
            return faults.REPEATED_CREDENTIAL
        if self._known is not None and not lets_through(self._known, head.paths):
            return faults.UNKNOWN_PATH
        if not self._allows(head):
            return faults.METHOD_NOT_ALLOWED
        if self._credentials and head.method != b"OPTIONS" and not self._is_open(head):
            return faults.MISSING_CREDENTIALS
        if self._body_bytes is not None and section.body_length > self._body_bytes:
            return faults.BODY_TOO_LARGE
        return None

    def allow_line(self, target: bytes) -> bytes:
        """RFC 9110 section 10.2.1."""
        paths = readings(target)
        allowed = self._allowed(paths, tuple(map(folded, paths)))
        common = [
            each for each in allowed[0] or FORWARDED if all(each in (some or (each,)) for some in allowed)
        ]
        return b"Allow: %b\r\n" % ", ".join(common).encode()

    def _allows(self, head: RequestHead) -> bool:
        if not self._by_path:
            return not self._methods or head.method.decode() in self._methods
        method = head.method.decode()
        allowed = self._allowed(head.paths, head.folded_paths)
        return all(not methods or method in methods for methods in allowed)

    def _allowed(self, paths: tuple[bytes, ...], folded_paths: tuple[bytes, ...]) -> list[tuple[str, ...]]:
        """The methods in each reading of the path; empty: all of them."""
        exact = [self._first(self._by_path, path) for path in paths]
        return exact + [self._first(self._by_folded_path, path) for path in folded_paths]

    def _first(self, entries: Entries, path: bytes) -> tuple[str, ...]:
        """The methods of the first entry that matches."""
        for paths, methods in entries:
            if paths is None or paths.fullmatch(path):
                return methods
        return self._methods

    def _is_open(self, head: RequestHead) -> bool:
        if self._open is not None and lets_through(self._open, head.paths):
            return True
        fields = head.fields
        return any(fields.get(name, b"").strip() for name in self._credentials)


def _methods_of(rules: Iterable[PathMethods], *, wide: bool) -> Entries:
    return [
        (paths_pattern(rule.paths, wide=wide) if rule.paths else None, tuple(rule.allow)) for rule in rules
    ]


def _pattern(globs: Iterable[str]) -> PathPattern | None:
    globs = tuple(globs)
    return paths_pattern(globs) if globs else None
