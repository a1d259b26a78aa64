"""Work beside requests: it goes on whatever befalls it, nobody fails to hear of it, and nobody waits for it."""

from __future__ import annotations

import asyncio
import logging

from proxy import background
from proxy.background import AT_ONCE, in_turns, keep_doing

LOG = logging.getLogger("weir.test_background")


async def test_step_that_raises_is_told_and_done_again(caplog, monkeypatch):
    """After a pause; whoever has to know is told too."""
    monkeypatch.setattr(background, "PAUSE", 0.01)
    steps, crashes = [], []

    async def step():
        steps.append(len(steps))
        await asyncio.sleep(0)
        if len(steps) < 4:
            raise ZeroDivisionError

    working = asyncio.create_task(keep_doing(LOG, step, crashes.append))
    async with asyncio.timeout(5):
        while len(steps) < 6:
            await asyncio.sleep(0.001)
    working.cancel()

    assert [type(crash) for crash in crashes] == [ZeroDivisionError] * 3
    assert caplog.messages == ["crashed"] * 3
    assert "ZeroDivisionError" in caplog.text


async def test_many_are_acted_on_in_turns_and_in_order():
    """The first of them at once."""
    seen, ended = [], []
    in_turns(list(range(3 * AT_ONCE + 1)), seen.append, lambda: ended.append(len(seen)))
    turns = [len(seen)]
    while not ended:
        await asyncio.sleep(0)
        turns.append(len(seen))

    assert seen == list(range(3 * AT_ONCE + 1))
    assert turns == [AT_ONCE, 2 * AT_ONCE, 3 * AT_ONCE, 3 * AT_ONCE + 1]
    assert ended == [3 * AT_ONCE + 1]


async def test_nothing_to_do_is_done_at_once():
    ended = []
    in_turns([], ended.append, lambda: ended.append("then"))

    assert ended == ["then"]


async def test_mistake_over_one_of_many_is_told_and_not_the_others(caplog):
    """Whoever waits for the last one is told as well."""
    seen, ended = [], []

    def act(item):
        if item == 3:
            raise ZeroDivisionError
        seen.append(item)

    in_turns(list(range(2 * AT_ONCE)), act, lambda: ended.append(len(seen)))
    await asyncio.sleep(0)

    assert seen == [*range(3), *range(4, 2 * AT_ONCE)]
    assert ended == [2 * AT_ONCE - 1]
    assert caplog.messages == ["crashed"]
