"""What the log keeps of broken promises: rations, and a word about what was left out."""

from __future__ import annotations

import asyncio
import logging
from types import SimpleNamespace

import pytest

from proxy.telemetry import evidence as module
from proxy.telemetry.evidence import ORIGINALS_BURST, ORIGINALS_PER_SECOND, VIOLATION_SECONDS, Evidence
from proxy.telemetry.metrics import Metrics
from tests.contract.test_redaction import original
from tests.support.innocent import innocent
from tests.telemetry.exchanges import exchange


@pytest.fixture
def clock(monkeypatch):
    """Moved by hand."""
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(module, "monotonic", lambda: clock.now)
    return clock


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.WARNING, "weir.gateway")
    return lambda: [(record.getMessage(), record.fields.get("passed_over")) for record in caplog.records]


EXCHANGE = exchange()


def test_violation_is_told_once_an_hour_for_each_kind(clock, told):
    """With how many there were since; all of them are counted."""
    metrics = Metrics()
    evidence = Evidence(metrics)
    for status, rule in [(201, "missing_location"), (201, "missing_location"), (405, "missing_allow")] * 50:
        evidence.violated(EXCHANGE, status, rule)
    clock.now += VIOLATION_SECONDS
    evidence.violated(EXCHANGE, 201, "missing_location")

    assert told() == [("violation", 0), ("violation", 0), ("violation", 99)]
    assert sum(metrics.contract_violations.values()) == 151


async def test_storm_of_originals_is_bounded_and_its_rest_is_told(clock, told):
    """Also if nothing fails afterwards."""
    evidence = Evidence(Metrics())
    for _ in range(ORIGINALS_BURST + 300):
        evidence.replaced(EXCHANGE, original(b"details"))
    evidence.close()
    evidence.sweep()
    assert told() == [("redacted", None)] * ORIGINALS_BURST
    clock.now += ORIGINALS_BURST / ORIGINALS_PER_SECOND
    for _ in range(3):
        evidence.sweep()

    assert told()[ORIGINALS_BURST:] == [("originals_left_out", 300)]


async def test_next_original_tells_how_many_were_left_out(clock, told):
    """Where it comes before the word that stands for it."""
    evidence = Evidence(Metrics())
    for _ in range(ORIGINALS_BURST + 300):
        evidence.replaced(EXCHANGE, original(b"details"))
    clock.now += 1.0
    evidence.replaced(EXCHANGE, original(b"details"))
    evidence.close()

    assert told()[ORIGINALS_BURST:] == [("redacted", 300)]


async def test_storm_of_originals_takes_turns(told):
    """As dear as they may be, a hundred in one turn of the loop."""
    evidence = Evidence(Metrics())
    async with innocent():
        for _ in range(100):
            evidence.replaced(EXCHANGE, original(b":&#x2f;&#x2f;sid=a " * 480))
        async with asyncio.timeout(20):
            while len(told()) < 100:
                await asyncio.sleep(0)
        await asyncio.sleep(0)  # the innocent client comes once more, behind the last of them

    assert told() == [("redacted", None)] * 100


async def test_original_that_cannot_be_told_is_the_only_one(told, monkeypatch):
    """Those behind it have their turns, and so have those that come later."""
    tell, crashes = logging.getLogger("weir.gateway").warning, []

    def once(*_, **__):
        monkeypatch.setattr(module._log, "warning", tell)
        raise ZeroDivisionError

    monkeypatch.setattr(module._log, "warning", once)
    asyncio.get_running_loop().set_exception_handler(lambda _, context: crashes.append(context["exception"]))
    evidence = Evidence(Metrics())
    for _ in range(3):
        evidence.replaced(EXCHANGE, original(b"a"))
    await asyncio.sleep(0.01)
    evidence.replaced(EXCHANGE, original(b"b"))
    await asyncio.sleep(0.01)

    assert [type(crash) for crash in crashes] == [ZeroDivisionError]
    assert told() == [("redacted", None)] * 3
