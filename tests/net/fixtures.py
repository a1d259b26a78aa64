"""The fixtures of the bench; `tests/test_gateway.py` uses them too."""

from __future__ import annotations

import asyncio
import signal

import pytest

from tests.net.bench import Bench, settings

TEST_SECONDS = 20


@pytest.fixture(autouse=True)
def bounded_in_time():
    def out_of_time(number, frame):
        raise TimeoutError(f"the test took longer than {TEST_SECONDS} s")

    before = signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(TEST_SECONDS)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture
async def start_bench():
    """Starts a gateway in this process; at the end it must have left nothing behind."""
    benches = []

    async def start(*upstreams, store=None, send_bytes=0, **changes):
        urls = [origin if isinstance(origin, str) else origin.url for origin in upstreams]
        bench = Bench(settings(changes, servers=urls) if urls else settings(changes), store)
        await bench.start(send_bytes)
        benches.append(bench)
        return bench

    yield start
    for bench in benches:
        async with asyncio.timeout(10):
            await bench.stop()
