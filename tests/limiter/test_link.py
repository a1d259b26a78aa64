"""The way to one server, on a clock that moves: what it does when a connection breaks or stalls while it opens."""

from __future__ import annotations

import asyncio
from random import Random
from typing import TYPE_CHECKING, Any, cast

import pytest

from proxy.config.addresses import parse_store
from proxy.limiter.dialler import Dialler
from proxy.limiter.link import DOWN, UP
from proxy.limiter.redis import RedisStore
from proxy.limiter.trouble import TroubleError
from tests.limiter.asking import ask, charge, limits_of
from tests.simulation.world import TIMEOUT, Replica, Server
from tests.support.patience import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.memory import MemoryLoop

LIMITS = limits_of({"name": "per-user", "rate": "100/h"})
(LIMIT,) = LIMITS
SLOW = 0.02  # seconds of a way to Redis, at most

pytestmark = pytest.mark.moved


@pytest.fixture
async def server() -> Server:
    return Server(cast("MemoryLoop", asyncio.get_running_loop()), Random(1))


@pytest.fixture
async def replica(server: Server) -> AsyncIterator[Replica]:
    replica = Replica(server)
    await replica.start(LIMITS)
    yield replica
    await replica.store.close()


async def opening(server: Server, replica: Replica) -> None:
    """The link is down and has just connected again: what it says first is on its way."""
    server.kill()
    await until(lambda: replica.store._dispatcher.links[0].state is DOWN)
    server.seconds = SLOW
    server.is_running = True
    await until(lambda: server.pipes)


@pytest.mark.parametrize("url", ["redis://redis.test", "redis+cluster://redis.test"])
async def test_store_that_never_started_can_be_closed(url: str) -> None:
    store = RedisStore(Dialler(parse_store(url)), TIMEOUT)
    store.configure(LIMITS)
    await store.close()

    assert not store.is_up


async def test_connection_that_is_lost_while_it_opens_is_tried_again(
    server: Server, replica: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    """What was on its way is not waited for."""
    store = replica.store
    await opening(server, replica)
    server.cut()
    await until(lambda: store._dispatcher.links[0].trouble.reason == "connection", within=TIMEOUT)
    server.heal()
    await until(lambda: store.is_up, within=1.0)

    assert (await ask(store, charge(LIMIT))).via == "store"
    assert "crashed" not in caplog.text


async def test_connection_that_is_lost_under_its_last_answer_is_none(
    server: Server, replica: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All has been said and answered, and the end is there before it is acted on."""
    store = replica.store
    (link,) = store._dispatcher.links
    say_all = link._session.open

    async def lost_at_last(link: Any) -> None:
        await say_all(link)
        monkeypatch.undo()
        link._wire.connection_lost(None)

    monkeypatch.setattr(link._session, "open", lost_at_last)
    server.cut()
    await until(lambda: link.state is DOWN, "it is down", within=1.0)
    reason = link.trouble and link.trouble.reason
    await until(lambda: store.is_up, "it is up again", within=1.0)

    assert reason == "connection"
    assert (await ask(store, charge(LIMIT))).via == "store"


async def test_store_can_be_closed_while_a_link_opens(server: Server, replica: Replica) -> None:
    """Its first words have no answer yet, and nobody waits for it any more."""
    await opening(server, replica)
    await replica.store.close()

    assert not server.pipes
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_request_waits_for_no_new_connection_longer_than_it_may(
    server: Server, replica: Replica
) -> None:
    """The connection broke and the next one stalls: its own words still have their deadline."""
    store: Any = replica.store
    loop = asyncio.get_running_loop()
    server.seconds = SLOW
    server.cut()
    asking = asyncio.create_task(ask(store, charge(LIMIT)))
    begun = loop.time()
    await until(lambda: server.pipes, "it is connected again")
    server.is_mute = True
    decision = await asking
    waited = loop.time() - begun
    store._dispatcher.links[0].trouble = None
    await until(
        lambda: store._dispatcher.links[0].trouble, "the stalled connection is given up", within=2 * TIMEOUT
    )
    server.heal()
    await until(lambda: store._dispatcher.links[0].state is UP, within=2.0)

    assert decision.via == "local"
    assert waited == pytest.approx(TIMEOUT, abs=0.005)


async def test_link_that_never_started_takes_leave_of_nobody() -> None:
    """It has no sign of life to stop, and no connection to say it on."""
    (link,) = RedisStore(Dialler(parse_store("redis://redis.test")), TIMEOUT)._dispatcher.links
    with pytest.raises(TroubleError):
        await link.take_leave()
