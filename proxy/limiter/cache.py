"""What requests have to do with buckets in Redis: by the terms of a limit, and of several limits together.

What this process knows of the buckets stands in book.py. A denial is a refusal that is told without asking
Redis: no bucket fills faster than its rate. But another replica may give tokens back, as of a request that no
server could be had for; so a denial of more than `BELIEVED_US` is asked for again after so long. Knows
nothing of connections, and no clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.limiter.book import Book
from proxy.limiter.generations import Generations
from proxy.limiter.leases import Leases
from proxy.limiter.operations import GiveBack, HoldAll, Operation, Take, TakeAll, TakeLease
from proxy.limiter.outage import decide, give_back
from proxy.policy.decision import DENIAL_CACHE, Decision, Verdict
from proxy.policy.slots import SlotVerdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxy.limiter.keeping import Keeping
    from proxy.limiter.outage import Outage
    from proxy.limiter.records import Names, UnansweredCall
    from proxy.policy.decision import Charge
    from proxy.policy.limits import Limit, Limits
    from proxy.policy.terms import Terms

BookName = tuple[str, str, bool]  # of the limit and of the plan; whether new credentials share it

NEVER_US: Final = 1 << 60  # later than any moment
BELIEVED_US: Final = 2_000_000  # as soon as anything else that happens to a bucket elsewhere is known here
SEVERAL_MAX: Final = 4096  # combinations of terms that requests had together


class TermsCache:
    """What is known of one limit's terms, with the operations on its buckets."""

    __slots__ = (
        "_cost",
        "_may_come_back",
        "_room",
        "_scale",
        "_told",
        "ample_us",
        "book",
        "give_back",
        "is_plain",
        "keeping",
        "known",
        "leases",
        "limit",
        "take",
        "take_lease",
        "terms",
    )

    def __init__(self, terms: Terms, book: Book, keeping: Keeping) -> None:
        limit = self.limit = terms.limit
        self.terms = terms
        self.book = book
        self.known = book.known
        self._scale = terms.scale
        self._cost = terms.cost_units
        self._room = terms.ceiling_units
        # Another replica may give tokens back: for a 304, or of a client that waited and left.
        self._may_come_back = limit.is_free_304 or limit.max_wait_us > 0 or limit.before.wait_us > 0
        # This near to full the cost fits, or may.
        self.ample_us = (
            NEVER_US if self._may_come_back else (terms.ceiling_units - terms.cost_units) // terms.scale
        )
        # When a bucket was last told of, where its tokens take longer than a denial is believed.
        is_slow = terms.cost_units > BELIEVED_US * terms.scale
        self._told = Generations(BELIEVED_US / 1e6, 2 * book.known.half) if is_slow else None
        self.leases = Leases(self) if limit.lease > 1 and not terms.is_shadow else None
        self.keeping = keeping if terms.slots else None  # of slots; None where a rate counts
        self.is_plain = self.leases is None and self.keeping is None  # Redis is asked for one bucket's tokens
        self.take = Take(self)
        self.give_back: Operation = GiveBack(self)
        self.take_lease: Operation = TakeLease(self, terms.cost_units * (limit.lease - 1))

    # --- what Redis said ---

    def verdict(self, charge: Charge, answer: int, sent_us: int) -> Verdict:
        """One charge's answer, as take.lua words it."""
        fits = answer >= 0
        debt = answer if fits else ~answer
        if debt <= self.terms.most_units:
            self.known.put(charge.key, sent_us + debt // self._scale)
            if self._told is not None:
                self._told.put(charge.key, sent_us)
        else:  # it is another config's, or nobody's, and may be forgotten any moment
            debt = self.terms.most_units
        return Verdict(charge, fits, debt)

    def note(self, key: bytes, now_us: int) -> None:
        """What is known of a bucket now is believed for a while."""
        if self._told is not None:
            self._told.put(key, now_us)

    def _is_doubtful(self, key: bytes, now_us: int) -> bool:
        """So much time has passed that tokens may have been given back elsewhere."""
        return self._told is not None and self._told.get(key) + BELIEVED_US <= now_us

    def denial(self, charge: Charge, full_at_us: int, now_us: int) -> Decision | None:
        """The refusal, if the cost cannot fit yet.

        `OnePlace.denial` written out for one bucket: the limiter's share of a refusal is 0.7 us in place of
        1.2 (docs/decisions/0009-what-a-take-costs.md).
        """
        debt = (full_at_us - now_us) * self._scale
        if debt + self._cost <= self._room or self.terms.is_shadow or self._is_doubtful(charge.key, now_us):
            return None
        return Decision(False, [Verdict(charge, False, debt)], DENIAL_CACHE)  # noqa: FBT003 - is_admitted

    def known_verdict(self, charge: Charge, now_us: int) -> Verdict:
        """What Redis would say, as far as it is known; a refusal is certain."""
        if self.keeping is not None:
            under_way = self.keeping.held.count(self.terms.name, charge.key)
            return SlotVerdict(charge, under_way, fits=under_way < self.terms.slots)
        debt = max((self.known.get(charge.key) - now_us) * self._scale, 0)
        fits = debt + self._cost <= self._room or self._may_come_back or self._is_doubtful(charge.key, now_us)
        return Verdict(charge, fits, debt)

    def sweep(self, now_us: int) -> None:
        if self._told is not None:
            self._told.sweep(now_us)
        if self.leases is not None:
            self.leases.sweep(now_us)

    # --- without Redis ---

    def fits_locally(self, debt: int, replicas: int) -> bool:
        terms, cost = self.terms, self._cost * replicas
        room = max(terms.burst_units, cost)  # at least one request at a time
        return debt + cost <= room + terms.ceiling_units - terms.burst_units

    def doubt(self, key: bytes, attempt: UnansweredCall) -> None:
        self.book.doubt(key, self._cost, attempt)

    def take_locally(self, key: bytes, debt: int, now_us: int, replicas: int) -> int:
        """The debt afterwards."""
        debt += self._cost * replicas
        self.book.put_locally(key, debt, now_us)
        return debt

    def give_back_locally(self, key: bytes, now_us: int, replicas: int) -> None:
        book = self.book
        book.put_locally(key, book.local_debt(key, now_us) - self._cost * replicas, now_us)


class Caches:
    """Those of all limits. There may be thousands of terms, so a cache is made when it is first asked for."""

    __slots__ = (
        "_books",
        "_by_limit",
        "_keeping",
        "_limits",
        "_max_keys",
        "_names",
        "_several",
        "by_terms",
        "configured",
    )

    def __init__(self, names: Names, keeping: Keeping) -> None:
        self._names = names
        self._keeping = keeping
        self._max_keys = 1
        self.configured = 0  # times
        self._limits: dict[Limit, None] = {}
        self._books: dict[BookName, Book] = {}  # one for each rate of a limit
        self.by_terms: dict[Terms, TermsCache] = {}  # always the same dict: hot code holds on to it
        self._by_limit: dict[str, dict[Terms, TermsCache]] = {}  # the same, by the limits' names
        self._several: dict[tuple[Terms, ...], TakeAll] = {}

    def configure(self, limits: Limits, max_keys: int, now_us: int, *, is_certain: bool) -> None:
        """Buckets live in Redis by the limit's name. What is known goes along: `Book.inherit`."""
        before, self._books = self._books, {}
        self.configured += 1
        self._max_keys = max_keys
        self._limits = dict.fromkeys(limits)
        self._several.clear()
        self.by_terms.clear()
        self._by_limit.clear()
        named = {_name(terms): terms for limit in limits for terms in limit}
        kept = {limit.name for limit in limits}
        for name, old in before.items():
            # Also of grants, which are learnt again, and of plans that are gone.
            if name[0] in kept and any(old.unsettled_tables()):
                book = self._books[name] = Book(named.get(name, old.terms), self._names, max_keys)
                book.inherit(old, now_us, is_certain=is_certain)

    def _book(self, terms: Terms) -> Book:
        name = _name(terms)
        book = self._books.get(name)
        if book is None:
            book = self._books[name] = Book(terms, self._names, self._max_keys)
        return book

    def bring_over(self, most: int) -> int:
        """Some more of what a reload has left in the books of before: `Book.bring_over`."""
        brought = 0
        for book in self._books.values():
            brought += book.bring_over(most - brought)
            if brought >= most:
                break
        return brought

    @property
    def books(self) -> list[Book]:
        return [*self._books.values()]

    def named_books(self) -> list[tuple[BookName, Book]]:
        return [*self._books.items()]

    def book(self, name: BookName) -> Book | None:
        """None if a reload has taken it away meanwhile."""
        return self._books.get(name)

    def of(self, terms: Terms) -> TermsCache:
        """The cache of these terms, also if a reload took the limit away while a request went about."""
        known = self.by_terms.get(terms)
        if known is not None:
            return known
        if terms.limit in self._limits:
            return self._made(terms)
        return TermsCache(terms, Book(terms, self._names, self._max_keys), self._keeping)

    def _made(self, terms: Terms) -> TermsCache:
        cache = self.by_terms[terms] = TermsCache(terms, self._book(terms), self._keeping)
        self._by_limit.setdefault(terms.name, {})[terms] = cache
        return cache

    def take(self, charges: Sequence[Charge]) -> Operation:
        """What takes from all these buckets at once."""
        if len(charges) == 1 and not charges[0].terms.slots:
            return self.of(charges[0].terms).take
        several = tuple([charge.terms for charge in charges])
        take = self._several.get(several)
        if take is None:
            if any(terms.slots for terms in several):
                return HoldAll([self.of(terms) for terms in several], charges, self._keeping)
            if len(self._several) >= SEVERAL_MAX:
                self._several.clear()
            take = self._several[several] = TakeAll([self.of(terms) for terms in several])
        return take

    def known_verdicts(self, charges: Sequence[Charge], now_us: int) -> list[Verdict]:
        return [self.of(charge.terms).known_verdict(charge, now_us) for charge in charges]

    def decide_locally(self, charges: Sequence[Charge], outage: Outage) -> Decision:
        return decide([self.of(charge.terms) for charge in charges], charges, outage)

    def give_back_locally(self, charges: Sequence[Charge], outage: Outage) -> None:
        give_back([self.of(charge.terms) for charge in charges], charges, outage)

    def forget(self, limit: str, key: bytes) -> None:
        """The buckets of a limit of this name, or one of them, are full again."""
        for cache in self._of_limit(limit):
            cache.book.forget(key)
            if cache.leases is not None:
                cache.leases.forget(key)

    def learn_terms(self, terms: Terms) -> None:
        """Those of a grant, when a request is charged by them."""

    def unlearn_terms(self, terms: Terms) -> None:
        if self.by_terms.pop(terms, None) is not None:
            del self._by_limit[terms.name][terms]
            self._books.pop(_name(terms), None)
            self._several.clear()

    def doubt_key(self, limit: str, key: bytes) -> None:
        """It refilled at another rate than was thought: Redis is to be asked."""
        for cache in self._of_limit(limit):
            cache.book.doubt_known(key)

    def empty(self, charge: Charge, debt: int, now_us: int) -> TermsCache | None:
        """Known here at once. None if a reload has taken the limit away meanwhile."""
        if charge.terms.limit not in self._limits:
            return None
        cache = self.of(charge.terms)
        cache.book.empty(charge.key, debt, now_us)
        cache.note(charge.key, now_us)
        if cache.limit.lease > 1:
            self._forget_leases(charge)
        return cache

    def _of_limit(self, name: str) -> list[TermsCache]:
        return [*self._by_limit.get(name, {}).values()]

    def _forget_leases(self, charge: Charge) -> None:
        for cache in self._of_limit(charge.limit.name):
            if cache.leases is not None:
                cache.leases.forget(charge.key)

    def sweep(self, now_us: int) -> None:
        for book in self.books:
            book.sweep(now_us)
        for cache in self:
            cache.sweep(now_us)

    def known_keys(self) -> dict[str, int]:
        """How many there are, by the limits' names."""
        counts = {limit.name: 0 for limit in self._limits}
        for book in self.books:
            counts[book.terms.name] += len(book.known)
        return counts

    def __iter__(self) -> Iterator[TermsCache]:
        return iter(self.by_terms.values())


def _name(terms: Terms) -> BookName:
    return terms.name, terms.plan, terms.is_newcomer
