"""Buckets in Redis, shared by all replicas: the requests of a loop tick go out together and are decided
by one script.

Who may pass is known at once if Redis has refused the bucket and no token can have returned since, or if
Redis is down; then each limit decides in its own way (outage.py). Going back to Redis, buckets are
settled first, so that neither way gives anything away. Refusals and outages are explained in
docs/limits.md.
"""

from __future__ import annotations

import asyncio
from random import getrandbits
from time import monotonic
from typing import TYPE_CHECKING

from proxy.limiter.batch import SCRIPT
from proxy.limiter.cache import Caches
from proxy.limiter.cross_slot import CrossSlot
from proxy.limiter.dialler import Dialler
from proxy.limiter.dispatcher import Dispatcher
from proxy.limiter.held import HeldSlots
from proxy.limiter.keeping import Keeping
from proxy.limiter.link import DOWN, NEXT, STORE
from proxy.limiter.moves import Moves, leave
from proxy.limiter.one_place import OnePlace
from proxy.limiter.operations import Empty
from proxy.limiter.outage import decide
from proxy.limiter.override_notes import OverrideNotes
from proxy.limiter.overrides import Overrides
from proxy.limiter.proven import Proven, Sharing
from proxy.limiter.records import Names
from proxy.limiter.redis_keys import RedisKeys
from proxy.limiter.replicas import Replicas
from proxy.limiter.session import Session
from proxy.limiter.store import NOBODY
from proxy.limiter.topology import Cluster, Single
from proxy.telemetry.metrics import StoreFigures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config.sections.store import StoreSettings
    from proxy.limiter.cache import TermsCache
    from proxy.limiter.leases import Leases
    from proxy.limiter.link import Link
    from proxy.limiter.moves import Move
    from proxy.limiter.operations import Operation
    from proxy.limiter.store import Waiter
    from proxy.limiter.topology import Topology
    from proxy.policy.decision import Charge, Decision
    from proxy.policy.limits import Limits
    from proxy.policy.slots import Slot
    from proxy.policy.upstream_429 import Debt

MAX_KEYS = 100_000  # of each limit, known and spent here each
BROUGHT_KEYS = 500  # in a turn: 2 ms


class RedisStore:
    def __init__(  # noqa: PLR0913 - the settings of a store
        self,
        dialler: Dialler,
        timeout: float,
        *,
        prefix: str = "weir",
        max_keys: int = MAX_KEYS,
        caches_denials: bool = True,
        figures: StoreFigures | None = None,
        now: Callable[[], float] = monotonic,
    ) -> None:
        self.max_keys = max_keys
        self.figures = figures or StoreFigures()
        self._dialler = dialler
        self._now = now
        self._names = Names(prefix)
        own_id = getrandbits(64)  # tells replicas apart, no secret
        self.held = HeldSlots()
        self._keeping = Keeping(self.held, self._names, own_id, SCRIPT, self._tell)
        self._limits: Limits | None = None
        self._caches = Caches(self._names, self._keeping)
        self._by_terms = self._caches.by_terms
        self.replicas = Replicas(b"%016x" % own_id, self._names, now)
        self.proven = Proven(max_keys)
        self._sharing = Sharing(self.proven, self._names)
        self._overrides = Overrides(self._caches)
        self._overridden = self._overrides.by_key
        self._override_notes = OverrideNotes(self._names, self._overrides, now)
        shared = self._sharing, self._override_notes, self._keeping
        self._session = Session(self._caches, self.replicas, shared, self._names, timeout)
        topology = self._topology_by(dialler, STORE)
        dispatcher = self._dispatcher = Dispatcher(topology, self.replicas, self.figures, timeout, now)
        self._one_place = OnePlace(dispatcher, self._caches, caches_denials=caches_denials)
        self.keys = RedisKeys(dispatcher, self._caches, self._overrides, self._override_notes, self._names)
        self._moves = Moves(self._arrived, self._left)

    # --- every request ---

    def take(self, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        """Nearly every request has a single charge."""
        if self._overridden:
            charges, refusal = self._overrides.apply(charges, self._dispatcher.now_us())
            if refusal is not None:
                return refusal
        if len(charges) != 1:
            return self._take_all(charges, waiter)
        charge = charges[0]
        cache = self._by_terms.get(charge.terms) or self._caches.of(charge.terms)
        dispatcher = self._dispatcher
        if dispatcher.links[charge.key[0] & dispatcher.mask].state == DOWN:
            return decide((cache,), charges, dispatcher.outage())
        if not cache.is_plain:
            return self._take_specially(cache, charges, waiter)
        full_at_us = cache.known.get(charge.key)
        if full_at_us > dispatcher.past_us + cache.ample_us and self._one_place.caches_denials:
            denial = cache.denial(charge, full_at_us, dispatcher.now_us())
            if denial is not None:
                return denial
        dispatcher.add(cache.take, charges, waiter)
        return None

    def _take_specially(
        self, cache: TermsCache, charges: Sequence[Charge], waiter: Waiter
    ) -> Decision | None:
        if cache.leases is not None:
            return self._take_leased(cache.leases, charges, waiter)
        return self._take_all(charges, waiter)

    def _take_leased(self, leases: Leases, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        """What is held goes first; a busy bucket asks for more behind the request's own charge."""
        now_us = self._dispatcher.now_us()
        charge = charges[0]
        decision = leases.spend(charge, now_us)
        if decision is None:
            decision = self._one_place.denial(charges)
        if decision is not None:
            return decision
        self._one_place.ask(charges, waiter)
        if leases.is_wanted(charge.key, now_us):
            self._dispatcher.add(self._caches.of(charge.terms).take_lease, charges, NOBODY)
        return None

    def _take_all(self, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        """Several limits: each may refuse, and in a cluster each may live elsewhere."""
        mask = self._dispatcher.mask
        if len({charge.key[0] & mask for charge in charges}) > 1:
            return CrossSlot(self._one_place, self._keeping, charges, waiter).begin()
        return self._one_place.take(charges, waiter)

    # --- after a request ---

    def give_back(self, charges: Sequence[Charge]) -> None:
        self._one_place.give_back(charges)

    def vacate(self, slots: Sequence[Slot]) -> None:
        self._keeping.vacate(slots)

    def _tell(self, operation: Operation, charges: Sequence[Charge]) -> None:
        if self._dispatcher.is_down(charges):
            operation.without_redis(charges, self._dispatcher.outage())
        else:
            self._dispatcher.add(operation, charges, NOBODY)

    def empty(self, debts: Sequence[Debt]) -> None:
        """Known here at once; in Redis with this tick's batch, or as what it has lost when it is back."""
        for charge, debt in debts:
            cache = self._caches.empty(charge, debt, self._dispatcher.now_us())
            if cache is not None and not self._dispatcher.is_down([charge]):
                self._dispatcher.add(Empty(cache, debt), [charge], NOBODY)

    # --- life ---

    def adopt(self, settings: StoreSettings) -> None:
        """Buckets live on: another place or password is gone over to when it has been reached."""
        self.max_keys = settings.max_keys
        self.timeout = settings.timeout
        self._one_place.caches_denials = settings.denial_cache
        if settings.url.kind != "memory":
            self._go_over_to(Dialler.of(settings))

    def _go_over_to(self, dialler: Dialler) -> None:
        goal = self._moves.next.dialler if self._moves.next is not None else self._dialler
        if goal.is_like(dialler):
            return
        if self._dialler.is_like(dialler):
            self._moves.give_up()
        else:
            self._moves.begin(dialler, self._topology_by(dialler, NEXT))

    def _arrived(self, move: Move) -> Topology:
        """All that is asked from now on goes there. Answers with what is to be left."""
        left = self._dispatcher.topology
        self._dialler = move.dialler
        move.topology.take_over()
        self._dispatcher.use(move.topology)
        self._keeping.doubt_all()
        for link in move.topology.all():
            self._keeping.renew_all(link)  # before anybody asks there
        return left

    def _left(self) -> None:
        """It may have been the same server, where we are no longer counted now: say that we live.

        What it granted at the last moment is not known here.
        """
        self.replicas.forget_all_but([link.name for link in self._dispatcher.topology.all()])
        self._keeping.doubt_all()
        for link in self._dispatcher.topology.all():
            link.beat_now()

    def _topology_by(self, dialler: Dialler, place: str) -> Topology:
        kind = Cluster if dialler.url.kind == "cluster" else Single
        return kind(dialler, self._session, self.figures, self._now, place)

    def configure(self, limits: Limits) -> None:
        """Buckets live in Redis by the limit's name. While it answers, what was known refuses nobody."""
        if self._limits is not None:
            limits.replace(self._limits, self._dispatcher.now_us())
        self._limits = limits
        self._caches.configure(limits, self.max_keys, self._dispatcher.now_us(), is_certain=not self.is_up)
        self.held.configure(limit.name for limit in limits if limit.slots)
        self.proven.most = self.max_keys
        self._sharing.is_wanted = limits.vouches
        self._overrides.reconfigure()
        if self.replicas.count_by(limits.fingerprint):
            for link in self._dispatcher.topology.all():
                link.beat_now()

    async def bring_over(self) -> None:
        while self._caches.bring_over(BROUGHT_KEYS):  # noqa: ASYNC110 - there is nothing to wait for
            await asyncio.sleep(0)

    async def start(self) -> None:
        """Returns when Redis was reached or has failed once; without it, limits are decided here."""
        await self._dispatcher.topology.start()

    async def close(self) -> None:
        self._dispatcher.flush()
        await self._moves.end()
        self._keeping.end(self._dispatcher.now_us())
        await leave(self._dispatcher.topology)

    def sweep(self) -> None:
        self._dispatcher.sweep()
        self._caches.sweep(self._dispatcher.now_us())
        self._overrides.sweep(self._dispatcher.now_us())

    @property
    def timeout(self) -> float:
        """Seconds for a call; may be changed at any time, and counts from the next batch on."""
        return self._dispatcher.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._dispatcher.timeout = self._session.timeout = seconds

    @property
    def is_up(self) -> bool:
        return all(link.state != DOWN for link in self._dispatcher.links)

    def status(self) -> dict[str, object]:
        return {
            "kind": self._dialler.url.kind,
            "url": str(self._dialler.url),
            "up": self.is_up,
            "replicas": self.replicas.count,
            "servers": _servers(self._dispatcher.topology),
            "keys": self._caches.known_keys(),
            "in_flight": dict(self.held.by_limit),
            "proven": len(self.proven),
        } | _next(self._moves.next)


def _next(move: Move | None) -> dict[str, object]:
    """Where the last reload wants to go, and why it is not there yet."""
    if move is None:
        return {}
    return {"next": {"url": str(move.dialler.url), "servers": _servers(move.topology)}}


def _servers(topology: Topology) -> dict[str, object]:
    return {link.name: _link_status(link) for link in topology.all()}


def _link_status(link: Link) -> dict[str, object]:
    return {
        "state": link.state,
        "seconds": round(link.seconds, 3),
        "error": str(link.trouble) if link.trouble is not None else None,
    }
