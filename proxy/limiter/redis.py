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

from proxy.limiter import resets
from proxy.limiter.batch import SCRIPT
from proxy.limiter.cache import Caches
from proxy.limiter.cross_slot import CrossSlot
from proxy.limiter.dialler import Dialler
from proxy.limiter.dispatcher import Dispatcher
from proxy.limiter.held import HeldSlots
from proxy.limiter.keeping import Keeping
from proxy.limiter.link import DOWN, NEXT, STORE, UP
from proxy.limiter.moves import Moves, leave
from proxy.limiter.operations import Empty
from proxy.limiter.outage import Outage, decide
from proxy.limiter.override_notes import SHARD, OverrideNotes
from proxy.limiter.overrides import Overrides
from proxy.limiter.proven import Proven, Sharing
from proxy.limiter.records import Names, debt_in, pack_note, shard_of
from proxy.limiter.replicas import Replicas
from proxy.limiter.replies import numbers, server_time
from proxy.limiter.scripts import CALL_KEYS, command
from proxy.limiter.session import Session
from proxy.limiter.store import NOBODY, UnreachableError
from proxy.limiter.topology import Cluster, Single
from proxy.limiter.trouble import FOREIGN_KEY, TroubleError
from proxy.policy.decision import DENIAL_CACHE, Decision
from proxy.telemetry.metrics import StoreFigures

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from proxy.config.sections.store import StoreSettings
    from proxy.limiter.cache import TermsCache
    from proxy.limiter.leases import Leases
    from proxy.limiter.link import Link
    from proxy.limiter.moves import Move
    from proxy.limiter.operations import Operation
    from proxy.limiter.overrides import Override, Place
    from proxy.limiter.store import Waiter
    from proxy.limiter.topology import Topology
    from proxy.policy.decision import Charge, Verdict
    from proxy.policy.limits import Limit, Limits
    from proxy.policy.slots import Slot
    from proxy.policy.terms import Terms
    from proxy.policy.upstream_429 import Debt

MAX_KEYS = 100_000  # of each limit, known and spent here each
BROUGHT_KEYS = 500  # in a turn: 2 ms


class RedisStore:
    """`caches_denials` may be changed at any time."""

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
        self.caches_denials = caches_denials
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
        self._topology = self._topology_by(dialler, STORE)
        self._links, self._mask = self._topology.links, self._topology.mask
        self._dispatcher = Dispatcher(self._topology, self.replicas, self.figures, timeout, now)
        self._batches = self._dispatcher.batches
        self._moves = Moves(self._arrived, self._left)

    # --- every request ---

    def take(self, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        """`Dispatcher.add`, written out for a single charge: nearly every request has one."""
        if self._overridden:
            charges, refusal = self._overrides.apply(charges, self._now_us())
            if refusal is not None:
                return refusal
        if len(charges) != 1:
            return self._take_all(charges, waiter)
        charge = charges[0]
        cache = self._by_terms.get(charge.terms) or self._caches.of(charge.terms)
        key = charge.key
        place = key[0] & self._mask
        if self._links[place].state == DOWN:
            return decide((cache,), charges, self._outage())
        if not cache.is_plain:
            return self._take_specially(cache, charges, waiter)
        full_at_us = cache.known.get(key)
        if full_at_us > self._dispatcher.past_us + cache.ample_us and self.caches_denials:
            denial = cache.denial(charge, full_at_us, self._now_us())
            if denial is not None:
                return denial
        batch = self._batches.get(place)
        if batch is None or len(batch.keys) >= CALL_KEYS:
            batch = self._dispatcher.begin(place)
        batch.take(cache, charges, waiter)
        if batch.is_hasty:
            self._dispatcher.send(batch, place)
        return None

    def _take_specially(
        self, cache: TermsCache, charges: Sequence[Charge], waiter: Waiter
    ) -> Decision | None:
        if cache.leases is not None:
            return self._take_leased(cache.leases, charges, waiter)
        return self._take_all(charges, waiter)

    def _take_leased(self, leases: Leases, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        """What is held goes first; a busy bucket asks for more behind the request's own charge."""
        now_us = self._now_us()
        charge = charges[0]
        decision = leases.spend(charge, now_us)
        if decision is None:
            decision = self.denial(charges)
        if decision is not None:
            return decision
        self.ask(charges, waiter)
        if leases.is_wanted(charge.key, now_us):
            self._dispatcher.add(self._caches.of(charge.terms).take_lease, charges, NOBODY)
        return None

    def _take_all(self, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        """Several limits: each may refuse, and in a cluster each may live elsewhere."""
        if len({charge.key[0] & self._mask for charge in charges}) > 1:
            return CrossSlot(self, charges, waiter).begin()
        if self.is_down(charges):
            return self.decide_locally(charges)
        denial = self.denial(charges)
        if denial is not None:
            return denial
        self.ask(charges, waiter)
        return None

    # --- a request whose buckets live in one place, or a part of one ---

    def denial(self, charges: Sequence[Charge]) -> Decision | None:
        """The refusal of a limit that is known to refuse; the others are told as they are known."""
        if not self.caches_denials:
            return None
        verdicts = self._caches.known_verdicts(charges, self._now_us())
        for verdict in verdicts:
            if not verdict.is_admitted and not verdict.terms.is_shadow:
                return Decision(False, verdicts, DENIAL_CACHE)  # noqa: FBT003 - is_admitted
        return None

    def known_refusals(self, charges: Sequence[Charge]) -> list[Verdict]:
        """They are certain; of the others nothing is known."""
        verdicts = self._caches.known_verdicts(charges, self._now_us())
        return [verdict for verdict in verdicts if verdict.is_refusal]

    def ask(self, charges: Sequence[Charge], waiter: Waiter) -> None:
        """Into this tick's batch."""
        self._dispatcher.add(self._caches.take(charges), charges, waiter)

    def is_down(self, charges: Sequence[Charge]) -> bool:
        return self._dispatcher.is_down(charges)

    def decide_locally(self, charges: Sequence[Charge]) -> Decision:
        return self._caches.decide_locally(charges, self._outage())

    def give_back_locally(self, charges: Sequence[Charge]) -> None:
        self._caches.give_back_locally(charges, self._outage())

    # --- after a request ---

    def give_back(self, charges: Sequence[Charge]) -> None:
        """One by one, since nobody waits and each is free to fail."""
        for charge in charges:
            if not self.is_down([charge]):
                self._dispatcher.add(self._caches.of(charge.terms).give_back, [charge], NOBODY)

    def vacate(self, slots: Sequence[Slot]) -> None:
        self._keeping.vacate(slots)

    def _tell(self, operation: Operation, charges: Sequence[Charge]) -> None:
        if self.is_down(charges):
            operation.without_redis(charges, self._outage())
        else:
            self._dispatcher.add(operation, charges, NOBODY)

    def empty(self, debts: Sequence[Debt]) -> None:
        """Known here at once; in Redis with this tick's batch, or as what it has lost when it is back."""
        for charge, debt in debts:
            cache = self._caches.empty(charge, debt, self._now_us())
            if cache is not None and not self.is_down([charge]):
                self._dispatcher.add(Empty(cache, debt), [charge], NOBODY)

    # --- life ---

    def adopt(self, settings: StoreSettings) -> None:
        """Buckets live on: another place or password is gone over to when it has been reached."""
        self.max_keys = settings.max_keys
        self.timeout = settings.timeout
        self.caches_denials = settings.denial_cache
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
        left, self._topology = self._topology, move.topology
        self._dialler = move.dialler
        self._topology.take_over()
        self._dispatcher.use(self._topology)
        self._keeping.doubt_all()
        for link in self._topology.all():
            self._keeping.renew_all(link)  # before anybody asks there
        self._links, self._mask = self._topology.links, self._topology.mask
        return left

    def _left(self) -> None:
        """It may have been the same server, where we are no longer counted now: say that we live.

        What it granted at the last moment is not known here.
        """
        self.replicas.forget_all_but([link.name for link in self._topology.all()])
        self._keeping.doubt_all()
        for link in self._topology.all():
            link.beat_now()

    def _topology_by(self, dialler: Dialler, place: str) -> Topology:
        kind = Cluster if dialler.url.kind == "cluster" else Single
        return kind(dialler, self._session, self.figures, self._now, place)

    def configure(self, limits: Limits) -> None:
        """Buckets live in Redis by the limit's name. While it answers, what was known refuses nobody."""
        if self._limits is not None:
            limits.replace(self._limits, self._now_us())
        self._limits = limits
        self._caches.configure(limits, self.max_keys, self._now_us(), is_certain=not self.is_up)
        self.held.configure(limit.name for limit in limits if limit.slots)
        self.proven.most = self.max_keys
        self._sharing.is_wanted = limits.vouches
        self._overrides.reconfigure()
        if self.replicas.count_by(limits.fingerprint):
            for link in self._topology.all():
                link.beat_now()

    async def bring_over(self) -> None:
        while self._caches.bring_over(BROUGHT_KEYS):  # noqa: ASYNC110 - there is nothing to wait for
            await asyncio.sleep(0)

    async def reset(self, limit: Limit, key: bytes) -> int:
        """Here at once, by other replicas within a beat."""
        links = [self._links[shard_of(key) & self._mask]] if key else self._topology.all()
        count = 0
        try:
            for link in links:
                count += await self._reset_at(link, limit.name, key)
        except TroubleError as trouble:
            raise UnreachableError(str(trouble)) from None
        return count

    async def _reset_at(self, link: Link, limit: str, key: bytes) -> int:
        _assert_up(link)
        if key:
            count = await resets.delete(link, [self._names.bucket(limit, shard_of(key), key)])
        else:
            count = await resets.reset_all(link, self._names, limit)
        await resets.tell(link, self._names.resets(link.shards[0]), pack_note(limit, key))
        self._caches.forget(limit, key)
        return count

    async def debt(self, terms: Terms, key: bytes) -> int:
        link = self._links[shard_of(key) & self._mask]
        try:
            _assert_up(link)
            moment = await link.ask_for(command(b"TIME"))
            record = await self._record(link, self._names.bucket(terms.name, shard_of(key), key))
            return debt_in(record, terms, server_time(moment, link.name))
        except TroubleError as trouble:
            raise UnreachableError(str(trouble)) from None

    async def _record(self, link: Link, name: bytes) -> object:
        """What is kept under a bucket's name; None if it is another type's. Raises TroubleError."""
        try:
            return await link.ask_for(command(b"GET", name))
        except TroubleError as trouble:
            if trouble.reason != FOREIGN_KEY:
                raise
        self.figures.count_error(FOREIGN_KEY)
        return None

    async def under_way(self, limit: Limit, key: bytes) -> int:
        link = self._links[shard_of(key) & self._mask]
        name = self._names.slots(limit.name, shard_of(key), key)
        try:
            _assert_up(link)
            now_us = server_time(await link.ask_for(command(b"TIME")), link.name)
            await link.ask_for(command(b"ZREMRANGEBYSCORE", name, b"-inf", b"%d" % now_us))
            (count,) = numbers([await link.ask_for(command(b"ZCARD", name))], 1, link.name)
        except TroubleError as trouble:
            if trouble.reason == FOREIGN_KEY:  # it counts as absent
                return 0
            raise UnreachableError(str(trouble)) from None
        return max(count, 0)

    # --- overrides ---

    def override(self, place: Place) -> tuple[Override, float] | None:
        now_us = self._now_us()
        found = self._overrides.find(*place, now_us)
        return (found, (found.until_us - now_us) / 1e6) if found is not None else None

    async def put_override(self, place: Place, override: Override, seconds: float) -> None:
        try:
            await self._override_notes.put(self._override_link(), place, override, int(seconds * 1e6))
        except TroubleError as trouble:
            raise UnreachableError(str(trouble)) from None

    async def release(self, place: Place) -> bool:
        try:
            return await self._override_notes.release(self._override_link(), place)
        except TroubleError as trouble:
            raise UnreachableError(str(trouble)) from None

    def _override_link(self) -> Link:
        link = self._links[SHARD & self._mask]
        _assert_up(link)
        return link

    # --- life ---

    async def start(self) -> None:
        """Returns when Redis was reached or has failed once; without it, limits are decided here."""
        await self._topology.start()

    async def close(self) -> None:
        self._dispatcher.flush()
        await self._moves.end()
        self._keeping.end(self._now_us())
        await leave(self._topology)

    def sweep(self) -> None:
        self._dispatcher.sweep()
        self._caches.sweep(self._now_us())
        self._overrides.sweep(self._now_us())

    @property
    def timeout(self) -> float:
        """Seconds for a call; may be changed at any time, and counts from the next batch on."""
        return self._dispatcher.timeout

    @timeout.setter
    def timeout(self, seconds: float) -> None:
        self._dispatcher.timeout = self._session.timeout = seconds

    @property
    def is_up(self) -> bool:
        return all(link.state != DOWN for link in self._links)

    def _now_us(self) -> int:
        return int(self._now() * 1e6)

    def _outage(self) -> Outage:
        return Outage(self._now_us(), self.replicas.count)

    def status(self) -> dict[str, object]:
        return {
            "kind": self._dialler.url.kind,
            "url": str(self._dialler.url),
            "up": self.is_up,
            "replicas": self.replicas.count,
            "servers": _servers(self._topology),
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


def _assert_up(link: Link) -> None:
    """Raises TroubleError."""
    if link.state != UP:
        raise link.trouble or TroubleError("connection", f"store.url: {link.name} is not connected")


def _link_status(link: Link) -> dict[str, object]:
    return {
        "state": link.state,
        "seconds": round(link.seconds, 3),
        "error": str(link.trouble) if link.trouble is not None else None,
    }
