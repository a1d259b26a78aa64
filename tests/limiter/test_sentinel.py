"""Sentinel: the master is found, and followed when it changes."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

import pytest
import uvloop

from tests.limiter.asking import charge, limits_of, store_at
from tests.limiter.test_faults import Client, percentile
from tests.support.patience import until
from tests.support.redis_servers import watched

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
