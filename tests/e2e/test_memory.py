"""Memory is flat under load: the short form of the ten minutes in docs/operations.md."""

from __future__ import annotations

import asyncio

from benchmarks.accounting import memory_bytes
from tests.support.origin import answering
from tests.support.messages import answer, get

CONNECTIONS = 16
ROUND = 250  # requests of each connection
GROWTH_MAX = 3 * 2**20  # 4 000 requests that each left 1 KiB behind would be 4 MiB


async def ask(wire, user):
    """Every request another user, every third one refused later on."""
    for number in range(ROUND):
        await wire.send(get(f"X-Auth-Token: user-{user}-{number % 50}", target=f"/items/{number}"))
        assert (await wire.response()).status in (200, 429)


async def test_memory_is_flat_under_load(start_weir, start_origin, connect):
    """After a warm-up, four thousand requests leave nothing behind."""
    origin = await start_origin(answering(answer(200, b"x" * 500)))
    weir = start_weir({"limits": [{"name": "per-user", "rate": "15/s"}]}, upstream=origin)
    wires = [await connect(weir) for _ in range(CONNECTIONS)]
    sizes = []
    for _ in range(2):
        await asyncio.gather(*(ask(wire, user) for user, wire in enumerate(wires)))
        sizes.append(memory_bytes(weir.pid))

    assert sizes[1] - sizes[0] < GROWTH_MAX
