"""The promise over time: 15 a second and a burst of 15, to the request."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.support.messages import get

SETTINGS = {"limits": [{"name": "per-user", "key": ["header:X-Auth-Token"], "rate": "15/s"}]}


RATE, BURST, SECONDS, PER_SECOND = 15, 15, 20, 200


@pytest.mark.measured
async def test_twenty_seconds_of_overload_admit_what_was_promised(weir, origin, connect):
    """200 requests a second on one key for 20 s: 15 * 20 + 15 pass, within 1, and no part of the time sees more."""
    mine = "X-Auth-Token: long-run"
    arrivals: dict[int, float] = {}

    async def script(visit):
        while (request := await visit.request()) is not None:
            arrivals[int(request.target[1:])] = time.monotonic()
            await visit.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    origin.script = script
    wire = await connect(weir)
    count = SECONDS * PER_SECOND
    sent: list[float] = []

    async def send() -> None:
        begin = time.monotonic()
        for number in range(count):
            await asyncio.sleep(max(0.0, begin + number / PER_SECOND - time.monotonic()))
            sent.append(time.monotonic())
            await wire.send(get(mine, target=f"/{number}"))

    sending = asyncio.create_task(send())
    seen = [(await wire.response()).status for _ in range(count)]
    await sending
    admitted = [number for number, status in enumerate(seen) if status == 200]

    assert set(seen) == {200, 429}
    assert sorted(arrivals) == admitted
    # A loaded machine may stretch the 20 s: every second more is worth 15 tokens.
    stretch = max(0.0, sent[-1] - sent[0] - SECONDS)
    promised = RATE * SECONDS + BURST
    assert promised - 1 <= len(admitted) <= promised + 1 + RATE * stretch
    # A decision falls between the moment the request was sent and the moment the origin has it. So all decisions from
    # `first` to `last` fall within this span, and the bound holds for it without any tolerance for measurement.
    for i, first in enumerate(admitted):
        for j, last in enumerate(admitted[i:], start=i):
            span = arrivals[last] - sent[first]
            assert j - i + 1 <= BURST + RATE * span, (
                f"{j - i + 1} requests within {span:.4f} s from number {first} on"
            )
