"""Where a store's buckets live: a cluster that is not found is looked for again, and again, whatever goes wrong."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.config.addresses import parse_store
from proxy.limiter.dialler import Dialler
from proxy.limiter.redis import RedisStore
from proxy.limiter.trouble import TroubleError
from tests.limiter.asking import limits_of

LIMITS = limits_of({"name": "per-user", "rate": "100/h"})

pytestmark = pytest.mark.moved


def store_of(url: str, *errors: Exception) -> Any:
    """Whose servers are asked for its slots in vain, for these reasons; the last stays."""
    left = list(errors)

    class Lost(Dialler):
        async def primaries(self, seeds: Any) -> Any:
            raise left.pop(0) if len(left) > 1 else left[0]

    store = RedisStore(Lost(parse_store(url)), 0.05)
    store.configure(LIMITS)
    return store


async def test_cluster_is_looked_for_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    """Five times a second: what it says the second time is no news."""
    store = store_of("redis+cluster://redis.test", *[TroubleError("timeout", "it is away")] * 2)
    await store.start()
    await asyncio.sleep(2)
    first = [record.message for record in caplog.records]
    await store.close()

    assert first == ["cluster not found"]
    assert store.figures.errors == {"timeout": 1}


async def test_crash_while_a_cluster_is_looked_for_is_told_and_it_is_looked_for_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = store_of("redis+cluster://redis.test", ZeroDivisionError("oh"), TroubleError("timeout", "away"))
    await store.start()
    await asyncio.sleep(0.5)
    crashed = dict(store.figures.errors)
    await asyncio.sleep(2)
    await store.close()

    assert "ZeroDivisionError" in caplog.text
    assert crashed == {"internal": 1}
    assert store.figures.errors == {"internal": 1, "timeout": 1}


def test_one_server_is_every_address() -> None:
    """Nobody redirects from it."""
    topology = RedisStore(Dialler(parse_store("redis://redis.test")), 0.05)._dispatcher.topology

    assert topology.at(("elsewhere", 1)) is topology.links[0]
    assert topology.host_of(topology.links[0]) == topology.links[0].name
