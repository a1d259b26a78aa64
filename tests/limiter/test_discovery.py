"""Where a cluster's shards and a group's master are said to be: answers that name nothing, too little or too much."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.config.addresses import parse_store
from proxy.limiter.dialler import Dialler
from proxy.limiter.discovery import SLOTS
from proxy.limiter.trouble import TroubleError
from tests.support.redis_servers import Redis, Relay, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.real

LAST = 16383
HERE = b"*3\r\n$9\r\n127.0.0.1\r\n:%d\r\n$2\r\nid\r\n"


@pytest.fixture
async def relay(shared_redis: Redis) -> AsyncIterator[Relay]:
    async with Relay(shared_redis.port) as relay:
        yield relay


def slots(*ranges: tuple[int, int]) -> bytes:
    """As CLUSTER SLOTS is answered: each with a primary of its own."""
    told = [b"*3\r\n:%d\r\n:%d\r\n" % each + HERE % (7000 + at) for at, each in enumerate(ranges)]
    return b"*%d\r\n" % len(told) + b"".join(told)


async def primaries(relay: Relay, answer: bytes) -> list[int]:
    """The port of each shard's primary, by a server that answers so in place of its refusal."""
    relay.lie = lambda data: [answer if b"cluster support disabled" in data else data]
    dialler = Dialler(parse_store(relay.url.replace("redis:", "redis+cluster:")))
    found = await dialler.primaries([("127.0.0.1", relay.port)])
    return [port for _, port in found]


async def test_ranges_without_any_of_our_shards_are_passed_over(relay: Relay) -> None:
    """There are nodes that hold nothing of ours: no link leads to them."""
    first, last = min(SLOTS), max(SLOTS)

    assert await primaries(relay, slots((0, first - 1), (first, last), (last + 1, LAST))) == [7001] * 16


async def test_slot_of_two_primaries_is_no_answer(relay: Relay) -> None:
    with pytest.raises(TroubleError, match="does not answer as Redis does"):
        await primaries(relay, slots((0, LAST), (SLOTS[3], SLOTS[3])))


async def test_cluster_that_does_not_cover_all_shards_is_told(relay: Relay) -> None:
    with pytest.raises(TroubleError, match="does not cover all slots"):
        await primaries(relay, slots((0, SLOTS[3] - 1), (SLOTS[3] + 1, LAST)))


async def test_user_who_may_not_ask_for_slots_is_told(shared_redis: Redis) -> None:
    with shared_redis.client() as client:
        client.execute_command("ACL", "SETUSER", "few", "on", ">pw", "allkeys", "+@all", "-cluster")
        dialler = Dialler(parse_store(f"redis+cluster://few:pw@{shared_redis.address}"))
        with pytest.raises(TroubleError, match=f"{shared_redis.address} does not let the user"):
            await dialler.primaries([("127.0.0.1", shared_redis.port)])
        client.execute_command("ACL", "DELUSER", "few")


async def test_sentinel_that_knows_no_such_group_is_told(tmp_path: Path) -> None:
    server = Redis(tmp_path, sentinel=True)
    with running(server):
        dialler = Dialler(parse_store(f"redis+sentinel://{server.address}/nobody"))
        with pytest.raises(TroubleError, match=f"{server.address} knows no master of nobody"):
            await dialler.master()
