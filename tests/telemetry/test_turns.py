"""The logs: what a request, a service or a stopped reader makes of them keeps nobody waiting for 20 ms."""

from __future__ import annotations

import asyncio
import logging
import os

import pytest

from proxy.config.settings import LogSettings
from proxy.telemetry.access_log import AccessLog
from proxy.telemetry.line_forms import FORMS
from proxy.telemetry.log import LineHandler
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.writer import QUEUE_BYTES
from tests.support.innocent import innocent
from tests.telemetry.exchanges import exchange

pytestmark = [pytest.mark.real, pytest.mark.unmeasured]  # how long others wait is measured

TARGETS = [
    b"/?" + b"key=%41&" * 900,
    b"/" + b"%74oken=" * 900,
    b"/?" + b"\xff" * 7000,
    b"/?a=" + b"%3f%26key%3d" * 600,
    b"/" + b"a" * 8000,
    b"/?" + b"&" * 8000,
]


@pytest.fixture
def deaf():
    """The writing end of a pipe that nobody reads."""
    reading, writing = os.pipe()
    yield writing
    os.close(reading)
    os.close(writing)


@pytest.mark.parametrize("form", ["json", *FORMS])
async def test_access_log_that_nobody_reads(deaf, form):
    """One dear line after the other, until its queue is full and beyond."""
    metrics = Metrics()
    log = AccessLog("stdout", metrics, fd=deaf)
    log.adopt(LogSettings(format=form, fields=["user_agent", "referer", "host", "trace_id"]))
    async with innocent():
        for number in range(4000):
            target = TARGETS[number % len(TARGETS)] + b"%d" % number
            headers = [b"\xe2\x80\xae" * 3000, TARGETS[0], b"h" * 8000, b"00-" + b"f" * 8000]
            log.write(exchange(method=b"\x9b" * 9000, target=target, headers=headers))
            if number % 50 == 0:
                log.flush()
            await asyncio.sleep(0)
    log.flush()
    os.set_blocking(deaf, False)
    log.close(0.0)

    assert log.dropped


async def test_program_log_that_nobody_reads(deaf):
    """Large lines, and a traceback in each."""
    handler = LineHandler(deaf)
    logger = logging.getLogger("weir.test_turns")
    logger.propagate = False
    logger.addHandler(handler)
    lines = QUEUE_BYTES // 16_000 + 200
    async with innocent():
        for number in range(lines):
            try:
                raise ValueError("\u202e\x9b\u2028" * 500)
            except ValueError as error:
                fields = {"body": "\u202e<&\x00" * 4000, "headers": ["x" * 500] * 20, "number": number}
                logger.warning("redacted", exc_info=error, extra={"fields": fields})
            await asyncio.sleep(0)
    logger.removeHandler(handler)
    os.set_blocking(deaf, False)

    assert handler.dropped
    handler._writer.close(0.0)
