"""How tests run: a bound on the time of each, and with `--memory` those that need no socket, on a clock that moves.

`make unit` uses `--memory`: the gateway and its connections are tried on the network of tests/support/memory.py
by the very tests that `make test` runs on real sockets. A test that needs more than that carries the marker `real`;
one that lacks it fails in every run, not in that of `make unit` alone. Properties are tried with a quarter of the
examples there.
"""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import itertools
import os
import re
import socket
import sys
import threading
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest
import pytest_asyncio
import uvloop

from tests.support import network, ports
from tests.support.memory import MemoryLoop
from tests.support.own_coverage import FLOORS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from types import FrameType

# What starts a process or opens a socket when a test asks for it.
REAL_FIXTURES = {"new_weir", "redis", "shared_redis", "nodes", "relay", "aiohttp_client", "aiohttp_server"}
# Folders whose tests start Weir: what runs of it in the tests' own process is next to nothing.
OF_PROCESSES = ("benchmarks", "deploy", "e2e", "soak")
ON_UVLOOP = ("tests/net/", "tests/conformance/")  # as in production
# Whose tests take seconds each: begun last, they would be what all the others wait for.
LONG = ("tests/test_own_tests.py", "tests/deploy/test_packages.py", "tests/deploy/test_rolling.py")
# Whose tests do nothing but reckon: all at once they would wait for a processor that others, who wait, leave free.
RECKONING = "tests/simulation/"
# What `make unit` runs, as the Makefile names it: folders and files.
_TESTS = Path(__file__).parents[1]
_MAKEFILE = (_TESTS.parent / "Makefile").read_text()
UNIT = set(re.findall(r"[\w.]+", re.findall(r"^UNIT := ((?:.*\\\n)*.*)$", _MAKEFILE, re.MULTILINE)[0]))
# Who opens sockets that are memory in memory: the network of tests, and loops.
_LOOPS = [str(Path(module.__file__).parent) for module in (asyncio, pytest_asyncio, uvloop)]
SEAM = (network.__file__, ports.__file__, *_LOOPS)
_open_socket = socket.socket.__init__
IS_MEASURED = "COVERAGE_PROCESS_START" in os.environ  # by `make test`; test_own_tests.py measures by itself


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--memory", action="store_true", help="without sockets, processes and waiting")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("memory"):
        hypothesis.settings.load_profile("fast")


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    if config.getoption("memory") or item.get_closest_marker("moved"):
        return {"memory": MemoryLoop}
    if item.nodeid.startswith(ON_UVLOOP):
        return {"uvloop": uvloop.new_event_loop}
    return {"asyncio": asyncio.new_event_loop}


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """All that is collected stays until the end: the collector of garbage need not look at it again and again.

    Of several processes one is measured: what an import meets, it meets in each.
    """
    gc.disable()
    try:
        with nullcontext() if _number() == 0 else untraced():
            return (yield)
    finally:
        gc.freeze()
        gc.enable()


@pytest.fixture(autouse=True, scope="module")
def _what_other_files_left(request: pytest.FixtureRequest) -> None:
    """It stays, as what was collected does. Each innocent client has garbage collected, and would look at all of it."""
    if hasattr(request.module, "innocent"):
        gc.collect()
        gc.freeze()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("memory"):
        left_out = [item for item in items if _is_real(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    _measure_what_is_shared(items)
    _order(items)
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            item.obj = _bounded(item.obj, _timeout(item) - 5)


def _measure_what_is_shared(items: list[pytest.Item]) -> None:
    """The Weir that tests of a file share is measured if one of them asks for it, whichever comes first."""
    sharing = [item for item in items if "shared_weir" in getattr(item, "fixturenames", ())]
    files = {item.path for item in sharing if item.get_closest_marker("measured") is not None}
    for item in sharing:
        if item.path in files:
            item.add_marker("measured")


def _number() -> int:
    """Of this process among those that run tests at the same time."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def _order(items: list[pytest.Item]) -> None:
    """Each process is given as many tests: its share of the long ones at the head, of those that reckon all along.

    Files are dealt out in turn, and so each has of every folder: of those that wait, and of those that do not.
    """
    count = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1))
    long = [item for item in items if item.nodeid.startswith(LONG)]
    reckoning = [item for item in items if item.nodeid.startswith(RECKONING)]
    others = [item for item in items if not item.nodeid.startswith((*LONG, RECKONING))]
    shares: list[list[list[pytest.Item]]] = [[] for _ in range(count)]
    for _, file in itertools.groupby(others, lambda item: item.path):
        min(shares, key=lambda share: sum(map(len, share))).append([*file])
    items[:] = [
        item
        for number, files in enumerate(shares)
        for item in (*long[number::count], *_among(files, reckoning[number::count]))
    ]


def _among(files: list[list[pytest.Item]], reckoning: list[pytest.Item]) -> Iterator[pytest.Item]:
    """Between two files of the others: what the tests of one file share is made once."""
    share = len(reckoning) / max(len(files), 1)
    for number, file in enumerate(files or [[]]):
        yield from reckoning[round(number * share) : round((number + 1) * share)]
        yield from file


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


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if item.get_closest_marker("measured") is None:
            patch.delenv("COVERAGE_PROCESS_START", raising=False)
        if not _is_unmeasured(item):
            return (yield from _on_its_network(item))
        with untraced():
            return (yield from _on_its_network(item))


def _is_unmeasured(item: pytest.Item) -> bool:
    """Marked so, or one that would be measured for nothing: who is traced takes twice the time, and all that it calls.

    What is elsewhere is measured elsewhere: a floor by itself, a process where it is asked for. A plain test meets
    the lines of a property once.
    """
    if item.get_closest_marker("measured") is not None:
        return False
    if item.get_closest_marker("unmeasured") is not None:
        return True
    if not IS_MEASURED:
        return False
    if item.path.relative_to(_TESTS).parts[0] in {*FLOORS, *OF_PROCESSES}:
        return True
    return bool(hypothesis.is_hypothesis_test(getattr(item, "obj", None)))


@contextmanager
def untraced() -> Iterator[None]:
    """This thread and those that are started within, by coverage or a debugger."""
    tracer, of_threads = sys.gettrace(), threading.gettrace()
    sys.settrace(None)
    threading.settrace(None)
    try:
        yield
    finally:
        threading.settrace(of_threads)
        sys.settrace(tracer)


def _on_its_network(item: pytest.Item) -> Iterator[None]:
    is_memory = item.config.getoption("memory")
    if not is_memory and (_is_real(item) or item.path.relative_to(_TESTS).parts[0] not in UNIT):
        return (yield)
    with pytest.MonkeyPatch.context() as patch, unreal(_refuse if is_memory else open_by_seam):
        patch.setattr(ports, "is_real", not is_memory)
        return (yield)


@contextmanager
def unreal(open_socket: Callable[..., None]) -> Iterator[None]:
    """Who opens a socket and does not say so is told."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "__init__", open_socket)
        yield


def open_by_seam(sock: socket.socket, *args: Any, **kwargs: Any) -> None:
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_filename == socket.__file__:
        frame = frame.f_back
    is_open = len(args) > 3 or kwargs.get("fileno") is not None  # it has a descriptor, and is looked at
    if not is_open and (frame is None or not frame.f_code.co_filename.startswith(SEAM)):
        _refuse()
    _open_socket(sock, *args, **kwargs)


def _refuse(*_: object, **__: object) -> None:
    raise RuntimeError("there are no sockets in memory: mark the test `real`")
