"""What the tests of stores share: limits, buckets, and asking a store."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from proxy.config.addresses import parse_store
from proxy.config.sections.limits import LimitSettings
from proxy.limiter.batch import SCRIPT
from proxy.limiter.dialler import Dialler
from proxy.limiter.held import HeldSlots
from proxy.limiter.keeping import Keeping
from proxy.limiter.records import Names
from proxy.limiter.redis import RedisStore
from proxy.policy.decision import Charge
from proxy.policy.limits import Limit, compile_limits

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

    from proxy.policy.decision import Decision
    from proxy.policy.limits import Limits


def limits_of(*settings: dict[str, Any]) -> Limits:
    """Limits with a constant key each; the tests bring their own hashes."""
    return compile_limits([LimitSettings(**({"key": ["const"]} | each)) for each in settings], b"secret")


def limit_of(rate: str = "15/s", **settings: Any) -> Limit:
    return next(iter(limits_of({"name": "per-user", "rate": rate} | settings)))


def bucket(name: object) -> bytes:
    """The hash of a partition key."""
    return blake2b(str(name).encode(), digest_size=16).digest()


def charge(limit: Limit, name: object = "ada") -> Charge:
    return Charge(limit.terms, bucket(name))


PATIENCE = 1.0  # seconds for a store where the machine's own pauses are not the subject


def no_slots() -> Keeping:
    """For caches of limits on rates."""
    return Keeping(HeldSlots(), Names("weir"), 1, SCRIPT, lambda *_: None)


class Asker:
    """Waits for one decision."""

    def __init__(self) -> None:
        self.decision: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()

    def decided(self, decision: Decision) -> None:
        self.decision.set_result(decision)  # a second call raises


async def ask(store: Any, *charges: Charge) -> Decision:
    asker = Asker()
    decision = store.take(list(charges), asker)
    return decision if decision is not None else await asyncio.wait_for(asker.decision, 5)


async def ask_all(store: Any, requests: Iterable[Sequence[Charge]]) -> list[Decision]:
    """All in one loop tick."""
    return await asyncio.gather(*(ask(store, *charges) for charges in requests))


def admitted(decisions: Iterable[Decision]) -> int:
    return sum(decision.is_admitted for decision in decisions)


@contextmanager
def impatient(store: RedisStore, seconds: float = 0.1) -> Iterator[None]:
    """While a fault lasts, so that the test need not. Before and after, a busy machine is none."""
    before, store.timeout = store.timeout, seconds
    try:
        yield
    finally:
        store.timeout = before


@asynccontextmanager
async def store_at(
    url: str, limits: Limits, timeout: float = PATIENCE, **options: Any
) -> AsyncIterator[RedisStore]:
    """Started, and closed at the end."""
    ways = {name: options.pop(name) for name in ("tls", "sentinel") if name in options}
    store = RedisStore(Dialler(parse_store(url), **ways), timeout, **options)
    store.configure(limits)
    await store.start()
    try:
        yield store
    finally:
        await store.close()
