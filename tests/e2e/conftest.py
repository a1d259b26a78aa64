"""What the acceptance tests share: a Weir for each file, an origin for each test, certificates, a Redis.

A file may set SETTINGS, laid over the base settings of tests/support/weir.py, for its shared Weir.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.origin import Origin
from tests.support.papers import Papers
from tests.support.ports import free_port
from tests.support.redis_servers import Redis, running
from tests.support.weir import Weir

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

    from tests.support.wire import Response, Wire

    Ask = Callable[..., Awaitable[Response]]


@pytest.fixture(scope="module")
def upstream_port() -> int:
    """Where the shared Weir expects its origin."""
    return free_port()


@pytest.fixture(scope="module")
def shared_weir(
    upstream_port: int, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Weir]:
    weir = Weir(tmp_path_factory.mktemp("weir"), f"http://127.0.0.1:{upstream_port}")
    weir.write_config(getattr(request.module, "SETTINGS", {}))
    weir.is_forked = True  # each worker of a run starts one
    weir.start()
    yield weir
    weir.stop()


@pytest.fixture
def weir(shared_weir: Weir) -> Iterator[Weir]:
    """The file's Weir; what it logs during the test is the test's."""
    with shared_weir.watched():
        yield shared_weir


@pytest.fixture
async def origin(upstream_port: int, weir: Weir) -> AsyncIterator[Origin]:
    """The shared Weir's origin, which says 200 to everything until a test sets its script."""
    origin = Origin(port=upstream_port)
    await origin.start()
    yield origin
    await origin.stop()


@pytest.fixture
def ask(connect: Callable[..., Awaitable[Wire]]) -> Ask:
    """One request on a connection of its own: its answer."""

    async def ask_once(weir: Weir, data: bytes, *, within: float = 10.0) -> Response:
        wire = await connect(weir)
        await wire.send(data)
        method = data.split(b" ", 1)[0].decode("latin-1")
        response = await wire.response(method, within=within)
        wire.close()
        return response

    return ask_once


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    """An authority that nobody has asked for."""
    return Papers(tmp_path_factory.mktemp("strangers"))


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    """One of the test's own, which may be frozen or killed."""
    server = Redis(tmp_path)
    with running(server):
        yield server
