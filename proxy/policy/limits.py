"""The limits of one config, compiled: which of them a request meets, and whose bucket each charges.

A limit applies if its methods, path globs and headers all match and none of its exemptions does. Compiled
once; asking costs nothing for what a limit does not say. Knows nothing of buckets.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from proxy.clients.networks import IPV6_PREFIX
from proxy.config.units import EMPTIED_MAX_US
from proxy.faults import UNCLEAR_CREDENTIAL
from proxy.policy import gcra
from proxy.policy.decision import Charge
from proxy.policy.keys import Partition
from proxy.policy.matching import Exemption, Matcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from proxy.config.key_names import KeySpec
    from proxy.config.sections.limits import LimitSettings
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead

    Due = tuple[list[Charge], list["Limit"]]  # what is charged, and limits that match but are exempt


UNCHARGED: Final[Due] = [], []


class Limit:
    __slots__ = (
        "burst",
        "burst_units",
        "cost",
        "cost_units",
        "count",
        "empties",
        "exemption",
        "interval",
        "is_free_304",
        "is_shadow",
        "is_static",
        "is_universal",
        "key_spec",
        "lease",
        "match",
        "most_units",
        "name",
        "on_store_error",
        "partition",
        "period_us",
        "refill_rate",
        "scale",
    )

    def __init__(self, settings: LimitSettings, secret: bytes = b"", ipv6_prefix: int = IPV6_PREFIX) -> None:
        self.name = settings.name
        self.is_shadow = settings.mode == "shadow"
        self.on_store_error = settings.on_store_error

        self.count = settings.rate.count
        self.period_us = settings.rate.period_us
        self.burst = settings.burst
        self.cost = settings.cost
        self.is_free_304 = settings.cost_304 == 0
        self.lease = settings.lease
        self.interval, self.scale = gcra.reduced(self.count, self.period_us)
        self.refill_rate = gcra.RefillRate(self.interval, self.scale)
        self.burst_units = self.burst * self.interval
        self.cost_units = self.cost * self.interval
        # A 429 of the service empties its buckets; one of a limit that only watches stays as it is.
        self.empties = settings.on_upstream_429 == "drain" and not self.is_shadow
        self.most_units = self.burst_units + (EMPTIED_MAX_US * self.scale if self.empties else 0)  # of a debt

        self.key_spec: tuple[KeySpec, ...] = tuple(settings.key)
        self.partition = Partition(
            self.key_spec, secret, shares=settings.when_absent == "share", ipv6_prefix=ipv6_prefix
        )
        self.match = Matcher(settings.match)
        self.exemption = Exemption(settings.exempt)
        # Whether it applies, and to whom, depends on the client and the header fields only ...
        self.is_static = (
            self.match.is_of_section and self.exemption.is_of_section and self.partition.is_static
        )
        # ... or it applies to everybody.
        self.is_universal = self.match.is_universal and self.exemption.is_never

    def __repr__(self) -> str:
        return f"Limit({self.name}, {self.count} in {self.period_us / gcra.US:g} s, burst {self.burst})"


class Limits:
    """All limits of one config, in its order."""

    __slots__ = ("_all", "_only", "credential_names", "empties", "fingerprint", "gives_back", "is_static")

    def __init__(self, limits: Sequence[Limit]) -> None:
        self._all = tuple(limits)
        # The usual config, one limit for everything, takes a short way (measured: 0.35 us of 1.0 us).
        self._only = self._all[0] if len(self._all) == 1 and self._all[0].is_universal else None
        # The same client with the same header fields is charged the same, whatever it asks for.
        self.is_static = all(limit.is_static for limit in self._all)
        self.gives_back = any(limit.is_free_304 for limit in self._all)  # some requests' tokens, afterwards
        self.empties = any(limit.empties for limit in self._all)
        self.fingerprint = _fingerprint(self._all)  # equal where buckets are counted alike
        self.credential_names: frozenset[bytes] = frozenset().union(
            *(limit.partition.credential_names for limit in self._all)
        )  # lower-case names of the fields that keys are read from

    def charges(self, head: RequestHead, client: str) -> Due | Fault:
        """What the request is to be charged, and limits that match but exempt it; or why it is refused."""
        limit = self._only
        if limit is not None:
            keys = limit.partition.keys(head, client)
            if keys is None:
                return UNCLEAR_CREDENTIAL
            return [Charge(limit, keys[0])] if len(keys) == 1 else [Charge(limit, key) for key in keys], []
        charges: list[Charge] = []
        exempt: list[Limit] = []
        partition: Partition | None = None
        keys = []
        for limit in self._all:
            if not limit.is_universal:
                if not limit.match.holds(head):
                    continue
                if limit.exemption.holds(head, client):
                    exempt.append(limit)
                    continue
            if limit.partition is not partition:  # limits with equal key entries share one: hashed once
                partition = limit.partition
                keys = partition.keys(head, client)
                if keys is None:
                    return UNCLEAR_CREDENTIAL
            for key in keys:
                charges.append(Charge(limit, key))  # noqa: PERF401 - nearly always one: a comprehension costs more
        return charges, exempt

    def __iter__(self) -> Iterator[Limit]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def _fingerprint(limits: Iterable[Limit]) -> bytes:
    """A few letters of what makes a difference to a bucket."""
    counted = sorted((limit.name, limit.count, limit.period_us, limit.most_units) for limit in limits)
    return blake2b(repr(counted).encode(), digest_size=6).hexdigest().encode()


def compile_limits(
    settings: Sequence[LimitSettings], secret: bytes, ipv6_prefix: int = IPV6_PREFIX
) -> Limits:
    """`secret` keys the hashes of partition keys; empty takes a built-in one."""
    limits = [Limit(each, secret, ipv6_prefix) for each in settings]
    partitions: dict[tuple[tuple[KeySpec, ...], str], Partition] = {}
    for limit, each in zip(limits, settings, strict=True):
        limit.partition = partitions.setdefault((limit.key_spec, each.when_absent), limit.partition)
    return Limits(limits)
