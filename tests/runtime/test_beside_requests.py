"""A reload, however large: a client beside it is served within 20 ms, whatever thread does the work."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
import pytest
import yaml

from proxy.config.mistakes import MISTAKES_MAX
from proxy.runtime.following import Follower, Source
from proxy.runtime.worker import Worker
from tests.support.innocent import ALL_THREADS, innocent
from tests.support.ports import free_port

LIMIT: dict[str, Any] = {"key": ["header:X-Auth-Token", "client-ip"], "rate": "15/s"}


def paths(number: int) -> list[str]:
    return [f"/api/v{each % 7}/things-{each:x}/*/parts/**" for each in range(number)]


LARGE: dict[str, dict[str, Any]] = {
    "known paths": {"contract": {"known_paths": paths(15_000)}},
    "paths of a limit": {"limits": [LIMIT | {"name": "a", "match": {"paths": paths(15_000)}}]},
    "exemptions": {"limits": [LIMIT | {"name": "a", "exempt": {"paths": paths(15_000)}}]},
    "networks": {"forwarded": {"trust": [f"10.{n // 250}.{n % 250}.0/24" for n in range(15_000)]}},
    "servers": {"upstream": {"servers": [f"https://127.0.0.1:{n}" for n in range(1000, 1300)]}},
}


@pytest.fixture(autouse=True)
def _log_as_it_was():
    """A worker that reloads sets up the log of its process."""
    root, ours = logging.getLogger(), logging.getLogger("weir")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(capture=False)


@pytest.fixture
def base(tmp_path):
    """The settings of a worker, and how to write them: with other ones on top."""
    settings = {
        "listen": f"127.0.0.1:{free_port()}",
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
        "upstream": {"servers": ["http://127.0.0.1:1"]},
        "store": {"key_secret": "k" * 40},
        "log": {"access": "off"},
    }
    path = tmp_path / "weir.yaml"

    def write(changes: dict[str, Any]) -> str:
        path.write_text(yaml.safe_dump(settings | changes, default_flow_style=True, width=10**9))
        return str(path)

    return write


async def reloaded(path: str, write: Any) -> Worker:
    """A worker whose file has become another meanwhile, beside an innocent client."""
    source = Source.read(path)
    worker = Worker(source.reading.settings, path)
    await worker.start()
    before = worker.status()["config"]
    try:
        follower = Follower(worker, source)
        write()
        async with innocent(ALL_THREADS):
            await follower._reread()
        after: Any = worker.status()["config"]
        assert after["last_reload"]["error"] is None
        assert after != before
    finally:
        await worker.stop()
    return worker


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", LARGE)
async def test_large_config_is_taken_beside_requests(base, kind):
    """Read, judged, compiled and swapped in."""
    await reloaded(base({}), lambda: base(LARGE[kind]))


@pytest.mark.timeout(120)
async def test_large_config_that_is_bad_is_refused_beside_requests(base):
    """Fifteen thousand mistakes, the first of which are told."""
    path = base({})
    source = Source.read(path)
    worker = Worker(source.reading.settings, path)
    await worker.start()
    try:
        follower = Follower(worker, source)
        base({"contract": {"known_paths": [f"no slash \u202e{number}" for number in range(15_000)]}})
        async with innocent(ALL_THREADS):
            await follower._reread()
            for _ in range(20):
                msgspec.json.encode(worker.status(), enc_hook=str)
                await asyncio.sleep(0)
        told: Any = worker.status()["config"]
    finally:
        await worker.stop()
    lines = told["last_reload"]["error"].splitlines()

    assert told["last_reload"]["successful"] is False
    assert len(lines) == MISTAKES_MAX + 1
    assert "more mistakes" in lines[-1]
