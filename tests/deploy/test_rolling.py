"""A rolling update: an earlier Weir and this one, side by side on one Redis, as docs/upgrading.md promises.

The earlier one is taken from the history and installed into an environment of its own, with what it asks for
beyond the pins of today.
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time

import pytest

from tests.deploy.conftest import PIP, ROOT, clean_environment
from tests.support.messages import get
from tests.support.once import once
from tests.support.patience import until
from tests.support.redis_servers import Redis, running

EARLIER = "ba8c853bc099e641a9af9384f8072e2528deb1bd"  # at a release: the one before
RATE, BURST, SECONDS, PER_SECOND = 15, 15, 3, 120
LIMIT = {"name": "per-user", "key": ["header:X-Auth-Token"], "rate": f"{RATE}/s", "burst": BURST}
PROMISE = "Two versions next to each other count together"

pytestmark = pytest.mark.timeout(300)  # of which most is installing


@pytest.fixture(scope="session")
def earlier(tmp_path_factory, home, installed):
    """Its command."""

    def install(folder):
        archive = subprocess.run(
            ["git", "archive", EARLIER], cwd=ROOT, check=True, capture_output=True
        ).stdout
        (folder / "source").mkdir()
        subprocess.run(["tar", "-x", "-C", folder / "source"], input=archive, check=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        (packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        (pins,) = (installed / "lib").glob("python*/site-packages")
        (packages / "pins.pth").write_text(f"{pins}\n")
        pip = [*PIP, folder / "venv", "install", "--quiet", "--no-compile", folder / "source"]
        subprocess.run(pip, check=True, env=clean_environment(home), stdout=subprocess.DEVNULL)

    return once(tmp_path_factory, "earlier", install) / "venv" / "bin" / "weir"


def instead(command):
    """Runs another Weir than this checkout's, with the same config: the last argument."""
    return ["sh", "-c", f'for last; do :; done; unset PYTHONPATH; exec {command} run --config "$last"', "sh"]


@pytest.fixture
def side_by_side(new_weir, start_origin, tmp_path, earlier):
    """Starts both on one Redis."""

    async def start(redis):
        settings = {"store": {"url": redis.url, "timeout": "1s"}, "limits": [LIMIT]}
        origin = await start_origin()
        old, new = (new_weir(settings, upstream=origin) for _ in range(2))
        old.inside = instead(earlier)
        del old.settings["downstream"]  # it has a setting that the earlier one does not know
        old.write_config()
        for weir in (old, new):
            weir.launch()
        for weir in (old, new):
            await until(weir.is_ready_or_dead, "weir is ready", within=30.0)
            assert weir.is_running, weir.log_text()
        return old, new

    return start


async def admitted(wires, seconds):
    """How many of a steady stream of one client's requests pass, sent to both in turn; and how long it took."""
    begin = time.monotonic()
    passed = [0, 0]
    for number in range(seconds * PER_SECOND):
        await asyncio.sleep(max(0.0, begin + number / PER_SECOND - time.monotonic()))
        wire = wires[number % 2]
        await wire.send(get("X-Auth-Token: ana"))
        response = await wire.response()
        assert response.status in (200, 429)
        passed[number % 2] += response.status == 200
    return passed, time.monotonic() - begin


async def test_both_admit_what_one_would(side_by_side, connect, tmp_path):
    """Or the docs say that they count apart; each by itself keeps the limit in any case."""
    redis = Redis(tmp_path)
    with running(redis):
        old, new = await side_by_side(redis)
        passed, seconds = await admitted([await connect(old), await connect(new)], SECONDS)
        up = [weir.metrics().total("weir_store_up") for weir in (old, new)]
        errors = [weir.metrics().total("weir_store_errors_total") for weir in (old, new)]
    most = BURST + RATE * seconds + 1
    is_together = sum(passed) <= most

    assert all(count > 0 for count in passed)
    assert max(passed) <= most
    assert sum(passed) >= BURST + RATE * seconds - 3
    assert (PROMISE in (ROOT / "docs" / "upgrading.md").read_text()) is is_together
    assert (up, errors) == ([1, 1], [0, 0])


async def test_update_loses_no_request(side_by_side, connect, tmp_path):
    """The old one drains while the new one serves; what it wrote to Redis troubles nobody."""
    redis = Redis(tmp_path)
    with running(redis):
        old, new = await side_by_side(redis)
        wires = [await connect(old), await connect(new)]
        await admitted(wires, 1)
        wires[0].close()
        old.signal(signal.SIGTERM)
        code = await asyncio.to_thread(old.wait)
        passed, seconds = await admitted([wires[1], wires[1]], 1)
        up, errors = new.metrics().total("weir_store_up"), new.metrics().total("weir_store_errors_total")

    assert code == 0
    assert sum(passed) <= BURST + RATE * seconds + 1
    assert (up, errors) == (1, 0)
