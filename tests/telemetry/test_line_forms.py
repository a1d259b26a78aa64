"""The same line as other programs write it."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.config.settings import LogSettings
from proxy.telemetry.access_log import AccessLog
from proxy.telemetry.line import AccessLine
from proxy.telemetry.line_forms import FORMS, combined, common, ecs, text
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.safe_text import header_text
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
        r' agent="curl/8 \"x\""'
    )


FORGED = 'x fault=store_down server=http://evil id="forged"'


def test_text_has_no_field_that_a_client_wrote():
    """A value with a space, a quote or an equals sign is quoted, as in the program's log."""
    line = msgspec.structs.replace(LINE, user_agent=FORGED, host=FORGED)
    fields = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', text(line).decode().partition("ms ")[2])

    assert [name for name, _ in fields] == ["refused", "fault", "id", "host", "agent"]
    assert json.loads(dict(fields)["agent"]) == FORGED


def test_backslash_ends_no_field():
    """Neither for readers that know escapes, as Apache's and grok's do, nor for those that know none."""
    line = msgspec.structs.replace(LINE, user_agent=header_text(b"evil\\"), referer=header_text(b'a\\x22b"'))
    knows_escapes = re.findall(r'"((?:[^"\\]|\\.)*)"', combined(line).decode())
    knows_none = COMBINED.fullmatch(combined(line).decode()).groups()[7:]

    assert knows_escapes[1:] == list(knows_none) == [r"a\x5cx22b\x22", r"evil\x5c"]


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


def test_ecs_has_every_field_of_the_line():
    """By whatever name."""
    numbers = {"status": 418, "bytes_in": 11, "bytes_out": 22, "duration_ms": 33.5, "upstream_ms": 44.5}
    numbers |= {"waited_ms": 55.5, "redacted_status": 507, "sample": 0.25}
    written = {name: {"named": [name]} for name in ("limits", "keys", "would_wait_ms")}
    fields: dict[str, Any] = {name: f"the {name}" for name in AccessLine.__struct_fields__}
    fields |= numbers
    fields |= {name: msgspec.Raw(msgspec.json.encode(value)) for name, value in written.items()}
    told = ecs(AccessLine(**fields)).decode()

    for name, value in (fields | written | {"duration_ms": 33_500_000}).items():
        assert json.dumps(value, separators=(",", ":")) in told, name


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
