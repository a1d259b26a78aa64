"""Work that goes on as long as the store does.

Nothing of it ends unseen: what raises is logged, told, and begun again.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

PAUSE = 1.0  # seconds after a crash

_log = logging.getLogger("weir.store")


async def keep_doing(step: Callable[[], Awaitable[None]], crashed: Callable[[Exception], None]) -> None:
    while True:
        try:
            await step()
        except Exception as error:  # noqa: BLE001 - whatever it is, the next time may fare better
            _log.exception("crashed")
            crashed(error)
            await asyncio.sleep(PAUSE)


async def end(task: asyncio.Task[None]) -> None:
    """Cancels for good: redis-py 8 swallows a cancellation that comes while it connects."""
    while not task.done():
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
