"""Which requests a rule is for. Services read one request differently (http1.path, spelling), so:

a `Matcher`, by which requests are limited, holds if the request fits it in any reading, and an `Exemption`,
by which they are let through, only if it fits in every one. `match.exact` is for services that tell `/A` from
`/a`. Costs nothing for what a rule does not say. Knows nothing of rates or buckets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.clients.networks import Networks
from proxy.config.key_names import KeyPart
from proxy.http1.path import folded
from proxy.policy.globs import literal, paths_pattern, stem, value_pattern
from proxy.policy.readings import HOST, host_of, judge_of

if TYPE_CHECKING:
    import re

    from proxy.config.sections.limits import Exempt
    from proxy.config.sections.limits import Match as MatchSettings
    from proxy.http1.head import RequestHead
    from proxy.policy.globs import PathPattern

# Members of a list that are looked at: who sends more does so for the work that it makes.
MEMBERS_MAX: Final = 64
LATER_MAX: Final = 32  # paths, for which a request may wait: 2 ms

# Why a limit does not match.
METHOD: Final = "method"
PATH: Final = "path"
HEADER: Final = "header"


class Matcher:
    __slots__ = (
        "_absent",
        "_headers",
        "_paths",
        "_pattern",
        "is_exact",
        "is_of_section",
        "is_universal",
        "literals",
        "methods",
        "stems",
    )

    def __init__(self, settings: MatchSettings) -> None:
        wide = not settings.exact
        headers = [_header_glob(name, glob, wide=wide) for name, glob in settings.headers.items()]
        self.is_exact = settings.exact
        self.methods = frozenset(method.encode() for method in settings.methods_met)
        self._paths = settings.paths
        # Of the paths. A large config would take long to load, and few of its limits are ever met; but a
        # pattern of many paths would take long when it is met.
        self._pattern = paths_pattern(settings.paths, wide=wide) if len(settings.paths) > LATER_MAX else None
        self._headers = [(field, value_pattern(glob, wide=wide)) for field, glob in headers]
        # By the judge of a key's value: who sends a field that pays nothing has not sent it.
        self._absent = [
            (name.lower().encode(), judge_of(KeyPart("header", name))) for name in settings.absent
        ]
        # What every request has that it holds for, where that can be looked up (policy.index): the beginning
        # of its path, one of `stems`, unless some path begins with a wildcard; and all `literals`, by field.
        stems = [stem(glob, wide=wide) for glob in settings.paths]
        self.stems = stems if all(stems) else []
        self.literals = {field: literal(glob, wide=wide) for field, glob in headers if "*" not in glob}
        # Whether it holds depends on the header fields alone ...
        self.is_of_section = not (settings.methods or settings.paths)
        # ... or on nothing at all.
        self.is_universal = self.is_of_section and not settings.headers and not settings.absent

    def holds(self, head: RequestHead) -> bool:
        if self.methods and head.method not in self.methods:
            return False
        if self._paths and not self._has_path(head):
            return False
        for name, pattern in self._headers:
            value = head.fields.get(name)
            if not value and name == HOST:
                continue  # the service is sent another one, and may take it for any
            if value is None or not self._has_value(name, value, pattern):
                return False
        return not self._absent or self._lacks(head)

    def misfit(self, head: RequestHead) -> str | None:
        """Why it does not hold: for people who ask. `holds` says the same, faster."""
        if self.methods and head.method not in self.methods:
            return METHOD
        if self._paths and not self._has_path(head):
            return PATH
        return None if self.holds(head) else HEADER

    def _lacks(self, head: RequestHead) -> bool:
        fields = head.fields
        return not any(name in fields and judge(fields[name]) for name, judge in self._absent)

    def _has_path(self, head: RequestHead) -> bool:
        pattern = self._pattern
        if pattern is None:
            pattern = self._pattern = paths_pattern(self._paths, wide=not self.is_exact)
        paths = head.paths if self.is_exact else head.folded_paths
        if len(paths) == 1:
            return pattern.fullmatch(paths[0]) is not None
        return any(pattern.fullmatch(path) for path in paths)

    def _has_value(self, name: bytes, value: bytes, pattern: re.Pattern[bytes]) -> bool:
        texts = texts_of(name, value, is_exact=self.is_exact)
        return texts is None or any(pattern.fullmatch(text) for text in texts)


def texts_of(field: bytes, value: bytes, *, is_exact: bool) -> list[bytes] | None:
    """All that a value may be read as: as a whole and, of a list or a field that was sent twice, each member.
    All with their parameters (RFC 9110 section 5.6.6), and without. None if there are too many: then it fits
    every glob.
    """
    if not is_exact:
        value = folded(b" ".join((host_of(value) if field == HOST else value).split()))
    if b"," not in value:
        return [value] if is_exact or b";" not in value else [value, _bare(value)]
    members = [member.strip() for member in value.split(b",", MEMBERS_MAX)]
    if len(members) > MEMBERS_MAX:
        return None
    if not is_exact and b";" in value:
        members += [_bare(member) for member in members if b";" in member]
    return [value, *members]


def _bare(value: bytes) -> bytes:
    return value.partition(b";")[0].rstrip()


class Exemption:
    """Exempts by clients' networks, paths and headers; any of them is enough."""

    __slots__ = ("_headers", "_networks", "_paths", "is_never", "is_of_section")

    def __init__(self, settings: Exempt) -> None:
        self._networks = Networks(settings.cidrs)
        self._paths = paths_pattern(settings.paths) if settings.paths else None
        self._headers = [
            (name.lower().encode(), value_pattern(glob)) for name, glob in settings.headers.items()
        ]
        self.is_of_section = not settings.paths
        self.is_never = not (settings.cidrs or settings.paths or settings.headers)

    def holds(self, head: RequestHead, client: str) -> bool:
        if self._networks and self._networks.covers(client):
            return True
        if self._paths is not None and lets_through(self._paths, head.paths):
            return True
        return any(_is_all(head, name, pattern) for name, pattern in self._headers)


def _header_glob(name: str, glob: str, *, wide: bool = False) -> tuple[bytes, str]:
    """The field, and its glob as it is compared."""
    field = name.lower().encode()
    return field, host_of(glob.encode()).decode() if wide and field == HOST else glob


def lets_through(pattern: PathPattern, paths: tuple[bytes, ...]) -> bool:
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
