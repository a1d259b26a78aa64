"""What may go wrong with Redis, and what each fault may cost a limit (docs/limits.md)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from tests.simulation.world import Server

REFUSALS = (b"OOM command not allowed when used memory > 'maxmemory'.", b"READONLY You can't write against")


class Injured(Protocol):
    """Who counts what clients may have."""

    def outage(self) -> None:
        """Replicas may decide by themselves for a while, and several do not know of each other."""

    def forgive(self, tokens: float) -> None:
        """Everybody may have had so many more."""

    def set_back(self, seconds: float) -> None:
        """Redis's clock was, by so much: that long nothing may come back."""

    def refilled(self) -> None:
        """Redis has lost what was owed while it could be reached: everybody may have a burst more."""


class RedisFaults:
    def __init__(self, server: Server, random: Random, world: Injured, rate: float) -> None:
        """`rate`: the highest, in tokens a second."""
        self.server = server
        self.random = random
        self._outage, self._forgive, self._refilled = world.outage, world.forgive, world.refilled
        self._set_back = world.set_back
        self._rate = rate
        self.has_doubled = False  # calls or replies: who asks for little may owe more
        self.has_echoed = False
        self.all: list[Callable[[], Awaitable[str]]] = [
            self.cut, self.lose_replies, self.slow, self.freeze, self.restart, self.forget_scripts,
            self.forget_data, self.refuse, self.step, self.double, self.echo, self.fail_over, self.recover,
        ]  # fmt: skip

    async def cut(self) -> str:
        self._outage()
        self.server.cut()
        return "connections cut"

    async def lose_replies(self) -> str:
        """Calls are run and nobody is told; then the connection breaks, perhaps in time for a repetition."""
        self._outage()
        self.server.is_mute = True
        seconds = self.random.choice([0.005, 0.02, 0.2])
        await asyncio.sleep(seconds)
        self.server.cut()
        self.server.is_mute = False
        return f"replies lost for {seconds} s, then connections cut"

    async def slow(self) -> str:
        self._outage()
        self.server.seconds = self.random.choice([0.01, 0.03, 0.2])
        return f"slow: {self.server.seconds} s each way"

    async def freeze(self) -> str:
        self._outage()
        self.server.is_frozen = True
        seconds = self.random.choice([0.03, 0.3, 2.0])
        await asyncio.sleep(seconds)
        if self.server.is_running and self.server.is_frozen:
            self.server.thaw()
        return f"frozen for {seconds} s"

    async def restart(self) -> str:
        self._outage()
        self.server.kill()
        seconds = self.random.choice([0.0, 0.1, 1.5])
        await asyncio.sleep(seconds)
        self.server.is_running = True
        return f"killed, started anew without its data after {seconds} s"

    async def forget_scripts(self) -> str:
        """SCRIPT FLUSH."""
        self.server.model.scripts.clear()
        return "scripts flushed"

    async def forget_data(self) -> str:
        """FLUSHALL, while connections stay."""
        self._refilled()
        self.server.model.forget_data()
        return "data flushed"

    async def refuse(self) -> str:
        self._outage()
        self.server.model.refuses = self.random.choice(REFUSALS)
        return f"writes refused: {self.server.model.refuses.decode()}"

    async def step(self) -> str:
        """Redis's clock; what it is put on fills buckets."""
        seconds = self.random.choice([-1.5, -0.2, 0.2, 1.5])
        self.server.stepped_us += int(seconds * 1e6)
        self._outage()
        self._forgive(max(0.0, seconds) * self._rate)
        self._set_back(max(0.0, -seconds))
        return f"clock stepped by {seconds} s"

    async def double(self) -> str:
        """A proxy in between sends calls twice, and passes on the second answer: what costs a token costs two."""
        self.server.is_doubling = self.has_doubled = True
        seconds = self.random.choice([0.1, 1.0])
        await asyncio.sleep(seconds)
        self.server.is_doubling = False
        return f"calls doubled for {seconds} s"

    async def echo(self) -> str:
        """A proxy in between says replies twice. The second is taken for the next call's, if there is one on its way."""
        self._outage()
        self.server.is_echoing = self.has_echoed = self.has_doubled = True
        seconds = self.random.choice([0.1, 1.0])
        await asyncio.sleep(seconds)
        self.server.is_echoing = False
        return f"replies doubled for {seconds} s"

    async def fail_over(self) -> str:
        """Its replica takes its place, and has not heard of what came last."""
        lag = self.random.choice([0.0, 0.02, 0.2])
        copy = self.server.model.copied()
        await asyncio.sleep(lag)
        self._outage()
        self.server.kill()
        seconds = self.random.choice([0.05, 0.5])
        await asyncio.sleep(seconds)
        self.server.model.become(copy)
        self.server.is_running = True
        return f"failed over {lag} s behind, {seconds} s away"

    async def recover(self) -> str:
        self.server.heal()
        return "healed"
