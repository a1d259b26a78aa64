"""The limits of one config, compiled: which of them a request meets, and whose bucket each charges.

A limit applies if its methods, path globs and headers all match and none of its exemptions does. Compiled
once; asking costs nothing for what a limit does not say. Knows nothing of buckets.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import TYPE_CHECKING, Final

from proxy.clients.networks import IPV6_PREFIX
from proxy.config.limit_checks import MET_MAX
from proxy.config.plan_keys import PlanKeys
from proxy.config.sections.limits import Match as MatchSettings
from proxy.faults import UNCLEAR_CREDENTIAL, UNCLEAR_REQUEST
from proxy.policy.decision import Charge
from proxy.policy.gcra import US
from proxy.policy.index import FEW, LimitIndex
from proxy.policy.keys import Partition
from proxy.policy.matching import Exemption, Matcher
from proxy.policy.terms import NONE_RESERVED, Reserved, Tariff, Terms

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from proxy.config.key_names import KeySpec
    from proxy.config.sections.limits import LimitSettings
    from proxy.config.sections.plans import PlanSettings
    from proxy.faults import Fault
    from proxy.http1.head import RequestHead

    Due = tuple[list[Charge], list["Limit"]]  # what is charged, and limits that match but are exempt


UNCHARGED: Final[Due] = [], []
KEYS_OF_ALL: Final = 1 << 16  # parts that all keys of a limit are in, for the share that it is enforced for
EVERYTHING: Final = Matcher(MatchSettings())
PLANS_KNOWN: Final = 16 * 1024  # keys whose plans are remembered: 2 MB


class Limit:
    __slots__ = (
        "_costs",
        "_plans",
        "_terms",
        "before",
        "empties",
        "enforced",
        "exemption",
        "halves",
        "has_plans",
        "is_free_304",
        "is_shadow",
        "is_static",
        "is_uniform",
        "is_universal",
        "key_spec",
        "lease",
        "match",
        "max_wait_us",
        "moves_401s",
        "name",
        "on_store_error",
        "partition",
        "slots",
        "terms",
        "vouches",
        "watches_waits",
    )

    def __init__(
        self,
        settings: LimitSettings,
        secret: bytes = b"",
        ipv6_prefix: int = IPV6_PREFIX,
        plans: PlanKeys | None = None,
        partition: Partition | None = None,
    ) -> None:
        """`partition` is that of a limit with the same key."""
        self.name = settings.name
        self.is_shadow = settings.mode == "shadow" or settings.enforce == 0
        self.on_store_error = settings.on_store_error
        self.is_free_304 = settings.cost_304 == 0
        self.lease = settings.lease
        self.slots = settings.concurrency or 0  # requests at once; 0 where a rate counts them
        self.max_wait_us = round(settings.max_wait * US)  # for its token, before it is refused
        self.before = NONE_RESERVED  # what requests wait for by limits that a reload has replaced
        # A 429 of the service empties its buckets; one of a limit that only watches stays as it is.
        self.empties = settings.on_upstream_429 == "drain" and not self.is_shadow
        self.key_spec: tuple[KeySpec, ...] = tuple(settings.key)
        shares = settings.when_absent == "share"
        self.partition = partition or Partition(self.key_spec, secret, shares=shares, ipv6_prefix=ipv6_prefix)
        self.match = Matcher(settings.match)
        self.exemption = Exemption(settings.exempt)

        # How many of KEYS_OF_ALL parts it is enforced for. A key's seventh and eighth byte say in which part
        # it is: the last bytes that logs tell (`weir simulate`).
        self.enforced = 0 if self.is_shadow else round(settings.enforce * KEYS_OF_ALL)
        self.watches_waits = self.max_wait_us > 0 and self.enforced < KEYS_OF_ALL  # some keys, in shadow
        self._costs = _costs(settings)
        named = [plans.named(name) for name in settings.plans] if plans is not None else []
        self.has_plans = bool(named)
        self._plans = [(bit, number) for number, (bit, _) in enumerate(named)]
        self._terms = self._all_terms(settings, [plan for _, plan in named])
        self.moves_401s = settings.on_upstream_401 == "address"
        self.vouches = settings.unproven is not None
        self.terms = self._terms[-1][-1][self.is_shadow]  # of nearly all requests, as a rule
        # Enforced and in shadow, where nothing but the share of keys (`enforce`) tells which.
        self.halves = self._terms[-1][-1] if not named and len(self._costs) == 1 else None
        self.is_uniform = self.halves is not None and self.enforced in (0, KEYS_OF_ALL)
        self.is_static = self._is_static()
        self.is_universal = self.match.is_universal and self.exemption.is_never  # it applies to everybody

    def _is_static(self) -> bool:
        """Whether it applies, and to whom, depends on the client and the header fields only."""
        return (
            self.match.is_of_section
            and self.exemption.is_of_section
            and self.partition.is_static
            and all(match.is_of_section for match, _ in self._costs)
        )

    def _all_terms(self, settings: LimitSettings, plans: Sequence[PlanSettings]) -> list[list[list[Terms]]]:
        """All terms there are: by the plan, the limit's own rate last; by the cost; and by whether it is in
        shadow.
        """
        tariffs = [Tariff(plan.rate, plan.burst, plan.name) for plan in plans]
        tariffs.append(_own_tariff(settings))
        made = [[self._both(tariff, cost) for _, cost in self._costs] for tariff in tariffs]
        for of_rate in made:
            for of_cost, own in zip(of_rate, made[-1], strict=True):
                for terms, twin in zip(of_cost, own, strict=True):
                    terms.own = twin
        if settings.unproven is not None:
            self._add_newcomers(made, Tariff(settings.unproven.rate, settings.unproven.burst))
        return made

    def _add_newcomers(self, made: list[list[list[Terms]]], tariff: Tariff) -> None:
        """Gives the same to all that cost the same and are in shadow or not, whatever their plan."""
        newcomers: dict[tuple[int, bool], Terms] = {}
        for terms in (terms for of_rate in made for of_cost in of_rate for terms in of_cost):
            kind = terms.cost, terms.is_shadow
            if kind not in newcomers:
                newcomers[kind] = Terms(self, tariff, terms.cost, is_shadow=terms.is_shadow, is_newcomer=True)
            terms.newcomer = newcomers[kind]

    def _both(self, tariff: Tariff, cost: int) -> list[Terms]:
        """Enforced and in shadow; the same ones where all keys are alike."""
        both = [Terms(self, tariff, cost, is_shadow=is_shadow) for is_shadow in (False, True)]
        if self.enforced in (0, KEYS_OF_ALL):
            return [both[self.is_shadow]] * 2
        return both

    def terms_of(self, head: RequestHead, key: bytes, plans: int) -> Terms:
        """The terms by which one of its keys is charged; `plans` are those that name it, as bits."""
        terms = self._terms[-1]
        if plans:
            for bit, number in self._plans:
                if bit & plans:
                    terms = self._terms[number]
                    break
        of_cost = terms[0]
        if len(terms) > 1:
            for number, (match, _) in enumerate(self._costs):  # pragma: no branch - the last one matches all
                if match.holds(head):
                    of_cost = terms[number]
                    break
        if self.enforced == KEYS_OF_ALL:
            return of_cost[0]
        return of_cost[(key[6] << 8 | key[7]) >= self.enforced]

    def replaces(self, old: Limit, now_us: int) -> None:
        """Who waits by the old limit does so still: newcomers come behind."""
        if self.slots or old.slots:
            return
        reserved = old.before if old.before.until_us > now_us else NONE_RESERVED
        if old.max_wait_us:
            rate = old.terms.refill_rate
            for terms in old:
                rate = terms.refill_rate if terms.refill_rate.is_above(rate) else rate
            reserved = reserved.joined(Reserved(old.max_wait_us, rate, now_us + old.max_wait_us))
        self.before = reserved
        for terms in self:
            terms.renew()

    def usual_terms(self, plans: int) -> Terms:
        """The terms of a request that costs what most do."""
        number = next((number for bit, number in self._plans if bit & plans), -1)
        return self._terms[number][-1][self.is_shadow]

    def __iter__(self) -> Iterator[Terms]:
        """All terms that a request may be charged by."""
        every = [terms for of_rate in self._terms for of_cost in of_rate for terms in of_cost]
        newcomers = [terms.newcomer for terms in every if terms.newcomer is not None]
        return iter(dict.fromkeys([*every, *newcomers]))

    def __repr__(self) -> str:
        return f"Limit({self.name}, {self.terms})"


def _own_tariff(settings: LimitSettings) -> Tariff:
    if settings.concurrency is not None:
        return Tariff.of_slots(settings.concurrency)
    assert settings.rate is not None
    assert settings.burst is not None
    return Tariff(settings.rate, settings.burst)


def _costs(settings: LimitSettings) -> list[tuple[Matcher, int]]:
    """Who costs what, in order; the last one matches every request."""
    if isinstance(settings.cost, int):
        return [(EVERYTHING, settings.cost)]
    costs = [(Matcher(entry.match), entry.cost) for entry in settings.cost]
    return costs if costs[-1][0].is_universal else [*costs, (EVERYTHING, 1)]


class Limits:
    """All limits of one config, in its order."""

    __slots__ = (
        "_all",
        "_index",
        "_only",
        "_plans",
        "_plans_known",
        "credential_names",
        "empties",
        "fingerprint",
        "gives_back",
        "has_slots",
        "is_static",
        "may_wait",
        "vouches",
        "watched_waits",
    )

    def __init__(self, limits: Sequence[Limit], plans: PlanKeys | None = None) -> None:
        self._all = tuple(limits)
        self._plans = plans or PlanKeys()
        self._plans_known: dict[bytes, int] = {}  # by key
        # The usual config, one limit for everything, takes a short way (measured: 0.35 us of 1.0 us).
        only = self._all[0] if len(self._all) == 1 else None
        self._only = only if only is not None and only.is_universal else None
        self._index = LimitIndex(self._all) if len(self._all) > FEW else None
        # The same client with the same header fields is charged the same, whatever it asks for.
        self.is_static = all(limit.is_static for limit in self._all)
        self.gives_back = any(limit.is_free_304 for limit in self._all)  # some requests' tokens, afterwards
        self.empties = any(limit.empties for limit in self._all)
        # The service's answers say something of credentials.
        self.vouches = any(limit.vouches or limit.moves_401s for limit in self._all)
        self.may_wait = any(limit.max_wait_us for limit in self._all)
        self.watched_waits = tuple([limit.name for limit in self._all if limit.watches_waits])
        self.has_slots = any(limit.slots for limit in self._all)  # requests hold something until they end
        self.fingerprint = _fingerprint(self._all, self._plans)  # equal where buckets are counted alike
        self.credential_names: frozenset[bytes] = frozenset().union(
            *(limit.partition.credential_names for limit in self._all)
        )  # lower-case names of the fields that keys are read from

    def charges(self, head: RequestHead, client: str) -> Due | Fault:
        """What the request is to be charged, and limits that match but exempt it; or why it is refused."""
        limit = self._only
        if limit is None:
            return self._charges_of_several(head, client)
        keys = limit.partition.keys(head, client)
        if keys is None:
            if not limit.is_shadow:
                return UNCLEAR_CREDENTIAL
            keys = limit.partition.unclear_keys(head, client)
        if len(keys) == 1:
            key = keys[0]
            terms = limit.terms if limit.is_uniform else self._terms(limit, head, client, key)
            return [Charge(terms, key)], []
        return [Charge(self._terms(limit, head, client, key), key) for key in keys], []

    def _charges_of_several(self, head: RequestHead, client: str) -> Due | Fault:
        charges: list[Charge] = []
        exempt: list[Limit] = []
        partition: Partition | None = None
        keys: list[bytes] | None = []
        limits = self._all if self._index is None else self._index.find(head)
        for limit in limits:
            if not limit.is_universal:
                if not limit.match.holds(head):
                    continue
                if limit.exemption.holds(head, client):
                    exempt.append(limit)
                    continue
            if limit.partition is not partition:  # limits with equal key entries share one: hashed once
                partition = limit.partition
                keys = partition.keys(head, client)
            met = keys
            if met is None:
                if not limit.is_shadow:
                    return UNCLEAR_CREDENTIAL
                met = partition.unclear_keys(head, client)
            for key in met:
                terms = limit.terms if limit.is_uniform else self._terms(limit, head, client, key)
                charges.append(Charge(terms, key))
        if len(limits) > MET_MAX and len({charge.terms.limit for charge in charges}) > MET_MAX:
            return UNCLEAR_REQUEST
        return charges, exempt

    def repeats(self, head: RequestHead, client: str) -> bool:
        """A field is there twice by which a limit charges the request: one value could be charged and another
        be served. A limit in shadow refuses nobody.
        """
        repeated = head.section.repeated or ()
        return any(
            not limit.is_shadow
            and not limit.partition.credential_names.isdisjoint(repeated)
            and limit.match.holds(head)
            and not limit.exemption.holds(head, client)
            for limit in self._all
        )

    def _terms(self, limit: Limit, head: RequestHead, client: str, key: bytes) -> Terms:
        halves = limit.halves
        if halves is not None:
            return halves[(key[6] << 8 | key[7]) >= limit.enforced]
        plans = 0
        if limit.has_plans:
            known = self._plans_known.get(key)
            plans = self._find_plans(limit.partition, head, client, key) if known is None else known
        return limit.terms_of(head, key, plans)

    def usual_terms(self, limit: Limit, key: bytes, texts: Iterable[bytes]) -> Terms:
        """The terms of a key, by the texts it was hashed from as far as they are known."""
        plans = self._plans_known.get(key, 0)
        for text in texts:
            plans |= self._plans.bits_of(text)
        return limit.usual_terms(plans)

    def renewed(self, charge: Charge) -> Charge | None:
        """The same bucket and cost by these limits' terms, for a request that a reload has overtaken.

        None if the limit is no more, has no such cost, or has come to hold slots in place of a rate, or back.
        """
        old = charge.terms
        same = old.cost, old.is_newcomer, bool(old.slots)
        found = [
            terms
            for limit in self._all
            if limit.name == old.name
            for terms in limit
            if (terms.cost, terms.is_newcomer, bool(terms.slots)) == same
        ]

        def likeness(terms: Terms) -> tuple[bool, bool, bool]:
            return terms.plan == old.plan, not terms.plan, terms.is_shadow == old.is_shadow

        return Charge(max(found, key=likeness), charge.key) if found else None

    def _find_plans(self, partition: Partition, head: RequestHead, client: str, key: bytes) -> int:
        """Finds them by the values that the key was hashed from."""
        plans = 0
        for text in partition.texts(head, client, key):
            plans |= self._plans.bits_of(text)
        if len(self._plans_known) >= PLANS_KNOWN:
            self._plans_known.clear()
        if not partition.is_by_network(client):
            self._plans_known[key] = plans
        return plans

    def replace(self, old: Limits, now_us: int) -> None:
        """Takes over from limits of before, at a moment of the store's clock, before it counts by these."""
        before = {limit.name: limit for limit in old}
        for limit in self._all:
            if limit.name in before and before[limit.name] is not limit:
                limit.replaces(before[limit.name], now_us)

    def __iter__(self) -> Iterator[Limit]:
        return iter(self._all)

    def __len__(self) -> int:
        return len(self._all)


def _fingerprint(limits: Iterable[Limit], plans: PlanKeys) -> bytes:
    """A few letters of what makes a difference to a bucket."""
    terms = (each for limit in limits for each in limit)
    counted = sorted({(each.name, each.plan, each.count, each.period_us, each.most_units) for each in terms})
    return blake2b(repr(counted).encode() + plans.fingerprint, digest_size=6).hexdigest().encode()


def compile_limits(
    settings: Sequence[LimitSettings],
    secret: bytes,
    ipv6_prefix: int = IPV6_PREFIX,
    plans: PlanKeys | None = None,
) -> Limits:
    """`secret` keys the hashes of partition keys; empty takes a built-in one."""
    partitions: dict[tuple[tuple[KeySpec, ...], str], Partition] = {}
    limits: list[Limit] = []
    for each in settings:
        key = each.key, each.when_absent
        limit = Limit(each, secret, ipv6_prefix, plans, partitions.get(key))
        partitions[key] = limit.partition
        limits.append(limit)
    return Limits(limits, plans)
