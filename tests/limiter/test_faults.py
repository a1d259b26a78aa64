"""Trouble in Redis, a row each: what clients see of it, and that nothing is given away on the way there or back."""

from __future__ import annotations

import asyncio
from time import perf_counter
from typing import TYPE_CHECKING, NamedTuple

import pytest
import uvloop

from tests.limiter.asking import Asker, ask_all, charge, limits_of, store_at
from tests.support.patience import until, yardstick
from tests.support.redis_servers import Relay

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.limiter.redis import RedisStore
    from proxy.policy.decision import Charge
    from tests.support.redis_servers import Redis


class Fault(NamedTuple):
    cause: Callable[[Redis, Relay], object]
    cure: Callable[[Redis, Relay], object]
    reason: str  # in weir_store_errors_total


def nothing(redis: Redis, relay: Relay) -> None:
    """It is over by itself."""


FAULTS = {
    "killed": Fault(lambda redis, _: redis.kill(), lambda redis, _: redis.start(), "connection"),
    "frozen": Fault(lambda redis, _: redis.freeze(), lambda redis, _: redis.thaw(), "timeout"),
    "black hole": Fault(lambda _, relay: relay.hold(), lambda _, relay: relay.release(), "timeout"),
    "slow": Fault(lambda _, relay: slow(relay, 0.2), lambda _, relay: slow(relay, 0.0), "timeout"),
    "out of memory": Fault(
        lambda redis, _: redis.ask("CONFIG", "SET", "maxmemory", 1),
        lambda redis, _: redis.ask("CONFIG", "SET", "maxmemory", 0),
        "out_of_memory",
    ),
    "read-only": Fault(
        lambda redis, _: redis.ask("REPLICAOF", "127.0.0.1", 1),
        lambda redis, _: redis.ask("REPLICAOF", "NO", "ONE"),
        "read_only",
    ),
    "scripts flushed": Fault(lambda redis, _: redis.ask("SCRIPT", "FLUSH"), nothing, "script"),
    "clients killed": Fault(
        lambda redis, _: redis.ask("CLIENT", "KILL", "TYPE", "normal"), nothing, "connection"
    ),
}


def slow(relay: Relay, delay: float) -> None:
    relay.delay = delay


class Client:
    """Asks at a steady pace; remembers when it asked, how long it waited and whether it was admitted."""

    def __init__(self, store: RedisStore, charges: list[Charge], per_second: float) -> None:
        self.asked: list[tuple[float, float, bool]] = []
        self._store = store
        self._charges = charges
        self._pause = 1 / per_second
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        pending: set[asyncio.Task[None]] = set()
        while True:
            task = asyncio.create_task(self._ask())
            pending.add(task)
            task.add_done_callback(pending.discard)
            due += self._pause
            await asyncio.sleep(due - loop.time())

    async def _ask(self) -> None:
        asker = Asker()
        begun = perf_counter()
        decision = self._store.take(self._charges, asker) or await asyncio.wait_for(asker.decision, 5)
        self.asked.append((begun, perf_counter() - begun, decision.is_admitted))

    async def stop(self) -> None:
        await asyncio.sleep(0.1)  # the last answers
        self._task.cancel()

    def admitted(self, since: float = 0.0, until: float = float("inf")) -> int:
        return sum(is_admitted for begun, _, is_admitted in self.asked if since <= begun < until)

    def refused(self, since: float = 0.0, until: float = float("inf")) -> int:
        return sum(not is_admitted for begun, _, is_admitted in self.asked if since <= begun < until)

    def waits(self, since: float, until: float) -> list[float]:
        return sorted(wait for begun, wait, _ in self.asked if since <= begun < until)


@pytest.mark.waits("a fault lasts, and what comes behind it is seen")
@pytest.mark.parametrize("name", FAULTS)
def test_local_limits_cost_clients_nothing(name: str, redis: Redis) -> None:
    """No error, no refusal of who keeps to the limit, no token too many, and Redis counts again within 2 s."""
    uvloop.run(_with_local_limits(name, FAULTS[name], redis))


async def _with_local_limits(name: str, fault: Fault, redis: Redis) -> None:
    limits = limits_of({"name": "per-user", "rate": "15/s"})
    (limit,) = limits
    async with (
        Relay(redis.port) as relay,
        store_at(relay.url, limits, timeout=0.05) as store,
        yardstick() as machine,
    ):
        begun = perf_counter()
        polite = Client(store, [charge(limit, "polite")], 10)
        greedy = Client(store, [charge(limit, "greedy")], 150)
        await asyncio.sleep(0.5)
        caused = perf_counter()
        await asyncio.to_thread(fault.cause, redis, relay)
        await asyncio.sleep(1.3)
        await asyncio.to_thread(fault.cure, redis, relay)
        cured = perf_counter()
        await until(lambda: store.is_up, "the store is up again")
        up = perf_counter()
        await asyncio.sleep(0.7)
        ended = perf_counter()
        await polite.stop()
        await greedy.stop()

        first_second = [wait for client in (polite, greedy) for wait in client.waits(caused, caused + 1)]
        later = [wait for client in (polite, greedy) for wait in client.waits(caused + 1.0, cured)]
        seconds, late = ended - begun, machine.late()
        total = greedy.admitted(until=ended)
        assert polite.refused() == 0
        assert percentile(first_second, 0.99) < 0.06 + 2 * late
        assert percentile(later, 0.95) < 0.002 + late
        assert up - cured < 2.0 + 5 * late
        assert 15 * (seconds - 0.5 - 5 * late) + 15 - 3 <= total <= 15 * seconds + 15 + 1
        assert store.figures.errors.get(fault.reason, 0) >= 1


@pytest.mark.parametrize("name", FAULTS)
def test_other_limits_allow_or_deny(name: str, redis: Redis) -> None:
    """Each in its own way while Redis is away, and both by Redis again within 2 s."""
    uvloop.run(_with_other_limits(FAULTS[name], redis))


async def _with_other_limits(fault: Fault, redis: Redis) -> None:
    limits = limits_of(
        {"name": "allowing", "rate": "1000/h", "on_store_error": "allow"},
        {"name": "denying", "rate": "1000/h", "on_store_error": "deny"},
    )
    allowing, denying = limits
    async with (
        Relay(redis.port) as relay,
        store_at(relay.url, limits, timeout=0.05) as store,
        yardstick() as machine,
    ):
        await asyncio.to_thread(fault.cause, redis, relay)
        begun = perf_counter()
        decisions = []
        while perf_counter() - begun < 0.2:
            decisions += await ask_all(store, [[charge(allowing)], [charge(denying)]])
            await asyncio.sleep(0.01)
        await asyncio.to_thread(fault.cure, redis, relay)
        cured = perf_counter()
        after: set[tuple[bool, str]] = set()
        while after != {(True, "store")}:
            assert perf_counter() - cured < 2.0 + 5 * machine.late(), after
            await asyncio.sleep(0.01)
            answers = await ask_all(store, [[charge(allowing)], [charge(denying)]])
            after = {(decision.is_admitted, decision.via) for decision in answers}

        allowed, denied = decisions[::2], decisions[1::2]
        assert all(decision.is_admitted for decision in allowed)
        assert all(decision.is_admitted == (decision.via == "store") for decision in denied)
        statuses = {decision.fault.status for decision in denied if not decision.is_admitted}
        assert statuses == {503} or (fault.cure is nothing and not statuses), "an outage refuses some"


def percentile(waits: list[float], part: float) -> float:
    ordered = sorted(waits)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]
