"""One coarse clock for every deadline: a sweep over the open connections instead of a timer per request.

A connection says what happens at its deadline; the sweep only compares. A deadline is met late by at most
one interval; many that are met together take turns.
"""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

from proxy.background import in_turns

if TYPE_CHECKING:
    from collections.abc import Callable

NEVER: Final = inf


class Sweepable(Protocol):
    deadline: float

    def expire(self) -> None: ...


class Sweeper:
    """Keeps `now` (seconds, monotonic, as old as the last sweep at most) and expires what is overdue."""

    def __init__(self, interval: float, tasks: tuple[Callable[[float], None], ...] = ()) -> None:
        self.now = 0.0
        self.interval = interval  # seconds
        self._tasks = tasks  # what else happens at every sweep
        self._members: dict[Sweepable, None] = {}  # in the order in which they came
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        self._tick()

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def add(self, member: Sweepable) -> None:
        self._members[member] = None

    def discard(self, member: Sweepable) -> None:
        self._members.pop(member, None)

    def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(self.interval, self._tick)
        self.sweep(loop.time())

    def sweep(self, now: float) -> None:
        """Expires what is overdue at `now`."""
        self.now = now
        in_turns([member for member in self._members if member.deadline <= now], self._expire)
        in_turns(self._tasks, lambda task: task(now))

    def _expire(self, member: Sweepable) -> None:
        """If nothing has come in between."""
        if member.deadline <= self.now and member in self._members:
            member.expire()
