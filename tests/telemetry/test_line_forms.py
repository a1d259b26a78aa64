"""The same line as other programs write it."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.settings import LogSettings
from proxy.telemetry.access_log import AccessLog
from proxy.telemetry.line import AccessLine
from proxy.telemetry.line_forms import FORMS, combined, common, ecs, text
from proxy.telemetry.metrics import Metrics
from tests.telemetry.exchanges import exchange

LINE = AccessLine(
    "2026-11-29T09:10:11.123Z",
    "id-1",
    "203.0.113.9",
    "10.0.0.1",
    "GET",
    "/api?a=1",
    429,
    "weir",
    "refused",
    17,
    305,
    12.5,
    limits=msgspec.Raw(b'{"refused":["per-user"],"admitted":["all"]}'),
    via="store",
    fault="limited",
    user_agent='curl/8 "x"',
)
# Apache's own pattern of the two, as log readers have it.
COMBINED = re.compile(
    r'(\S+) (\S+) (\S+) \[([\w:/]+\s[+\-]\d{4})\] "([^"]*)" (\d{3}|0) (\d+|-)(?: "([^"]*)" "([^"]*)")?'
)


def test_common_is_what_log_readers_read():
    found = COMBINED.fullmatch(common(LINE).decode())

    assert found.groups()[:7] == (
        "203.0.113.9",
        "-",
        "-",
        "29/Nov/2026:09:10:11 +0000",
        "GET /api?a=1 HTTP/1.1",
        "429",
        "305",
    )


def test_combined_has_who_asks():
    assert COMBINED.fullmatch(combined(LINE).decode()).groups()[7:] == ("-", r"curl/8 \x22x\x22")


def test_text_says_what_a_person_asks():
    assert text(LINE).decode() == (
        "2026-11-29T09:10:11.123Z 203.0.113.9 GET /api?a=1 429 refused 12.5ms refused=per-user fault=limited id=id-1"
        ' agent=curl/8 "x"'
    )


def test_ecs_uses_the_names_of_the_schema():
    told = json.loads(ecs(LINE))

    assert told["@timestamp"] == LINE.time
    assert told["event.outcome"] == "failure"
    assert told["event.duration"] == 12_500_000
    assert told["http.response.status_code"] == 429
    assert told["client.ip"] == "203.0.113.9"
    assert told["user_agent.original"] == 'curl/8 "x"'
    assert told["weir"]["limits"] == {"refused": ["per-user"], "admitted": ["all"]}
    assert "trace.id" not in told


TARGETS = st.binary(max_size=60).map(lambda data: b"/" + data.replace(b" ", b""))


@pytest.mark.parametrize("form", FORMS)
@settings(deadline=None, max_examples=40)  # each writes a file
@given(target=TARGETS, agent=st.binary(max_size=60), method=st.binary(max_size=9))
def test_whatever_comes_is_one_line_that_can_be_read(form, tmp_path_factory, target, agent, method):
    """No line break, no control character, no quote that ends a field: nobody forges a line."""
    path = tmp_path_factory.mktemp("log") / "access.log"
    log = AccessLog(str(path), Metrics())
    log.adopt(LogSettings(format=form, fields=["user_agent"]))
    made = exchange(method, target)
    made.headers = [agent] if form != "combined" else [agent, b""]
    log.write(made)
    log.close()
    data = path.read_bytes()

    assert data.count(b"\n") == 1
    assert data.endswith(b"\n")
    assert all(0x20 <= byte < 0x7F for byte in data[:-1])
    if form in ("common", "combined"):
        assert COMBINED.fullmatch(data.decode().strip())
    if form == "ecs":
        assert json.loads(data)["http.response.status_code"] == 200
