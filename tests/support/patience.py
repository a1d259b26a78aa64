"""Waiting for something to become true, with a deadline: for what happens in another process.

Deadlines and spans are of the time in which this thread could run: a machine that has more to do than it can gives it
less than there is, and a bound in its place would tell of others' work.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

T = TypeVar("T")
STEP = 0.01  # seconds between two looks


def held_up() -> float:
    """Seconds for which this thread was ready and no processor was free; 0 where the kernel does not count them."""
    try:
        with open("/proc/thread-self/schedstat") as file:
            return int(file.read().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def own_time() -> float:
    """Seconds, monotonic, without those."""
    return time.monotonic() - held_up()


async def until(look: Callable[[], T], what: str = "", *, within: float = 30.0) -> T:
    """The first true value of `look`."""
    deadline = own_time() + within
    while not (seen := look()):
        assert own_time() < deadline, f"never came true within {within} s: {what or look}"
        await asyncio.sleep(STEP)
    return seen


def until_now(look: Callable[[], T], what: str = "", *, within: float = 30.0) -> T:
    """The same for code without a loop."""
    deadline = own_time() + within
    while not (seen := look()):
        assert own_time() < deadline, f"never came true within {within} s: {what or look}"
        time.sleep(STEP)
    return seen


async def closed(server: asyncio.Server) -> None:
    """Closes the server and waits for the end of its connections, as `wait_closed` does from Python 3.12 on."""
    server.close()
    await until(lambda: server._active_count == 0, "the connections are closed")  # type: ignore[attr-defined]  # asyncio tells no other way


class Yardstick:
    """How late the machine is: what a test bounds in time may be as late on top of it.

    On an idle machine that is nothing much. On a busy one a bound alone would tell of others' work.
    """

    def __init__(self) -> None:
        self._late: list[tuple[float, float]] = []

    def late(self, since: float = 0.0, until: float = float("inf")) -> float:
        """The longest delay between these moments of perf_counter, in seconds."""
        return max((late for at, late in self._late if since <= at <= until), default=0.0)

    async def _measure(self) -> None:
        while True:
            due = time.perf_counter() + STEP
            await asyncio.sleep(STEP)
            now = time.perf_counter()
            self._late.append((now, now - due))


@asynccontextmanager
async def yardstick() -> AsyncIterator[Yardstick]:
    measured = Yardstick()
    task = asyncio.create_task(measured._measure())
    try:
        yield measured
    finally:
        task.cancel()
