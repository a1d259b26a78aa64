"""Several servers for the tests: what they answer, and how the pool sees them."""

from __future__ import annotations

import asyncio

from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.ports import free_port

AT_ONCE = {"slow_start": "0s"}


def named(name):
    return answering(answer(200, name))


def dead():
    return f"http://127.0.0.1:{free_port()}"


def states(bench):
    return [told["state"] for told in bench.shared.pool.status()]


async def asked(connect, bench, times, target="/"):
    """So many requests one after the other: the answers."""
    wire = await connect(bench)
    responses = []
    for _ in range(times):
        await wire.send(get(target=target))
        responses.append(await wire.response())
    return responses


class Gate:
    """An origin that answers only when it is let."""

    def __init__(self) -> None:
        self.is_open = asyncio.Event()

    async def __call__(self, visit):
        while await visit.request() is not None:
            await self.is_open.wait()
            await visit.send(answer())
