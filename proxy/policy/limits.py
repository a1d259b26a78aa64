"""Limits, compiled: which requests they match, whom they exempt, and what a request is charged to.

Matching is on the method, the normalised path and headers. Knows nothing of stores or time.
"""

from __future__ import annotations

import re
from ipaddress import ip_address
from math import ceil
from typing import TYPE_CHECKING, Protocol

from proxy.policy.decision import Charge
from proxy.policy.gcra import units
from proxy.policy.keys import PartitionKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from proxy.config.settings import Exempt, LimitSettings, Match


class Request(Protocol):
    """What a limit looks at."""

    method: bytes
    fields: dict[bytes, bytes]

    @property
    def path(self) -> bytes: ...


class Limit:
    __slots__ = (
        "_exempt",
        "_match",
        "burst",
        "burst_units",
        "cost",
        "cost_units",
        "count",
        "interval",
        "is_shadow",
        "key",
        "name",
        "on_store_error",
        "period_us",
        "policy_member",
        "scale",
    )

    def __init__(self, settings: LimitSettings, secret: bytes) -> None:
        self.name = settings.name
        self.is_shadow = settings.mode == "shadow"
        self.on_store_error = settings.on_store_error
        self.count = settings.rate.count
        self.period_us = settings.rate.period_us
        self.burst = settings.burst
        self.cost = settings.cost
        self.interval, self.scale = units(self.count, self.period_us)  # units a token, units a microsecond
        self.burst_units = self.burst * self.interval
        self.cost_units = self.cost * self.interval
        window = max(1, ceil(self.burst * self.period_us / self.count / 1e6))
        # Its member of RateLimit-Policy: the burst, and the seconds in which the rate refills it.
        self.policy_member = b'"%b";q=%d;w=%d' % (self.name.encode(), self.burst, window)
        self.key = PartitionKey(settings.name, settings.key, secret)
        self._match = Matcher(settings.match)
        self._exempt = Exemption(settings.exempt)

    def matches(self, request: Request) -> bool:
        return self._match.covers(request)

    def is_exempt(self, request: Request, client: str) -> bool:
        return self._exempt.covers(request, client)

    @property
    def is_static(self) -> bool:
        """Whether it applies depends on neither method nor path."""
        return self._match.is_static and self._exempt.is_static


class Limits:
    """All limits of a config, in its order."""

    def __init__(self, limits: Sequence[Limit]) -> None:
        self.all = tuple(limits)
        self.by_name = {limit.name: limit for limit in limits}
        self.credential_names = frozenset(name for limit in limits for name in limit.key.header_names)
        self.is_static = all(limit.is_static for limit in limits)  # the same for every target

    def charges(self, request: Request, client: str) -> tuple[list[Charge], list[Limit]]:
        """What the request is charged to, and the limits that match but let it be."""
        charges: list[Charge] = []
        exempt: list[Limit] = []
        for limit in self.all:
            if limit.matches(request):
                if limit.is_exempt(request, client):
                    exempt.append(limit)
                else:
                    charges.append(Charge(limit, limit.key.of(request.fields, client)))
        return charges, exempt


def compile_limits(settings: Sequence[LimitSettings], secret: bytes) -> Limits:
    return Limits([Limit(each, secret) for each in settings])


class Matcher:
    """The requests that a limit counts: methods, paths and headers must all match; empty ones match everything."""

    __slots__ = ("_headers", "_methods", "_paths", "is_static")

    def __init__(self, settings: Match) -> None:
        self._methods = frozenset(method.encode() for method in settings.methods)
        self._paths = _any_of(settings.paths)
        self._headers = _patterns(settings.headers)
        self.is_static = not self._methods and self._paths is None

    def covers(self, request: Request) -> bool:
        if self._methods and request.method not in self._methods:
            return False
        if self._paths is not None and not self._paths.fullmatch(request.path):
            return False
        fields = request.fields
        return all(_has(fields, name, pattern) for name, pattern in self._headers)


class Exemption:
    """The requests that a limit lets be: any network, path or header is enough."""

    __slots__ = ("_headers", "_known", "_networks", "_paths", "is_static")

    KNOWN_MAX = 4096  # clients whose networks are remembered

    def __init__(self, settings: Exempt) -> None:
        self._networks = tuple(settings.cidrs)
        self._paths = _any_of(settings.paths)
        self._headers = _patterns(settings.headers)
        self._known: dict[str, bool] = {}
        self.is_static = self._paths is None

    def covers(self, request: Request, client: str) -> bool:
        if self._networks and self._is_within(client):
            return True
        if self._paths is not None and self._paths.fullmatch(request.path):
            return True
        return any(_has(request.fields, name, pattern) for name, pattern in self._headers)

    def _is_within(self, client: str) -> bool:
        known = self._known.get(client)
        if known is None:
            if len(self._known) >= self.KNOWN_MAX:
                self._known.clear()
            known = self._known[client] = within(client, self._networks)
        return known


def within(client: str, networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    try:
        address = ip_address(client.partition("%")[0])
    except ValueError:
        return False
    address = getattr(address, "ipv4_mapped", None) or address
    return any(address in network for network in networks)


def _any_of(globs: Sequence[str]) -> re.Pattern[bytes] | None:
    """One pattern for all path globs: `*` stays within a segment, `**` crosses them."""
    if not globs:
        return None
    return re.compile(b"|".join(b"(?:%b)" % _path_pattern(glob.encode()) for glob in globs), re.DOTALL)


def _path_pattern(glob: bytes) -> bytes:
    parts = re.split(rb"(\*\*|\*)", glob)
    wild = {b"**": b".*", b"*": b"[^/]*"}
    return b"".join(wild.get(part) or re.escape(part) for part in parts)


def _patterns(headers: Mapping[str, str]) -> tuple[tuple[bytes, re.Pattern[bytes]], ...]:
    """Globs of field values, where `*` is anything."""
    return tuple(
        (name.lower().encode(), re.compile(re.escape(glob.encode()).replace(rb"\*", b".*"), re.DOTALL))
        for name, glob in headers.items()
    )


def _has(fields: Mapping[bytes, bytes], name: bytes, pattern: re.Pattern[bytes]) -> bool:
    value = fields.get(name)
    return value is not None and pattern.fullmatch(value.strip(b" \t")) is not None
