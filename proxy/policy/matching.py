"""Which requests a rule is for. Services read one request differently (http1.path, spelling), so:

a `Matcher`, by which requests are limited, holds if the request fits it in any reading, and an `Exemption`,
by which they are let through, only if it fits in every one. `match.exact` is for services that tell `/A` from
`/a`. Costs nothing for what a rule does not say. Knows nothing of rates or buckets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.clients.networks import Networks
from proxy.http1.path import folded
from proxy.policy.globs import paths_pattern, value_pattern
from proxy.policy.readings import host_of

if TYPE_CHECKING:
    import re

    from proxy.config.sections.limits import Exempt
    from proxy.config.sections.limits import Match as MatchSettings
    from proxy.http1.head import RequestHead

_HOST = b"host"

# Why a limit does not match.
METHOD: Final = "method"
PATH: Final = "path"
HEADER: Final = "header"


class Matcher:
    __slots__ = ("_headers", "_is_exact", "_methods", "_paths", "is_of_section", "is_universal")

    def __init__(self, settings: MatchSettings) -> None:
        wide = not settings.exact
        self._is_exact = settings.exact
        self._methods = frozenset(method.encode() for method in settings.methods)
        self._paths = paths_pattern(settings.paths, wide=wide) if settings.paths else None
        self._headers = [_header_pattern(name, glob, wide=wide) for name, glob in settings.headers.items()]
        # Whether it holds depends on the header fields alone ...
        self.is_of_section = not (settings.methods or settings.paths)
        # ... or on nothing at all.
        self.is_universal = self.is_of_section and not settings.headers

    def holds(self, head: RequestHead) -> bool:
        if self._methods and head.method not in self._methods:
            return False
        if self._paths is not None and not self._has_path(head, self._paths):
            return False
        for name, pattern in self._headers:
            value = head.fields.get(name)
            if value is None or not self._has_value(name, value, pattern):
                return False
        return True

    def misfit(self, head: RequestHead) -> str | None:
        """Why it does not hold: for people who ask. `holds` says the same, faster."""
        if self._methods and head.method not in self._methods:
            return METHOD
        if self._paths is not None and not self._has_path(head, self._paths):
            return PATH
        return None if self.holds(head) else HEADER

    def _has_path(self, head: RequestHead, pattern: re.Pattern[bytes]) -> bool:
        paths = head.paths if self._is_exact else head.folded_paths
        if len(paths) == 1:
            return pattern.fullmatch(paths[0]) is not None
        return any(pattern.fullmatch(path) for path in paths)

    def _has_value(self, name: bytes, value: bytes, pattern: re.Pattern[bytes]) -> bool:
        """As a whole or, of a list or a field that was sent twice, in one of its members."""
        if not self._is_exact:
            value = folded(b" ".join((host_of(value) if name == _HOST else value).split()))
        if pattern.fullmatch(value):
            return True
        return b"," in value and any(pattern.fullmatch(member.strip()) for member in value.split(b","))


class Exemption:
    """Of clients' networks, paths and headers; any of them is enough."""

    __slots__ = ("_headers", "_networks", "_paths", "is_never", "is_of_section")

    def __init__(self, settings: Exempt) -> None:
        self._networks = Networks(settings.cidrs)
        self._paths = paths_pattern(settings.paths) if settings.paths else None
        self._headers = [_header_pattern(name, glob) for name, glob in settings.headers.items()]
        self.is_of_section = not settings.paths
        self.is_never = not (settings.cidrs or settings.paths or settings.headers)

    def holds(self, head: RequestHead, client: str) -> bool:
        if self._networks and self._networks.covers(client):
            return True
        if self._paths is not None and lets_through(self._paths, head.paths):
            return True
        return any(_is_all(head, name, pattern) for name, pattern in self._headers)


def _header_pattern(name: str, glob: str, *, wide: bool = False) -> tuple[bytes, re.Pattern[bytes]]:
    field = name.lower().encode()
    text = host_of(glob.encode()).decode() if wide and field == _HOST else glob
    return field, value_pattern(text, wide=wide)


def lets_through(pattern: re.Pattern[bytes], paths: tuple[bytes, ...]) -> bool:
    """Whatever a service makes of the path."""
    return all(pattern.fullmatch(path) for path in paths)


def _is_all(head: RequestHead, name: bytes, pattern: re.Pattern[bytes]) -> bool:
    """Every value of the field, if it was sent more than once."""
    value = head.fields.get(name)
    if value is None:
        return False
    section = head.section
    if not section.repeated or name not in section.repeated:
        return pattern.fullmatch(value.strip(b" \t")) is not None
    values = [value for each, value in section.headers if each.lower() == name]
    return all(pattern.fullmatch(value.strip(b" \t")) for value in values)
