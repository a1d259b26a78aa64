"""Work beside requests: what goes on for as long as the process does, and what comes all at once.

Nothing of it ends unseen: what raises is logged and begun again. Nothing of it keeps others waiting: what is
much is done in turns. Knows nothing of what is done.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, TypeVar

from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

Item = TypeVar("Item")

PAUSE: Final = 1.0  # seconds after a crash
AT_ONCE: Final = 64  # connections that are ended or answered in a turn: 5 ms, if each writes a line

_log = logging.getLogger("weir.background")


def _ignore(_: Exception) -> None:
    """Its line in the log is enough."""


async def keep_doing(
    log: logging.Logger,
    step: Callable[[], Awaitable[None]],
    crashed: Callable[[Exception], None] = _ignore,
) -> None:
    """The step, again and again; one that raises costs a line of `log` and a pause."""
    while True:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next time may fare better
            event(log, logging.ERROR, "crashed", error=error)
            crashed(error)
            await asyncio.sleep(PAUSE)


async def end(task: asyncio.Task[None]) -> None:
    """Cancels for good: redis-py 8 swallows a cancellation that comes while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.05)


def _done() -> None:
    """Nobody waits for the last one."""


def in_turns(items: Sequence[Item], act: Callable[[Item], None], then: Callable[[], None] = _done) -> None:
    """Acts on each, on the first of them now, with others' turns in between; `act` sees whether there is
    still need. A mistake over one of them is told, and keeps neither the others nor `then` from their turns.
    """
    rest = items[AT_ONCE:]
    if rest:
        asyncio.get_running_loop().call_soon(in_turns, rest, act, then)
    for item in items[:AT_ONCE]:
        try:
            act(item)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is not the others'
            event(_log, logging.ERROR, "crashed", error=error)
    if not rest:
        then()
