"""Which fields of a request the settings read: what they say must be what the service sees.

So a client cannot name such a field away by Connection or send it behind the body, one with a `_` in its name
is passed on, and what a stranger claims of its way, which the service never sees, is not read either.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.names import is_claim
from proxy.policy.readings import field_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from proxy.config.sections.limits import LimitSettings
    from proxy.config.settings import Settings
    from proxy.http1.head import HeaderSection

_UNDERSCORE = b"_"


class FieldsRead:
    __slots__ = ("_single", "has_claims", "names", "underscored")

    def __init__(self, settings: Settings) -> None:
        self.names = frozenset(_names(settings, settings.limits))
        enforced = [limit for limit in settings.limits if limit.mode != "shadow" and limit.enforce]
        self._single = self.names.intersection(_names(settings, enforced))
        self.has_claims = any(is_claim(name.decode()) for name in self.names)
        self.underscored = frozenset(name for name in self.names if _UNDERSCORE in name)

    def underscored_lines(self, section: HeaderSection) -> list[bytes]:
        """They go on like others, since the settings say that the service knows them."""
        return [line.data for line in section.lines if line.name in self.underscored]

    def has_twins(self, section: HeaderSection) -> bool:
        """A service that takes `_` and `-` for the same has two values of a field that is read."""
        fields = section.fields
        twins = [name for name in self.underscored if name in fields and _dashed(name) in fields]
        return not self._single.isdisjoint(twins)

    def unread(self, trailers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
        """Behind a body come fields that nobody was charged by: a service may merge them with the head's."""
        return [trailer for trailer in trailers if trailer[0].lower() not in self.names]


def without_claims(fields: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {name: value for name, value in fields.items() if not is_claim(name.decode("latin-1"))}


def _dashed(name: bytes) -> bytes:
    return name.replace(_UNDERSCORE, b"-")


def _headers_of(limit: LimitSettings) -> Iterable[str]:
    costs = limit.cost if isinstance(limit.cost, tuple) else ()
    for match in (limit.match, *(entry.match for entry in costs)):
        yield from (*match.headers, *match.absent)
    yield from limit.exempt.headers


def _names(settings: Settings, limits: Iterable[LimitSettings]) -> Iterable[bytes]:
    for limit in limits:
        yield from filter(None, (field_of(part) for spec in limit.key for part in spec.parts))
        yield from (name.lower().encode() for name in _headers_of(limit))
    yield from (name.lower().encode() for name in settings.contract.credentials)
