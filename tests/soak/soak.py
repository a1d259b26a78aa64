"""The soak: starts what is needed, lets it all happen, and judges what was seen."""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass, field
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.soak.crowd import People, hostile
from tests.support.patience import own_time, until
from tests.support.ports import free_port
from tests.support.programs import RedisServer
from tests.support.weir import ROOT, Weir

if TYPE_CHECKING:
    from collections.abc import Callable

FORGIVEN_SECONDS = 1.0  # after the end of a server
MEMORY_BYTES = 16 * 1024 * 1024  # growth that is none: buffers of what is under way differ by so much
DESCRIPTORS = 64  # more of them is growth: clients and servers under way differ by so many
FORGIVEN_MAX = 12  # requests for each end of a server: as many as it can have been answering
ANSWERS = {
    "get 200",
    "post 201",
    "pieces 200",
    "boom 500",
    "large 200",
    "slow 200",
    "tunnel 101",
    "limited 200",
    "limited 429",
}
LONGER_SECONDS = 60.0  # that it goes on on a busy machine, until everything has happened once
WAIT_SECONDS = 0.02  # for an innocent client; on a machine that others use too, nearly always


@dataclass
class Plan:
    seconds: float
    clients: int = (
        6  # with the hostile ones about one core of work: more would measure how busy the machine is
    )
    hostiles: int = 4
    every: float = (
        10.0  # seconds between two restarts of a server; reloads and deaths of Redis follow from it
    )
    share_in_time: float = 0.99  # of an innocent client's requests


@dataclass
class Verdict:
    faults: list[str] = field(default_factory=list)
    told: dict[str, object] = field(default_factory=dict)


class Soak:
    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan = plan
        self.ports = [free_port(), free_port()]
        self.services: list[subprocess.Popen[bytes]] = []
        self.redis = RedisServer(folder, free_port())
        self.weir = Weir(folder)
        self._ended_at = -FORGIVEN_SECONDS  # of the last server to end; while it does, later than any moment
        self._was_killed = False
        self._counts: dict[str, int] = {"restarts": 0, "kills": 0, "reloads": 0, "outages": 0}
        self._is_over = False

    async def run(self) -> Verdict:
        self.redis.start()
        self.services = [_program("service", port) for port in self.ports]
        try:
            await until(lambda: all(map(_answers, self.ports)), "both servers answer")
            self._write(burst=2)
            await asyncio.to_thread(self.weir.start)
            return await self._watch()
        finally:
            with contextlib.suppress(AttributeError):
                await asyncio.to_thread(self.weir.stop)
            for service in self.services:
                service.kill()
                service.wait()
            self.redis.stop()

    async def _watch(self) -> Verdict:
        people = People(self.weir.port, self._is_forgiven)
        asking = [people.client(number) for number in range(self.plan.clients)]
        asking += [people.refused()]
        evil = [
            hostile(self.weir.port, lambda: self._is_over, number) for number in range(self.plan.hostiles)
        ]
        evil += [hostile(self.weir.admin_port, lambda: self._is_over, 99)]
        tasks = [asyncio.create_task(each) for each in (*asking, *evil)]
        innocent = _program("innocent", self.weir.port)
        happening = [asyncio.create_task(each) for each in (self._restart(), self._reload(), self._outages())]
        await asyncio.sleep(self.plan.seconds / 5)
        before = self._sizes()
        await asyncio.sleep(self.plan.seconds * 4 / 5)
        with contextlib.suppress(AssertionError):  # what never happens is told by the verdict
            await until(lambda: not self._missing(people), within=LONGER_SECONDS)
        after = self._sizes()
        innocent.terminate()
        told, _ = await asyncio.to_thread(innocent.communicate)
        await self._end(people, tasks, happening)
        return await self._judge(people, json.loads(told), before, after)

    async def _end(
        self, people: People, tasks: list[asyncio.Task[None]], happening: list[asyncio.Task[None]]
    ) -> None:
        for task in happening:
            task.cancel()
        await asyncio.gather(*happening, return_exceptions=True)
        people.is_over = self._is_over = True
        await asyncio.wait_for(asyncio.gather(*tasks), 60)

    # --- what happens meanwhile ---

    async def _restart(self) -> None:
        """One server after the other: the second goes while Weir still leaves out the first."""
        for number, is_kill in cycle(((0, False), (1, True), (0, False), (1, False))):
            await asyncio.sleep(self.plan.every * 0.7)
            service = self.services[number]
            self._ended_at, self._was_killed = math.inf, is_kill
            service.send_signal(signal.SIGKILL if is_kill else signal.SIGTERM)
            await asyncio.to_thread(service.wait)
            self._ended_at = own_time()
            self._counts["kills" if is_kill else "restarts"] += 1
            await asyncio.sleep(min(1.0, self.plan.every * 0.3))
            self.services[number] = _program("service", self.ports[number])
            await until(partial(_answers, self.ports[number]), "the server is back")

    async def _reload(self) -> None:
        for burst in cycle((3, 2)):
            await asyncio.sleep(self.plan.every / 3)
            self._write(burst)
            self.weir.signal(signal.SIGHUP)
            self._counts["reloads"] += 1

    async def _outages(self) -> None:
        while True:
            await asyncio.sleep(self.plan.every * 0.9)
            await asyncio.to_thread(self.redis.stop)
            await asyncio.sleep(min(2.0, self.plan.every / 3))
            await asyncio.to_thread(self.redis.start)
            self._counts["outages"] += 1

    def _is_forgiven(self, kind: str) -> bool:
        """Killed, a server breaks what it was answering. One that ends well closes connections at rest, and a POST may be
        on its way on one of them: nobody may send it again."""
        is_recent = own_time() - self._ended_at < FORGIVEN_SECONDS
        return is_recent and (self._was_killed or kind == "post")

    def _write(self, burst: int) -> None:
        """Beside it first: who reads the file meanwhile finds it whole."""
        path, self.weir.config = self.weir.config, self.weir.config.with_suffix(".new")
        self.weir.write_config(
            {
                "upstream": {"servers": [f"http://127.0.0.1:{port}" for port in self.ports]},
                "store": {"url": self.redis.url},
                "downstream": {"timeouts": {"head": "2s", "body": "2s", "idle": "20s"}},
                "contract": {"known_paths": ["/api/**", "/*"]},
                "limits": [
                    {"name": "greedy", "key": ["header:X-Auth-Token"], "rate": "1/s", "burst": burst}
                    | {"match": {"paths": ["/limited"]}},
                    {"name": "all", "key": ["header:X-Auth-Token"], "rate": "100000/s"},
                ],
            }
        )
        self.weir.config = self.weir.config.replace(path)

    # --- what it came to ---

    def _sizes(self) -> tuple[int, int]:
        """Memory and descriptors of Weir."""
        pages = int(Path(f"/proc/{self.weir.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE"), len(os.listdir(f"/proc/{self.weir.pid}/fd"))

    async def _judge(
        self, people: People, innocent: dict[str, Any], before: tuple[int, int], after: tuple[int, int]
    ) -> Verdict:
        verdict = Verdict(faults=people.wrong[:20])
        claim = _claims(verdict)
        waits = innocent["waits"]
        late, unmoved = _share(waits), _share(innocent["overslept"])
        most = 1 - self.plan.share_in_time + 2 * unmoved  # the machine itself may be too busy
        claim(late <= most, f"{late:.2%} of an innocent client's waits are long, {unmoved:.2%} of its sleeps")
        claim(innocent["statuses"].keys() == {"404"}, f"innocent: {innocent['statuses']}")
        claim(after[0] - before[0] <= max(MEMORY_BYTES, before[0] / 5), f"memory grew: {before} {after}")
        claim(after[1] - before[1] <= DESCRIPTORS, f"descriptors grew: {before} {after}")
        claim(not self._missing(people), f"never happened: {self._missing(people)}")
        ends = self._counts["restarts"] + self._counts["kills"]
        claim(people.forgiven.total() <= FORGIVEN_MAX * ends, f"too much to forgive: {people.forgiven}")
        with contextlib.suppress(AssertionError):
            await until(lambda: self._rests() <= 2, within=15)
        claim(self._rests() <= 2, f"{self._rests()} connections of clients are left")
        claim(self.weir.is_running, "weir ended")
        crashes = [line for line in self.weir.log() if line["event"] in ("crashed", "reload_refused")]
        claim(not crashes, f"crashes: {crashes[:2]}")
        verdict.told = {
            "statuses": dict(sorted(people.statuses.items())),
            "forgiven": dict(people.forgiven),
            "unexpected": len(people.wrong),
            **self._counts,
            "memory_mib": [round(size[0] / 2**20, 1) for size in (before, after)],
            "descriptors": [before[1], after[1]],
            "innocent_late": round(late, 5),
            "machine_late": round(unmoved, 5),
            "innocent_ms": [round(waits[int(len(waits) * share)] * 1e3, 1) for share in (0.5, 0.99, 0.9999)],
        }
        return verdict

    def _missing(self, people: People) -> set[str]:
        """What has not happened yet."""
        return ANSWERS - people.statuses.keys() | {what for what, count in self._counts.items() if not count}

    def _rests(self) -> float:
        metrics = self.weir.metrics()
        return metrics.total("weir_connections", side="downstream")


def _share(waits: list[float]) -> float:
    """Of those that are too long."""
    return sum(wait > WAIT_SECONDS for wait in waits) / len(waits)


def _claims(verdict: Verdict) -> Callable[[bool, str], None]:
    def claim(is_so: bool, otherwise: str) -> None:
        if not is_so:
            verdict.faults.append(otherwise)

    return claim


def _program(name: str, port: int) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        str(ROOT / f"tests/soak/{name}.py"),
        str(port),
    ]  # compiled tests have no path to it
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE if name == "innocent" else None)


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
