"""Four replicas with one Redis: together they keep the promise that one would keep, and nowhere is a credential."""

from __future__ import annotations

import asyncio
import signal
import time

from tests.support.messages import get
from tests.support.patience import until, until_now
from tests.support.redis_servers import Redis, running

RATE, BURST, SECONDS, PER_SECOND, REPLICAS = 15, 15, 5, 400, 4
LIMIT = {"name": "per-user", "key": ["header:X-Auth-Token"], "rate": f"{RATE}/s"}
CREDENTIAL = "shared-by-all-4711"


def started(new_weir, redis, origin):
    """All at once, since each takes a while."""
    settings = {"store": {"url": redis.url, "timeout": "1s"}, "limits": [LIMIT]}
    weirs = [new_weir(settings, upstream=origin) for _ in range(REPLICAS)]
    for weir in weirs:
        weir.launch()
    for weir in weirs:
        until_now(weir.is_ready_or_dead, "weir is ready", within=20.0)
    return weirs


def held_in(redis) -> bytes:
    """Every key and every value."""
    with redis.client() as client:
        values = []
        for key in client.scan_iter():
            read = {b"string": client.get, b"zset": lambda name: client.zrange(name, 0, -1)}
            values.append(repr((key, read[client.type(key)](key))))
    return "".join(values).encode()


async def test_four_replicas_admit_what_one_would(new_weir, start_origin, connect, tmp_path):
    """400 requests a second on one key: 15 * t + 15 pass, within 2, and no part of the time sees more."""
    signal.alarm(60)  # four processes start slowly on a busy machine
    arrivals: dict[int, float] = {}

    async def script(visit):
        while (request := await visit.request()) is not None:
            arrivals[int(request.target[1:])] = time.monotonic()
            await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    redis = Redis(tmp_path)
    with running(redis):
        weirs = started(new_weir, redis, await start_origin(script))
        wires = [await connect(weir) for weir in weirs]
        sent: dict[int, float] = {}
        begin = time.monotonic()

        async def offer(wire, numbers):
            for number in numbers:
                await asyncio.sleep(max(0.0, begin + number / PER_SECOND - time.monotonic()))
                sent[number] = time.monotonic()
                await wire.send(get(f"X-Auth-Token: {CREDENTIAL}", target=f"/{number}"))

        async def read(wire, numbers):
            return [number for number in numbers if (await wire.response()).status == 200]

        parts = [range(replica, SECONDS * PER_SECOND, REPLICAS) for replica in range(REPLICAS)]
        offers = [asyncio.create_task(offer(*pair)) for pair in zip(wires, parts, strict=True)]
        groups = await asyncio.gather(*(read(*pair) for pair in zip(wires, parts, strict=True)))
        await asyncio.gather(*offers)
        held = held_in(redis)
        told = "".join(
            weir.log_text() + weir.metrics().text + str(weir.admin("/status").json()) for weir in weirs
        )
        await until(lambda: sum(len(weir.access_lines()) for weir in weirs) == SECONDS * PER_SECOND)
        logged = "".join(str(weir.access_lines()) for weir in weirs)

    admitted = sorted(number for group in groups for number in group)
    stretch = max(0.0, max(sent.values()) - min(sent.values()) - SECONDS)
    promised = RATE * SECONDS + BURST
    assert all(groups), "each replica has admitted some"
    assert sorted(arrivals) == admitted
    assert promised - 2 <= len(admitted) <= promised + 2 + RATE * stretch
    # As in test_limits_long_run.py: decisions fall between sending and arrival, so this needs no tolerance.
    asked, reached = sorted(sent[number] for number in admitted), sorted(arrivals.values())
    for i, first in enumerate(asked):
        for j in range(i, len(admitted)):
            assert j - i + 1 <= BURST + RATE * (reached[j] - first)

    assert b"per-user" in held
    assert CREDENTIAL.encode() not in held
    assert CREDENTIAL not in told
    assert CREDENTIAL not in logged
