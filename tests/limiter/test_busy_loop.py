"""A process that is busy, by a loop whose turns are long: whoever waits for Redis waits no longer for that."""

from __future__ import annotations

import asyncio
import time
from contextlib import contextmanager
from select import select
from typing import TYPE_CHECKING, Any

import pytest

from tests.limiter.asking import ask, charge, impatient, limits_of, store_at
from tests.support.patience import own_time

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.redis_servers import Redis, Relay

TIMEOUT = 0.2
LIMITS = limits_of({"name": "per-user", "rate": "100/h"})
(LIMIT,) = LIMITS


@contextmanager
def turns_of(seconds: float) -> Iterator[None]:
    """Each turn of the loop takes as long, and the next one follows at once."""
    loop = asyncio.get_running_loop()

    is_over = False

    def work() -> None:
        if not is_over:
            time.sleep(seconds)
            loop.call_soon(work)

    work()
    try:
        yield
    finally:
        is_over = True


@pytest.mark.parametrize("turn", [0.008, 0.02])
async def test_silent_redis_is_given_up_in_time_however_long_the_turns_are(
    turn: float, redis: Redis, relay: Relay
) -> None:
    """Each of them makes the timer late, which is no reason to wait for another reply again and again."""
    async with store_at(relay.url, LIMITS) as store:
        await ask(store, charge(LIMIT, "warm"))
        with impatient(store, TIMEOUT), turns_of(turn):
            relay.lie = lambda _: []
            begun = own_time()
            decision = await ask(store, charge(LIMIT))
            seconds = own_time() - begun

        assert (decision.is_admitted, decision.via) == (True, "local")
        assert seconds < TIMEOUT + 0.3
        assert store.figures.errors == {"timeout": 1}


async def test_answer_that_waited_for_a_busy_process_is_decided_here(redis: Redis) -> None:
    """Redis found it late and took nothing: it is decided here, and not only Redis is to blame."""
    async with store_at(redis.url, LIMITS) as store:
        await ask(store, charge(LIMIT, "warm"))
        link: Any = store._dispatcher.links[0]
        with impatient(store, TIMEOUT):
            redis.freeze()
            asked = asyncio.create_task(ask(store, charge(LIMIT)))
            while not link._wire.calls:
                await asyncio.sleep(0)
            time.sleep(TIMEOUT + 0.05)
            redis.thaw()
            answered, _, _ = select([link._wire._transport.get_extra_info("socket")], [], [], 10.0)
            decision = await asked

        assert answered
        assert (decision.is_admitted, decision.via) == (True, "local")
        assert store.figures.errors == {"late": 1}
