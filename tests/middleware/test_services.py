"""The shipped examples of Python services, served by uvicorn and aiohttp: what their clients see."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from contextlib import contextmanager

import pytest

from tests.support.messages import get
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.weir import ROOT

pytestmark = pytest.mark.real

EXAMPLES = ROOT / "deploy" / "examples" / "python"
SERVICES = ["fastapi_service", "starlette_service", "django_service", "aiohttp_service"]


@contextmanager
def served(name, port, log, **variables):
    """The example as a process, at a rate of which no token comes back while the test runs."""
    text = (EXAMPLES / f"{name}.py").read_text()
    (log.parent / f"{name}.py").write_text(text.replace('"15/s"', '"15/h"'))
    uvicorn = ["-m", "uvicorn", f"{name}:app", "--port", str(port), "--log-level", "warning"]
    arguments = [f"{name}.py", str(port)] if name == "aiohttp_service" else uvicorn
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | variables
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, *arguments], cwd=log.parent, env=environment, stdout=out, stderr=out
        )
    try:
        yield process
    finally:
        process.terminate()
        process.wait(20)


def listens(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def started(name, port, process, log):
    await until(lambda: listens(port) or process.poll() is not None, f"{name} listens", within=30)
    assert process.poll() is None, log.read_text()


@pytest.mark.measured
@pytest.mark.parametrize("name", SERVICES)
async def test_example_serves_15_and_refuses_as_a_proxy_does(name, tmp_path, connect):
    """Its route has a limit of its own besides; what that refuses costs nothing of the other."""
    port, log = free_port(), tmp_path / "log"
    with served(name, port, log) as process:
        await started(name, port, process, log)
        wire = await connect(port)

        async def ask(target, user):
            await wire.send(get(f"X-Auth-Token: {user}", target=target))
            return await wire.response()

        found = [await ask("/", "alice") for _ in range(16)]
        exports = [await ask("/export", "bob") for _ in range(5)]
        after = await ask("/", "bob")

    statuses = [each.status for each in found]
    assert statuses[:15] == [200] * 15
    assert statuses[15] == 429, log.read_text()
    assert found[0].value("RateLimit").startswith(b'"per-user";r=14;')
    refused = found[15]
    assert refused.value("Retry-After") == b"240"
    assert refused.value("Cache-Control") == b"no-store"
    assert json.loads(refused.body)["violated-policies"] == ["per-user"]
    assert [each.status for each in exports] == [200, 200, 429, 429, 429]
    assert b'"exports";r=1;' in exports[0].value("RateLimit")
    assert exports[2].value("Retry-After") == b"30"
    assert json.loads(exports[2].body)["violated-policies"] == ["exports"]
    assert after.value("RateLimit").startswith(b'"per-user";r=1')
    assert "Traceback" not in log.read_text()
