"""What Redis is told on its return, on a clock that moves: also of what is spent while it is being told."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest

from proxy.limiter.settling import ROUND_KEYS, TURN_KEYS, settle_spent
from proxy.policy.decision import Charge
from tests.limiter.asking import bucket, limits_of
from tests.simulation.redis_model import ReplyError
from tests.simulation.world import Replica, Server
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from proxy.policy.limits import Limits
    from tests.support.memory import MemoryLoop

ONE = {"name": "one", "rate": "9/h"}
OTHER = {"name": "other", "rate": "9/h"}
LIMITS = limits_of(ONE, OTHER)

pytestmark = pytest.mark.moved


@pytest.fixture
async def server() -> Server:
    return Server(cast("MemoryLoop", asyncio.get_running_loop()), Random(1))


@pytest.fixture
async def store(server: Server) -> AsyncIterator[Any]:
    """Without Redis, which can come back."""
    replica = Replica(server)
    await replica.start(LIMITS)
    server.kill()
    await until(lambda: not replica.store.is_up)
    yield replica.store
    await replica.store.close()


def spend(store: Any, count: int, limits: Limits = LIMITS, *, first: int = 0) -> None:
    """A token of each of so many buckets of each limit."""
    for limit in limits:
        for number in range(first, first + count):
            store.take([Charge(limit.terms, bucket(number))], None)


async def comes_back(server: Server) -> None:
    """Redis is asked again, and has heard a part of what it is told."""
    server.seconds = 0.02
    server.is_running = True
    await until(server.model.buckets)


async def test_what_is_spent_while_redis_is_told_is_told_too(store: Any, server: Server) -> None:
    """Before requests go to it, but for the last few."""
    spend(store, ROUND_KEYS)
    await comes_back(server)
    count = ROUND_KEYS
    for more in (ROUND_KEYS, 10):
        spend(store, more, first=count)
        count += more
        await asyncio.sleep(0.03)
    while not store.is_up:
        spend(store, 1, first=count)
        count += 1
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.1)

    assert len(server.model.buckets()) == 2 * count
    assert store.is_up


async def test_limit_that_a_reload_takes_away_meanwhile_is_not_told_of(store: Any, server: Server) -> None:
    spend(store, 2 * ROUND_KEYS)
    await comes_back(server)
    store.configure(limits_of(ONE))
    await until(lambda: store.is_up, within=5.0)
    buckets = server.model.buckets()

    assert len([name for name in buckets if b":one:" in name]) == 2 * ROUND_KEYS
    assert not [name for name in buckets if b":other:" in name]


async def test_reload_while_buckets_are_looked_through_hides_none(store: Any) -> None:
    """They come over into new books meanwhile: those of before are empty then."""
    spend(store, TURN_KEYS)
    link, told = store._dispatcher.links[0], b""

    async def ask(data: Callable[[Any], bytes]) -> list[int]:
        nonlocal told
        told += data(link)
        return [0, 1]

    link.ask = ask
    telling = asyncio.create_task(settle_spent(link, store._caches, store.replicas))
    await asyncio.sleep(0)
    store.configure(limits_of(ONE, OTHER))
    await store.bring_over()
    await telling

    assert told.count(b":one:") == told.count(b":other:") == TURN_KEYS


@pytest.mark.parametrize("reply", [ReplyError("READONLY You can't write"), [1], b"OK"], ids=str)
async def test_server_that_does_not_settle_the_last_of_them_is_down(
    reply: object, store: Any, server: Server
) -> None:
    """Its answer comes when requests may be asked already."""
    link = store._dispatcher.links[0]
    post, last = link.post, []

    def watched(message: Any) -> None:
        post(message)
        if hasattr(message, "_buckets"):
            last.append(message)

    link.post = watched
    spend(store, ROUND_KEYS)
    await comes_back(server)
    spend(store, 10, first=ROUND_KEYS)
    await until(lambda: store.is_up, within=5.0)
    assert last
    last[0].replied(reply, link)

    assert not store.is_up
    await until(lambda: store.is_up, "it is tried again", within=5.0)
