"""Requests that wait for their token, from outside: real sockets, a real Redis, two replicas, a SIGTERM."""

from __future__ import annotations

import asyncio
import signal
from time import monotonic

import pytest

from tests.support.messages import get
from tests.support.patience import until

pytestmark = pytest.mark.measured

LIMIT = {"name": "few", "key": ["header:X-Auth-Token"], "rate": "10/s", "burst": 2, "max_wait": "500ms"}


async def test_replicas_share_the_queue(start_weir, start_origin, ask, redis):
    """2 at once and one every 100 ms by whichever replica; what would wait longer than 500 ms is refused."""
    changes = {"limits": [LIMIT], "store": {"url": redis.url}}
    origin = await start_origin()
    weirs = [start_weir(changes, upstream=origin) for _ in range(2)]
    began = monotonic()

    async def timed(weir):
        response = await ask(weir, get("X-Auth-Token: a"))
        return response.status, monotonic() - began

    answers = sorted(await asyncio.gather(*(timed(weirs[number % 2]) for number in range(12))))
    seconds = [at for status, at in answers if status == 200]

    assert len(seconds) in (
        7,
        8,
    )  # the burst, five who wait, and what came back while twelve were on their way
    assert all(at > 0.1 * (number - 1) - 0.02 for number, at in enumerate(seconds))
    await until(lambda: sum(len(weir.access_lines()) for weir in weirs) == 12)
    waited = [line for weir in weirs for line in weir.access_lines() if "waited_ms" in line]
    assert len(waited) >= 4
    assert all(line["status"] == 200 and line["duration_ms"] >= line["waited_ms"] for line in waited)


async def test_all_who_wait_are_answered_at_the_end(start_weir, start_origin, connect):
    """At SIGTERM: who has its turn in time is served, the others are told 503."""
    changes = {
        "limits": [LIMIT | {"rate": "2/s", "burst": 1, "max_wait": "10s"}],
        "drain": {"delay": "0s", "timeout": "2s"},
    }
    weir = start_weir(changes, upstream=await start_origin())
    wires = [await connect(weir) for _ in range(6)]
    for wire in wires:
        await wire.send(get("X-Auth-Token: a"))
    await until(lambda: weir.metrics().total("weir_limit_waiting", limit="few") >= 4)
    weir.signal(signal.SIGTERM)
    statuses = sorted([(await wire.response()).status for wire in wires])

    assert set(statuses) == {200, 503}
    assert 2 <= statuses.count(200) <= 4


async def test_candidate_tells_who_would_have_waited(start_weir, start_origin, ask):
    """Two beside a live limit, one for which nobody would have waited; and nobody does."""
    candidates = [
        LIMIT | {"name": "slower", "rate": "2/s", "burst": 1, "max_wait": "1s", "mode": "shadow"},
        LIMIT | {"name": "same", "burst": 20, "mode": "shadow"},
    ]
    live = {"name": "live", "key": ["header:X-Auth-Token"], "rate": "9/s"}
    weir = start_weir({"limits": [live, *candidates]}, upstream=await start_origin())
    for _ in range(5):
        assert (await ask(weir, get("X-Auth-Token: a"))).status == 200
    await until(lambda: len(weir.access_lines()) == 5)
    lines, metrics = weir.access_lines(), weir.metrics()

    waits = [line.get("would_wait_ms") for line in lines]
    assert waits[0] is None
    assert 300 < waits[1]["slower"] <= 500 < waits[2]["slower"] <= 1000
    assert waits[3:] == [None, None]  # it would have refused these
    assert [line["limits"].get("shadow_refused") for line in lines] == [
        None,
        None,
        None,
        ["slower"],
        ["slower"],
    ]
    assert all("waited_ms" not in line for line in lines)
    assert metrics.total("weir_limit_shadow_waits_total", limit="slower") == 2
    assert metrics.total("weir_limit_shadow_waits_total", limit="same") == 0
    seconds = metrics.total("weir_limit_shadow_waited_seconds_total", limit="slower")
    assert seconds * 1000 == pytest.approx(waits[1]["slower"] + waits[2]["slower"], abs=0.1)
