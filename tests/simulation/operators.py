"""What operators do to a client while all else goes on: they fill its bucket up, or block it for a while."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from proxy.limiter.overrides import Override
from proxy.limiter.store import UnreachableError
from proxy.policy.decision import BLOCK

if TYPE_CHECKING:
    from tests.simulation.simulation import Simulation

BEAT = 1.1  # in which all replicas hear of it
BLOCKED_SECONDS = 2.0


class Operators:
    def __init__(self, world: Simulation) -> None:
        self._world = world
        self.all = [self.reset, self.block]

    async def reset(self) -> str:
        """Who asks next passes, if all is calm and others have not had it all meanwhile."""
        world = self._world
        client, replica = world.random.choice(world.clients), world.random.choice(world.replicas)
        before, was_calm = client.admitted, world.calm.lasts()
        client.account.grace += 2 * client.account.burst  # once more, if Redis goes away before the next beat
        own, _ = world.limits
        try:
            await replica.store.keys.reset(own, client.key)
        except UnreachableError:
            return f"no reset of {client}"
        others = sum(each.client is client for each in world.undecided) + client.admitted - before
        request = world.ask(client, replica)
        while request.decision is None:
            await asyncio.sleep(0.001)
        has_room = (others + 1) * world.extra.cost <= world.rates[world.config][1]
        is_blocked = request.decision.via == BLOCK
        if was_calm and world.calm.lasts() and has_room and not (is_blocked or world.extra.is_leased):
            world.check(holds=request.fits, what=f"{client} was refused right after a reset")
        return f"reset of {client}"

    async def block(self) -> str:
        """Everywhere, a beat later."""
        world = self._world
        client, replica = world.random.choice(world.clients), world.random.choice(world.replicas)
        own, _ = world.limits
        now = world.loop.time()
        client.was_blocked = True
        try:
            await replica.store.keys.put_override((own.name, client.key), Override(0), BLOCKED_SECONDS)
        except UnreachableError:
            return f"no block of {client}"
        client.blocked_from, client.blocked_until = now + BEAT, now + BLOCKED_SECONDS
        return f"block of {client}"
