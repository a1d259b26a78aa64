"""Where a node of a cluster sends a batch: what it names is judged like all that it says."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.addresses import parse_store
from proxy.limiter.dialler import Dialler
from proxy.limiter.redis import RedisStore
from proxy.limiter.topology import NAMED_MAX
from proxy.limiter.trouble import TroubleError
from tests.limiter.asking import charge, limits_of
from tests.support.ports import free_port

LIMITS = limits_of({"name": "per-user", "rate": "100/h"})
(LIMIT,) = LIMITS


@pytest.fixture
async def store() -> Any:
    """Of a cluster that nobody has found."""
    store = RedisStore(Dialler(parse_store(f"redis+cluster://127.0.0.1:{free_port()}")), 0.05)
    store.configure(LIMITS)
    await store.start()
    yield store
    await store.close()


NOWHERE = [
    "MOVED 1 nowhere",
    "MOVED 1 127.0.0.1:0",
    "MOVED 1 127.0.0.1:99999",
    "MOVED 1 127.0.0.1:port",
    "ASK 1 127.0.0.1:-1",
    "ASK 1 \u2028:6379",
    "ASK 1 " + "a" * 300 + ":6379",
]


@pytest.mark.parametrize("error", NOWHERE)
async def test_batch_that_is_sent_nowhere_is_decided_here(store: Any, error: str) -> None:
    """Once, and no link leads there."""
    told: list[Any] = []
    dispatcher = store._dispatcher
    batch = dispatcher._begin(0)
    batch.add(store._caches.take([charge(LIMIT)]), [charge(LIMIT)], _Waiter(told))
    dispatcher.batches.clear()
    dispatcher.rejected(batch, dispatcher.links[0], Exception(error))

    assert [decision.via for decision in told] == ["local"]
    assert not store._dispatcher.topology._known
    assert not dispatcher._pending


async def test_parts_of_a_batch_that_was_sent_twice_are_decided_here(store: Any) -> None:
    """Each once: the link went down while they were on their way from one server to another."""
    told: list[Any] = []
    dispatcher = store._dispatcher
    link = dispatcher.links[0]
    batch = dispatcher._begin(0)
    for _ in range(2):
        batch.add(store._caches.take([charge(LIMIT)]), [charge(LIMIT)], _Waiter(told))
    dispatcher.batches.clear()
    for _ in range(2):
        batch.data(link)
    dispatcher.rejected(batch, link, Exception("TRYAGAIN Multiple keys request during rehashing of slot"))

    assert [decision.via for decision in told] == ["local", "local"]
    assert not dispatcher._pending


async def test_servers_that_a_node_names_are_bounded(store: Any) -> None:
    """A link is a task and a connection that is tried again and again."""
    topology = store._dispatcher.topology
    for number in range(NAMED_MAX):
        topology.at(("127.0.0.1", 10_000 + number))
    with pytest.raises(TroubleError, match="too many"):
        topology.at(("127.0.0.1", 9_999))
    known = topology.at(("127.0.0.1", 10_000))

    assert known.name == "127.0.0.1:10000"
    assert len(topology._known) == NAMED_MAX


class _Waiter:
    def __init__(self, told: list[Any]) -> None:
        self._told = told

    def decided(self, decision: Any) -> None:
        self._told.append(decision)
