"""Fixtures that every test may use; they cost nothing until one asks for them."""

from __future__ import annotations

import asyncio
import faulthandler
import os
import signal
import sys
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

from tests.net.bench import Bench, settings
from tests.support.origin import Origin, Script
from tests.support.programs import RedisServer, redis_server
from tests.support.weir import ROOT, Settings, Weir
from tests.support.wire import Wire

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from proxy.limiter.store import Store

    StartWeir = Callable[..., Weir]
    StartBench = Callable[..., Awaitable[Bench]]
    StartOrigin = Callable[..., Awaitable[Origin]]
    Connect = Callable[..., Awaitable[Wire]]


pytest_plugins = ["tests.support.plugin"]

# A busy machine is slow now and then; what hangs is bounded by pytest-timeout.
hypothesis.settings.register_profile("weir", deadline=None)
hypothesis.settings.register_profile("fast", deadline=None, max_examples=25)  # of `make unit`
hypothesis.settings.load_profile("weir")

# A shell ignores Ctrl-C for what it runs in the background, and so would the programs that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What a process that a test starts elsewhere has met is counted with the rest.
if "COVERAGE_PROCESS_START" in os.environ:
    os.environ.setdefault("COVERAGE_FILE", str(ROOT / ".coverage"))

TEARDOWN_SECONDS = 180


@pytest.fixture
def new_weir(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[StartWeir]:
    """Makes a Weir with its config file, not yet started; judges it at the end of the test."""
    weirs: list[Weir] = []
    is_forked = request.node.get_closest_marker("afresh") is None

    def new(changes: Settings | None = None, *, upstream: Origin | str | None = None) -> Weir:
        folder = tmp_path / f"weir-{len(weirs)}"
        folder.mkdir()
        weir = Weir(folder, upstream.url if isinstance(upstream, Origin) else upstream)
        weir.is_forked = is_forked
        weir.write_config(changes)
        weirs.append(weir)
        return weir

    yield new
    for weir in weirs:
        weir.stop()


@pytest.fixture
def start_weir(new_weir: StartWeir) -> StartWeir:
    """Starts a Weir of the test's own and waits until it is ready."""

    def start(
        changes: Settings | None = None, *, upstream: Origin | str | None = None, **variables: str
    ) -> Weir:
        weir = new_weir(changes, upstream=upstream)
        weir.start(**variables)
        return weir

    return start


@pytest.fixture
async def start_origin() -> AsyncIterator[StartOrigin]:
    """Starts scripted origins (tests/support/origin.py) and stops them at the end."""
    origins: list[Origin] = []

    async def start(
        script: Script | None = None,
        *,
        port: int = 0,
        host: str = "127.0.0.1",
        context: ssl.SSLContext | None = None,
    ) -> Origin:
        origin = Origin(script, port, host, context)
        await origin.start()
        origins.append(origin)
        return origin

    yield start
    for origin in origins:
        await origin.stop()


@pytest.fixture
async def start_bench() -> AsyncIterator[StartBench]:
    """Starts a gateway in this process (tests/net/bench.py); at the end it must have left nothing behind."""
    benches: list[Bench] = []

    async def start(
        *upstreams: Origin | str, store: Store | None = None, send_bytes: int = 0, **changes: Any
    ) -> Bench:
        servers = [origin if isinstance(origin, str) else origin.url for origin in upstreams]
        bench = Bench(settings(changes, servers=servers) if servers else settings(changes), store)
        await bench.start(send_bytes)
        benches.append(bench)
        return bench

    yield start
    for bench in benches:
        async with asyncio.timeout(10):
            await bench.stop()


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens raw connections to anything with a `port`, or to a port, and closes them at the end."""
    wires: list[Wire] = []

    async def open_wire(to: Weir | Origin | int, *, receive_bytes: int = 0) -> Wire:
        wire = await Wire.open(to if isinstance(to, int) else to.port, receive_bytes=receive_bytes)
        wires.append(wire)
        return wire

    yield open_wire
    for wire in wires:
        wire.close()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    """A real Redis of the test's own; it can be stopped and started again."""
    with redis_server(tmp_path) as server:
        yield server


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """pytest drops its watchdog once a test fails; what that left open could keep its teardown for ever."""
    faulthandler.dump_traceback_later(TEARDOWN_SECONDS, exit=True, file=sys.__stderr__)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()
