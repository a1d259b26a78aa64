"""How tests run: a bound on the time of each, and with `--memory` those that need no socket, on a clock that moves.

`make unit` uses `--memory`: the gateway and its connections are tried on the network of tests/support/memory.py
by the very tests that `make test` runs on real sockets. A test that needs more than that carries the marker `real`.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import socket
import sys
from typing import TYPE_CHECKING, Any

import pytest
import uvloop

from tests.support import ports
from tests.support.memory import MemoryLoop

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

# What starts a process or opens a socket when a test asks for it.
REAL_FIXTURES = {"new_weir", "redis", "shared_redis", "nodes", "relay", "aiohttp_client", "aiohttp_server"}
ON_UVLOOP = ("tests/net/", "tests/conformance/")  # as in production


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--memory", action="store_true", help="without sockets, processes and waiting")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if config.getoption("memory") or item.get_closest_marker("moved"):
        return {"memory": MemoryLoop}
    if item.nodeid.startswith(ON_UVLOOP):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("memory"):
        left_out = [item for item in items if _is_real(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj, _timeout(item) - 5)


def _is_real(item: pytest.Item) -> bool:
    fixtures = getattr(item, "fixturenames", ())
    return item.get_closest_marker("real") is not None or not REAL_FIXTURES.isdisjoint(fixtures)


def _timeout(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0] if marker else item.config.getini("timeout"))


def _bounded(test: Callable[..., Awaitable[None]], seconds: float) -> Callable[..., Awaitable[None]]:
    """The same test, which shows where it hangs. uvloop swallows what pytest-timeout raises."""

    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(seconds):
            await test(*args, **kwargs)

    return bounded


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    tracer = sys.gettrace()
    if tracer is None or item.get_closest_marker("unmeasured") is None:
        return (yield)
    sys.settrace(None)
    try:
        return (yield)
    finally:
        sys.settrace(tracer)


@pytest.fixture(scope="session", autouse=True)
def _no_sockets(request: pytest.FixtureRequest) -> Iterator[None]:
    """In memory: who opens one after all is told."""
    if not request.config.getoption("memory"):
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "__init__", _refuse)
        patch.setattr(ports, "is_real", False)
        yield


def _refuse(*_: object, **__: object) -> None:
    raise RuntimeError("this run has no sockets: mark the test `real`")
