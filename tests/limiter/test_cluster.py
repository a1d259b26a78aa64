"""Redis Cluster: buckets spread over nodes, and what moves, fails and comes back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.limiter.discovery import SLOTS
from tests.limiter.asking import admitted, ask, ask_all, bucket, charge, limits_of, store_at
from tests.support.patience import until
from tests.support.redis_servers import Redis, cluster

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.limiter.redis import RedisStore
    from proxy.policy.decision import Decision
    from proxy.policy.limits import Limit

pytestmark = pytest.mark.real


def url(nodes: list[Redis]) -> str:
    return "redis+cluster://" + ",".join(node.address for node in nodes)


async def test_buckets_of_one_tick_are_decided_on_all_nodes(nodes: list[Redis]) -> None:
    """Each node holds some; each bucket admits its burst and no more."""
    limits = limits_of({"name": "tick", "rate": "2/m"})
    (limit,) = limits
    async with store_at(url(nodes), limits) as store:
        decisions = await ask_all(store, [[charge(limit, n % 60)] for n in range(180)])

        assert admitted(decisions) == 120
        assert {decision.via for decision in decisions} == {"store"}
        assert all([key for key in node.keys() if b":tick:" in key] for node in nodes)


async def test_one_seed_that_answers_is_enough(nodes: list[Redis]) -> None:
    limits = limits_of({"name": "seed", "rate": "1/m"})
    (limit,) = limits
    async with store_at(f"redis+cluster://127.0.0.1:1,{nodes[1].address}", limits) as store:
        assert store.is_up
        assert (await ask(store, charge(limit))).via == "store"


async def test_limits_in_different_slots_are_given_back_when_one_refuses(nodes: list[Redis]) -> None:
    """A bucket that was taken before another node refused is as full as before."""
    limits = limits_of({"name": "wide", "rate": "10/m"}, {"name": "narrow", "rate": "1/h"})
    wide, narrow = limits
    here, there = apart()
    async with store_at(url(nodes), limits, caches_denials=False) as store:
        request = [charge(wide, here), charge(narrow, there)]
        first = await ask(store, *request)
        refused = [await ask(store, *request) for _ in range(5)]
        left = await ask(store, charge(wide, here))

        assert first.is_admitted
        assert [verdict.limit.name for verdict in first.verdicts] == ["wide", "narrow"]
        assert admitted(refused) == 0
        assert [verdict.limit.name for verdict in refused[0].refusals] == ["narrow"]
        assert left.verdicts[0].remaining == 8


@pytest.mark.parametrize("endpoint", ["ip", "unknown-endpoint"])
async def test_slot_that_moved_is_followed(endpoint: str, nodes: list[Redis]) -> None:
    """MOVED: the request is decided by the new owner, and the bucket goes on. Nodes may name no host."""
    limits = limits_of({"name": f"moved-{endpoint}", "rate": "3/h"})
    (limit,) = limits
    for node in nodes:
        node.ask("CONFIG", "SET", "cluster-preferred-endpoint-type", endpoint)
    async with store_at(url(nodes), limits) as store:
        mine = charge(limit, "mover")
        before = await ask(store, mine)
        source, target = owner(nodes, mine.key), owner(nodes, mine.key, other=True)
        move(nodes, source, target, SLOTS[mine.key[0] & 15])
        after = await ask(store, mine)

        assert before.verdicts[0].remaining == 2
        assert (after.via, after.verdicts[0].remaining) == ("store", 1)
        assert store.is_up
        assert {link.name for link in store._dispatcher.topology.all()} == {node.address for node in nodes}
        move(nodes, target, source, SLOTS[mine.key[0] & 15])
    for node in nodes:
        node.ask("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")


async def test_slot_on_the_move_is_asked_where_it_is(nodes: list[Redis]) -> None:
    """ASK and TRYAGAIN: half of the keys are here, half there, and each request finds its own."""
    limits = limits_of({"name": "moving", "rate": "3/h"})
    (limit,) = limits
    async with store_at(url(nodes), limits) as store:
        names = [n for n in range(300) if bucket(n)[0] & 15 == 5][:6]
        await ask_all(store, [[charge(limit, name)] for name in names])
        slot = SLOTS[5]
        source, target = owner(nodes, bucket(names[0])), owner(nodes, bucket(names[0]), other=True)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID").decode())
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID").decode())
        keys = [key for key in source.keys() if b":moving:" in key and b"{5}" in key]
        for key in keys[:3]:
            source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
        decisions = await ask_all(store, [[charge(limit, name)] for name in names])

        assert [decision.verdicts[0].remaining for decision in decisions] == [1] * 6
        assert {decision.via for decision in decisions} == {"store"}
        finish(nodes, source, target, slot)
        move(nodes, target, source, slot)


async def test_node_that_is_down_takes_only_its_own_buckets_along(tmp_path) -> None:
    """Others are decided by Redis; those of the dead node locally, until its replica takes over; then exactly."""
    limits = limits_of({"name": "failover", "rate": "5/h"})
    (limit,) = limits
    with cluster(tmp_path, replicas=1) as nodes:
        hold_off(nodes, "yes")
        async with store_at(url(nodes), limits) as store:
            names = range(40)
            await told(store, limit, names)
            dead = nodes[0]
            lost = [name for name in names if owner(nodes, bucket(name)) is dead]
            dead.kill()
            decisions = await told(store, limit, names)
            still = await told(store, limit, names)
            hold_off(nodes, "no")
            await until(lambda: store.is_up, "the replica has taken over", within=15.0)
            after = await told(store, limit, names)

            assert lost
            assert all(decision.is_admitted for decision in decisions.values())
            assert {still[name].via for name in lost} == {"local"}
            assert {still[name].via for name in names if name not in lost} == {"store"}
            assert {decision.via for decision in after.values()} == {"store"}
            assert {decision.verdicts[0].remaining for decision in after.values()} == {1}


def hold_off(nodes: list[Redis], word: str) -> None:
    """Whether replicas stay what they are, however long their primaries are silent."""
    for node in nodes:
        if node._process is not None:
            node.ask("CONFIG", "SET", "cluster-replica-no-failover", word)


async def told(store: RedisStore, limit: Limit, names: Iterable[int]) -> dict[int, Decision]:
    """What each name's bucket says, all asked in one loop tick."""
    decisions = await ask_all(store, [[charge(limit, name)] for name in names])
    return dict(zip(names, decisions, strict=True))


def apart() -> tuple[int, int]:
    """Names of two buckets in different shards."""
    return 0, next(n for n in range(1, 100) if bucket(n)[0] & 15 != bucket(0)[0] & 15)


def owner(nodes: list[Redis], key: bytes, *, other: bool = False) -> Redis:
    """The node that serves a bucket, or one that does not."""
    slot = SLOTS[key[0] & 15]
    for first, last, primary, *_ in next(node for node in nodes if node._process).ask("CLUSTER", "SLOTS"):
        if first <= slot <= last:
            return next(node for node in nodes if (node.port == primary[1]) is not other)
    raise AssertionError(slot)


def move(nodes: list[Redis], source: Redis, target: Redis, slot: int) -> None:
    target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.ask("CLUSTER", "MYID").decode())
    source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.ask("CLUSTER", "MYID").decode())
    finish(nodes, source, target, slot)


def finish(nodes: list[Redis], source: Redis, target: Redis, slot: int) -> None:
    for key in source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1000):
        source.ask("MIGRATE", "127.0.0.1", target.port, key, 0, 5000)
    new = target.ask("CLUSTER", "MYID").decode()
    for node in (target, source, *nodes):
        node.ask("CLUSTER", "SETSLOT", slot, "NODE", new)
