"""Sentinel: the master is found, and followed when it changes."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import pytest
import uvloop

from proxy.limiter.trouble import TroubleError
from tests.limiter.asking import charge, limits_of, store_at
from tests.limiter.test_faults import Client, percentile
from tests.support.patience import own_time, until
from tests.support.redis_servers import Relay, watched

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.real


def test_failover_costs_clients_nothing(tmp_path: Path) -> None:
    """The master dies: limits go on locally until the sentinel names another; nothing is given away."""
    uvloop.run(_failover(tmp_path))


async def _failover(tmp_path: Path) -> None:
    limits = limits_of({"name": "per-user", "rate": "15/s"})
    (limit,) = limits
    with watched(tmp_path) as (master, replica, sentinel):
        url = f"redis+sentinel://{sentinel.address}/mymaster"
        async with store_at(url, limits, timeout=0.05) as store:
            begun = perf_counter()
            polite = Client(store, [charge(limit, "polite")], 10)
            greedy = Client(store, [charge(limit, "greedy")], 150)
            await until(lambda: greedy.admitted() > 20)
            killed = perf_counter()
            master.kill()
            await until(lambda: not store.is_up, "the store has noticed")
            await until(lambda: store.is_up, "the sentinel has named another", within=15.0)
            ended = perf_counter()
            await polite.stop()
            await greedy.stop()

            first_second = [wait for client in (polite, greedy) for wait in client.waits(killed, killed + 1)]
            assert polite.refused() == 0
            assert percentile(first_second, 0.99) < 0.06
            assert greedy.admitted(until=ended) <= 15 * (ended - begun) + 15 + 1
            assert [key for key in replica.keys() if b":per-user:" in key]


def test_sentinel_that_swallows_everything_is_passed_over(tmp_path: Path) -> None:
    """It takes all of the time for one try; the next try begins with another."""
    uvloop.run(_passed_over(tmp_path))


async def _passed_over(tmp_path: Path) -> None:
    limits = limits_of({"name": "per-user", "rate": "15/s"})
    with watched(tmp_path) as (_, _, sentinel):
        async with Relay(sentinel.port) as silent:
            silent.hold()
            url = f"redis+sentinel://127.0.0.1:{silent.port},{sentinel.address}/mymaster"
            async with store_at(url, limits, timeout=0.05) as store:
                await until(lambda: store.is_up, "the other sentinel was asked", within=5.0)
                for _ in range(2):  # it is asked first from now on
                    store._dispatcher.topology.links[0].fail(TroubleError("test", "once more"))
                    begun = own_time()
                    await until(lambda: store.is_up, "it is up again", within=5.0)
                    assert own_time() - begun < 0.9
