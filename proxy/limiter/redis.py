"""Buckets in Redis, shared by all replicas: the requests of a loop tick go out together and are decided
by one script.

Who may pass is known at once if Redis has refused the bucket and no token can have returned since, or if
Redis is down; then each limit decides in its own way (outage.py). Going back to Redis, buckets are
settled first, so that neither way gives anything away. Refusals and outages are explained in
docs/limits.md.
"""

from __future__ import annotations

import asyncio
import secrets
from bisect import bisect_left
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from proxy.limiter import outage, resets
from proxy.limiter.batch import NOBODY, TAKE, Batch, rehearsal
from proxy.limiter.books import KEY_BYTES, LAST_SHARD, Book, Shape
from proxy.limiter.emptying import Emptying
from proxy.limiter.fleet import Cluster, Lone
from proxy.limiter.link import DOWN, UP
from proxy.limiter.memory import monotonic_us
from proxy.limiter.redirects import redirected
from proxy.limiter.replicas import Replicas
from proxy.limiter.resp import CALL_KEYS
from proxy.limiter.servers import Dialler, TlsFiles
from proxy.limiter.settling import Places, settle
from proxy.limiter.spread import Spread
from proxy.limiter.store import ResetError
from proxy.limiter.trouble import TroubleError, reply_trouble
from proxy.policy.decision import DENIAL_CACHE, Decision
from proxy.telemetry.metrics import StoreFigures

if TYPE_CHECKING:
    from collections.abc import Sequence

    from proxy.config.addresses import StoreUrl
    from proxy.limiter.fleet import Fleet
    from proxy.limiter.leases import Leases
    from proxy.limiter.link import Link
    from proxy.limiter.store import Waiter
    from proxy.policy.decision import Charge
    from proxy.policy.limits import Limit, Limits
    from proxy.policy.upstream_429 import Debt

MAX_KEYS = 100_000  # of each limit, known and spent here each
SENDS_MAX = 5  # of one batch: the first, and what redirections and a forgotten script make of it


class RedisStore:
    """`timeout` (seconds) may be changed at any time; it counts from the next batch on."""

    def __init__(  # noqa: PLR0913 - the settings of a store
        self,
        url: StoreUrl,
        timeout: float,
        *,
        max_keys: int = MAX_KEYS,
        caches_denials: bool = True,
        tls: TlsFiles | None = None,
        figures: StoreFigures | None = None,
    ) -> None:
        self.timeout = timeout
        self.caches_denials = caches_denials
        self.figures = figures or StoreFigures()
        self.replicas = Replicas(secrets.token_hex(8).encode())
        self._url = url
        self.max_keys = max_keys
        self._books: dict[Limit, Book] = {}
        self._shapes: dict[tuple[Limit, ...], Shape] = {}
        dialler = Dialler(url, tls or TlsFiles())
        self._fleet: Fleet = Cluster(dialler, self) if url.kind == "cluster" else Lone(dialler, self)
        self._links = self._fleet.links
        self._mask = self._fleet.mask
        self._open: dict[int, Batch] = {}  # the batches of this tick, by shard & mask
        self._full: list[tuple[int, Batch]] = []
        self._past_us = 0  # a moment not long ago: spares the clock where nothing is to be denied

    # --- every request ---

    def take(self, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        if len(charges) != 1:
            return self._take_all(charges, waiter)
        charge = charges[0]
        book = self._books[charge.limit]
        key = charge.key
        place = key[0] & self._mask
        if self._links[place].state is DOWN:
            return outage.decide((book,), charges, monotonic_us(), self.replicas.count)
        if book.leases is not None:
            return self._take_leased(book.leases, charges, waiter)
        full_at_us = book.known.get(key)
        if full_at_us > self._past_us + book.ample_us and self.caches_denials:
            denial = book.denial(full_at_us, monotonic_us())
            if denial is not None:
                return denial
        batch = self._open.get(place)
        if batch is None or len(batch.keys) >= CALL_KEYS:
            batch = self._begin(place)
        batch.add_one(book, charges, waiter)
        return None

    def _take_leased(self, leases: Leases, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        """What is held goes first; a busy bucket asks for more behind the request's own charge."""
        now_us = monotonic_us()
        key = charges[0].key
        decision = leases.spend(key, now_us)
        if decision is None:
            decision = self.denial(charges)
        if decision is not None:
            return decision
        self.enqueue(charges, waiter)
        if leases.is_wanted(key, now_us):
            self._room(key, 1).add(leases, charges, NOBODY, leases.columns)
        return None

    def _take_all(self, charges: Sequence[Charge], waiter: Waiter) -> Decision | None:
        """Several limits: each may refuse, and in a cluster each may live elsewhere."""
        places = {charge.key[0] & self._mask for charge in charges}
        if len(places) > 1:
            return Spread(self, charges, waiter).begin()
        if self._links[min(places)].state is DOWN:
            return self.decide_locally(charges)
        denial = self.denial(charges)
        if denial is not None:
            return denial
        self.enqueue(charges, waiter)
        return None

    def denial(self, charges: Sequence[Charge]) -> Decision | None:
        """The refusal of a limit that is known to refuse; the others are told as they are known."""
        if not self.caches_denials:
            return None
        now_us = monotonic_us()
        verdicts = [self._book(charge.limit).known_verdict(charge.key, now_us) for charge in charges]
        for verdict in verdicts:
            if not verdict.is_admitted and not verdict.limit.is_shadow:
                return Decision(False, verdicts, DENIAL_CACHE)  # noqa: FBT003 - is_admitted
        return None

    def enqueue(self, charges: Sequence[Charge], waiter: Waiter, *, back: bool = False) -> None:
        """Into this tick's batch; all charges live in the same place. `back` gives tokens back instead."""
        batch = self._room(charges[0].key, len(charges))
        shape = self._shape(charges)
        batch.add(shape, charges, waiter, shape.refund_columns if back else shape.columns)

    def give_back(self, charges: Sequence[Charge]) -> None:
        for charge in charges:
            if not self.is_down([charge]):
                self.enqueue([charge], NOBODY, back=True)

    def empty(self, debts: Sequence[Debt]) -> None:
        """Known here at once; in Redis with this tick's batch, or as what it has lost when it is back."""
        for charge, debt in debts:
            book = self._books.get(charge.limit)  # a reload may have taken it away meanwhile
            if book is None:
                continue
            book.empty(charge.key, debt, monotonic_us())
            if not self.is_down([charge]):
                emptying = Emptying(book, debt)
                self._room(charge.key, 1).add(emptying, [charge], NOBODY, emptying.columns)

    def _room(self, key: bytes, width: int) -> Batch:
        """This tick's batch for a bucket and so many charges."""
        place = key[0] & self._mask
        batch = self._open.get(place)
        if batch is None or len(batch.keys) + width > CALL_KEYS:
            batch = self._begin(place)
        return batch

    def _shape(self, charges: Sequence[Charge]) -> Book | Shape:
        if len(charges) == 1:
            return self._book(charges[0].limit)
        limits = tuple([charge.limit for charge in charges])
        shape = self._shapes.get(limits)
        if shape is None:
            shape = self._shapes[limits] = Shape([self._book(limit) for limit in limits])
        return shape

    def _book(self, limit: Limit) -> Book:
        """Also of a limit that a reload has taken away while a request was on its way from place to place."""
        return self._books.get(limit) or Book(limit, self.max_keys)

    def _begin(self, place: int) -> Batch:
        if not self._open and not self._full:
            asyncio.get_running_loop().call_soon(self._flush)
        elif place in self._open:
            self._full.append((place, self._open[place]))
        batch = self._open[place] = Batch(self, monotonic() + self.timeout)
        return batch

    def _flush(self) -> None:
        full, self._full = self._full, []
        batches, self._open = self._open, {}
        for place, batch in full:
            self._links[place].submit(batch)
        for place, batch in batches.items():
            self._links[place].submit(batch)

    # --- what becomes of a batch ---

    def answered(self, batch: Batch, received_us: int, seconds: float) -> None:
        """`observe`, written out: a batch of one pays for all of it."""
        self._past_us = received_us
        sizes, durations, size = self.figures.batch_size, self.figures.seconds, len(batch.keys)
        sizes.counts[bisect_left(sizes.bounds, size)] += 1
        sizes.total += size
        durations.counts[bisect_left(durations.bounds, seconds)] += 1
        durations.total += seconds

    def unanswered(self, batch: Batch) -> None:
        for shape, charges, waiter in batch.requests:
            if waiter is NOBODY:  # nothing is given back, the bucket refills all the same; no lease
                continue
            waiter.decided(outage.decide(shape.books, charges, monotonic_us(), self.replicas.count))

    def again(self, batch: Batch, link: Link) -> None:
        """On this link, if there is time left and it has not been about too often."""
        batch.sends += 1
        if batch.sends > SENDS_MAX or monotonic() >= batch.deadline:
            self.unanswered(batch)
        else:
            link.submit(batch)

    def rejected(self, batch: Batch, link: Link, error: Exception) -> None:
        word = str(error).partition(" ")[0]
        if word == "NOSCRIPT":
            self.count_error("script")
            batch.by_source = True
            self.again(batch, link)
        elif self._mask and (redirections := redirected(batch, link, str(error), self._fleet)):
            for part, target in redirections:
                self.again(part, target)
        else:
            link.fail(reply_trouble(error, link.name))
            self.unanswered(batch)

    def decide_locally(self, charges: Sequence[Charge]) -> Decision:
        books = [self._book(charge.limit) for charge in charges]
        return outage.decide(books, charges, monotonic_us(), self.replicas.count)

    def give_back_locally(self, charges: Sequence[Charge]) -> None:
        books = [self._book(charge.limit) for charge in charges]
        outage.give_back(books, charges, monotonic_us(), self.replicas.count)

    def is_down(self, charges: Sequence[Charge]) -> bool:
        """Where these charges, which live in the same place, would go."""
        return self._links[charges[0].key[0] & self._mask].state is DOWN

    # --- a link's owner ---

    async def introduce(self, link: Link) -> None:
        """Says who we are, so that the server must write; leaves the script there and tries it; settles."""
        shards = self._fleet.shards_of(link)
        if shards:  # else it has been named by ASK, and owns none yet
            self._forget(await self.replicas.announce(link, shards[0]))
        await link.ask(lambda _: TAKE.full_call([], b""))
        if shards:
            await link.ask(lambda link: rehearsal(link, shards[0]))
        await settle(link, list(self._books.values()), Places(shards, self._mask), self.replicas.count)

    async def beat(self, link: Link) -> None:
        shards = self._fleet.shards_of(link)
        if shards:
            self._forget(await self.replicas.announce(link, shards[0]))

    def count_error(self, reason: str) -> None:
        errors = self.figures.errors
        errors[reason] = errors.get(reason, 0) + 1
        self._fleet.look_around()

    # --- life ---

    def configure(self, limits: Limits) -> None:
        """Buckets live in Redis by the limit's name. What is cached goes, unless it is all there is."""
        before = {} if self.is_up else {book.limit.name: book for book in self._books.values()}
        self._books = {}
        for limit in limits:
            book = self._books[limit] = Book(limit, self.max_keys)
            if limit.name in before:
                book.inherit(before[limit.name])
        self._shapes = {}

    async def reset(self, limit: Limit, key: bytes) -> int:
        """Here at once, by other replicas within a beat."""
        links = {self._links[key[0] & self._mask]} if key else set(self._links)
        count = 0
        try:
            for link in links:
                count += await self._reset_at(link, limit.name, key)
        except TroubleError as trouble:
            raise ResetError(str(trouble)) from None
        return count

    async def _reset_at(self, link: Link, limit: str, key: bytes) -> int:
        if link.state != UP:
            raise link.trouble or TroubleError("connection", f"store.url: {link.name} is not connected")
        shards = self._fleet.shards_of(link)
        if key:
            names = [resets.bucket_name(limit, key[0] & LAST_SHARD, key)]
        else:
            names = await resets.find(link, limit, KEY_BYTES)
        count = await resets.empty(link, names, one_by_one=self._mask != 0)
        await resets.tell(link, shards[0], resets.note(limit, key))
        self._forget([resets.note(limit, key)])
        return count

    def _forget(self, notes: Sequence[bytes]) -> None:
        for limit, key in map(resets.read_note, notes):
            for book in self._books.values():
                if book.limit.name == limit:
                    book.forget(key)

    async def start(self) -> None:
        """Returns when Redis was reached or has failed once; without it, limits are decided here."""
        await self._fleet.start()

    async def close(self) -> None:
        for link in self._fleet.all():
            shards = self._fleet.shards_of(link)
            if link.state is UP and shards:
                with suppress(TroubleError):
                    await self.replicas.withdraw(link, shards[0])
        await self._fleet.close()

    def sweep(self) -> None:
        now_us = monotonic_us()
        for book in self._books.values():
            book.sweep(now_us)

    @property
    def is_up(self) -> bool:
        return all(link.state is not DOWN for link in self._links)

    def status(self) -> dict[str, object]:
        return {
            "kind": self._url.kind,
            "url": str(self._url),
            "up": self.is_up,
            "replicas": self.replicas.count,
            "servers": {link.name: _link_status(link) for link in self._fleet.all()},
            "keys": {book.limit.name: len(book.known) for book in self._books.values()},
        }


def _link_status(link: Link) -> dict[str, object]:
    return {
        "state": link.state,
        "seconds": round(link.seconds, 3),
        "error": str(link.trouble) if link.trouble is not None else None,
    }
