"""What a Weir tells of its config and of itself before it serves and after a reload."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.config.loader import config_hash, loads
from proxy.runtime.forks import ForkedWorkers
from proxy.runtime.reloads import Reloads
from proxy.runtime.supervisor import Supervisor
from proxy.runtime.worker import Worker

TEXT = "upstream: {servers: ['http://127.0.0.1:1']}"
SETTINGS = loads(TEXT, "", {})


def test_start_counts_as_a_reload():
    told: Any = Reloads(SETTINGS, "weir.yaml").status()

    assert told["uptime"] == pytest.approx(0, abs=5)
    assert told["config"]["file"] == "weir.yaml"
    assert told["config"]["hash"] == config_hash(SETTINGS)
    assert (told["config"]["last_reload"]["successful"], told["config"]["last_reload"]["error"]) == (
        True,
        None,
    )


def test_refused_reload_is_told_with_its_reason():
    reloads = Reloads(SETTINGS, "")
    reloads.note(7.0, "line 1: no")

    config: Any = reloads.status()["config"]
    assert config["last_reload"] == {
        "successful": False,
        "at": 7.0,
        "error": "line 1: no",
    }


async def test_worker_that_has_not_started_is_not_ready_and_does_not_drain():
    """A probe says so while Weir starts: who reads that it drains looks for who has stopped it."""
    is_ready, details = Worker(SETTINGS).readiness()

    assert (is_ready, details["draining"]) == (False, False)


async def test_supervisor_drains_when_it_is_told_to_and_not_before():
    supervisor = Supervisor(SETTINGS, "", TEXT, ForkedWorkers([], [], []))
    before = supervisor._readiness()
    await supervisor.drain()
    after = supervisor._readiness()

    assert (before[0], before[1]["draining"]) == (False, False)
    assert (after[0], after[1]["draining"]) == (False, True)
