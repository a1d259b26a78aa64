"""Where a node of a cluster sends a batch: what it names is judged like all that it says."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from proxy.config.addresses import parse_store
from proxy.limiter.dialler import Dialler
from proxy.limiter.dispatcher import SENDS_MAX
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
    dispatcher, link = store._dispatcher, store._dispatcher.links[0]
    dispatcher.rejected(begun(store, told, "ada"), link, Exception(error))

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


async def test_error_that_redirects_nowhere_takes_the_node_down(store: Any) -> None:
    """TRYAGAIN asks for each request on its own: one that is alone has nowhere else to go."""
    told: list[Any] = []
    batch = begun(store, told, "ada")
    store._dispatcher.rejected(batch, store._dispatcher.links[0], Exception("TRYAGAIN multiple keys"))

    assert [decision.via for decision in told] == ["local"]
    assert not store._dispatcher._pending
    assert store.figures.errors


async def test_batch_goes_about_so_often_and_no_more(store: Any) -> None:
    """Nodes may send it to each other for ever; then it is decided here."""
    told: list[Any] = []
    batch = begun(store, told, "ada")
    turns = []
    link = SimpleNamespace(submit=turns.append)
    while not told:
        store._dispatcher.again(batch, link)

    assert len(turns) == SENDS_MAX - 1
    assert [decision.via for decision in told] == ["local"]


async def test_mistake_of_one_waiter_is_not_the_others_where_redis_does_not_answer(
    store: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[Any] = []
    batch = begun(store, told, "ada")
    batch.add(store._caches.take([charge(LIMIT)]), [charge(LIMIT)], None)
    batch.add(store._caches.take([charge(LIMIT)]), [charge(LIMIT)], _Waiter(told))
    store._dispatcher.unanswered(batch)

    assert [decision.via for decision in told] == ["local"] * 2
    assert "crashed" in caplog.text


async def test_requests_that_are_asked_apart_are_in_doubt_as_their_batch_was(store: Any) -> None:
    """It went out, and no answer came; on the next connection it was to be asked in parts.

    So the call of each part says when the batch was sent first: whoever ran that charges nobody twice. For those
    that are not sent any more, Redis may have charged them.
    """
    told: list[Any] = []
    batch = begun(store, told, "ada", "bob")
    batch.data(store._dispatcher.links[0])
    fresh = batch.split()
    batch.data(store._dispatcher.links[0])  # on the next connection
    doubts = [part.doubt for part in batch.split()]
    batch.deadline = 0.0
    store._dispatcher.rejected(batch, store._dispatcher.links[0], Exception("TRYAGAIN multiple keys"))

    assert [part.doubt for part in fresh] == [None, None]
    assert doubts == [batch.doubt] * 2
    assert [decision.via for decision in told] == ["local"] * 2


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


def begun(store: Any, told: list[Any], *users: str) -> Any:
    """A batch of theirs, which nobody has sent."""
    dispatcher = store._dispatcher
    batch = dispatcher._begin(0)
    for user in users:
        charges = [charge(LIMIT, user)]
        batch.add(store._caches.take(charges), charges, _Waiter(told))
    dispatcher.batches.clear()
    return batch


class _Waiter:
    def __init__(self, told: list[Any]) -> None:
        self._told = told

    def decided(self, decision: Any) -> None:
        self._told.append(decision)
