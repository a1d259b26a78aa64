from __future__ import annotations

import json
import logging
import os
from datetime import datetime
from time import monotonic, time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy import faults
from proxy.config.settings import LogSettings
from proxy.faults import REFUSED
from proxy.record import WEIR
from proxy.telemetry import access_log as module
from proxy.telemetry.access_log import AccessLog
from proxy.telemetry.metrics import Metrics
from tests.telemetry.exchanges import decision, exchange, limit, verdict
from tests.telemetry.waiting import until


@pytest.fixture
def path(tmp_path):
    return tmp_path / "access.log"


@pytest.fixture
def log(path):
    log = AccessLog(str(path), Metrics())
    yield log
    log.close()


def written(log, path):
    """The lines, each read back as JSON."""
    log.close()
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]]


def test_targets_that_come_again_are_told_alike(log, path):
    """Short ones are remembered; long ones would fill memory."""
    targets = [b"/short?token=abc", b"/long?token=abc&rest=" + b"x" * module.TARGET_BYTES]
    for target in targets * 2:
        log.write(exchange(target=target))
    told = [line["target"] for line in written(log, path)]

    assert told[:2] == told[2:]
    assert [text[:12] for text in told[:2]] == ["/short?token", "/long?token="]
    assert "abc" not in "".join(told)


def test_line_tells_the_exchange(log, path):
    """Every field that has something to say."""
    said = decision(
        verdict(limit("per-user")),
        verdict(limit("search")),
        verdict(limit("candidate", is_shadow=True), is_admitted=False),
    )
    log.write(
        exchange(
            b"PUT",
            b"/api/entities/1?culture=en",
            seconds=0.123456,
            client="203.0.113.9",
            decision=said,
            exempt=(limit("per-address"),),
            server="http://127.0.0.1:9000",
            upstream_seconds=0.1,
            status=502,
            redacted_status=500,
            bytes_in=17,
            bytes_out=4096,
            fault=faults.TRUNCATED,
        )
    )
    (line,) = written(log, path)
    line.pop("time")

    assert line == {
        "request_id": "0123456789abcdef",
        "client": "203.0.113.9",
        "peer": "10.1.2.3",
        "method": "PUT",
        "target": "/api/entities/1?culture=en",
        "status": 502,
        "source": "upstream",
        "outcome": "served",
        "bytes_in": 17,
        "bytes_out": 4096,
        "duration_ms": 123.456,
        "limits": {
            "admitted": ["per-user", "search"],
            "shadow_refused": ["candidate"],
            "exempt": ["per-address"],
        },
        "via": "store",
        "server": "http://127.0.0.1:9000",
        "upstream_ms": 100.0,
        "fault": "truncated",
        "redacted_status": 500,
    }


def test_line_leaves_out_what_was_not(log, path):
    """Refused at the door: no server, no limits, no target; but a line."""
    log.write(exchange(b"", b"", status=400, source=WEIR, outcome=REFUSED, fault=faults.BAD_HOST))
    (line,) = written(log, path)

    assert {"server", "limits", "via", "upstream_ms", "redacted_status"}.isdisjoint(line)
    assert (line["method"], line["target"], line["status"], line["fault"]) == ("", "", 400, "bad_host")


def test_line_names_who_was_refused_and_why(log, path):
    """The on-call engineer's first question."""
    said = decision(verdict(limit(), is_admitted=False), via="denial_cache")
    log.write(exchange(status=429, source=WEIR, outcome=REFUSED, decision=said, fault=faults.LIMITED))
    (line,) = written(log, path)

    assert (line["limits"], line["via"], line["fault"]) == (
        {"refused": ["per-user"]},
        "denial_cache",
        "limited",
    )


def test_time_is_the_wall_clocks(log, path, monkeypatch):
    """RFC 3339 in UTC with milliseconds, of the moment the head was whole."""
    monkeypatch.setattr(module, "time", lambda: 1_700_000_000.5)
    monkeypatch.setattr(module, "monotonic", lambda: 50.0)
    for started in (50.0, 49.877, 50.0):
        log.write(exchange(started=started))
    lines = written(log, path)

    assert [line["time"] for line in lines] == [
        "2023-11-14T22:13:20.500Z",
        "2023-11-14T22:13:20.377Z",
        "2023-11-14T22:13:20.500Z",
    ]


def test_no_secret_and_no_second_line(log, path):
    """Whatever a client sends stays one line of JSON, with its secrets masked."""
    forged = b'/a?token=S3CR3T&x="}\r\n{"status": 200}\x1b[2J\xe2\x80\xa8'
    log.write(exchange(b'GE"\nT', forged, client='10.0.0.1"\n{}', request_id="a\nb"))
    log.close()
    text = path.read_bytes()

    assert text.count(b"\n") == 1
    assert text.isascii()
    assert b"S3CR3T" not in text
    line = json.loads(text)
    assert line["target"] == '/a?token=***&x="}\\x0d\\x0a{"status": 200}\\x1b[2J\\xe2\\x80\\xa8'
    assert line["method"] == 'GE"\\x0aT'
    assert line["client"] == '10.0.0.1"\n{}'


@given(method=st.binary(max_size=40), target=st.binary(max_size=300), text=st.text(max_size=40))
def test_any_exchange_is_one_line(tmp_path_factory, method, target, text):
    """Lone surrogates, which are no Unicode, cost their own line only."""
    path = tmp_path_factory.mktemp("log") / "access.log"
    log = AccessLog(str(path), Metrics())
    log.write(exchange(method, target, client=text, request_id=text))
    log.write(exchange(client="\ud800"))
    log.write(exchange())
    lines = written(log, path)

    assert len(lines) == 2
    assert lines[0]["client"] == text
    assert log.dropped == 1


def test_text_that_is_no_unicode_is_no_mistake_of_ours(log, path, caplog):
    """A client can send it: it costs its own line, which is counted, and the log tells no crash."""
    log.write(exchange(client="\ud800"))
    log.write(exchange(bytes_in=7))

    assert [line["bytes_in"] for line in written(log, path)] == [7]
    assert log.dropped == 1
    assert caplog.records == []


def test_mistake_in_a_line_costs_that_line_only(log, path, caplog):
    """Lines are made some at a time: the others are not lost with it, and whoever is served now sees nothing."""
    for bytes_in, charges in ((1, ()), (2, (object(),)), (3, ())):
        log.write(exchange(bytes_in=bytes_in, charges=charges))

    assert [line["bytes_in"] for line in written(log, path)] == [1, 3]
    assert log.dropped == 1
    assert [record.message for record in caplog.records] == ["crashed"]


def test_writes_by_itself_when_there_are_many(log, path):
    """A burst between two flushes does not pile up, and is in order."""
    for number in range(2000):
        log.write(exchange(bytes_in=number))

    assert 0 < len(log._chunk) < module.CHUNK_BYTES
    until(path.read_bytes)
    assert [line["bytes_in"] for line in written(log, path)] == list(range(2000))


def test_flush_is_enough(log, path):
    """What was flushed reaches the file without any further call."""
    log.write(exchange())
    log.flush()
    until(path.read_bytes)

    assert path.read_bytes().count(b"\n") == 1


def test_off_keeps_and_writes_nothing(capfd):
    """No line, no thread, no memory."""
    log = AccessLog("off", Metrics())
    for _ in range(1000):
        log.write(exchange())
    log.flush()
    log.reopen()
    log.close()

    assert log._chunk == b""
    assert log.dropped == 0
    assert capfd.readouterr() == ("", "")


def test_stdout_is_the_descriptor(capfd):
    """Containers collect descriptor 1."""
    log = AccessLog("stdout", Metrics())
    log.write(exchange())
    log.close()

    assert json.loads(capfd.readouterr().out)["status"] == 200


def test_full_pipe_stops_nobody_and_is_counted():
    """Nobody reads stdout: 40 000 exchanges are logged without a wait, the metric says what was lost."""
    read_end, write_end = os.pipe()
    metrics = Metrics()
    log = AccessLog("stdout", metrics, fd=write_end)
    for _ in range(40_000):
        log.write(exchange())
    log.flush()

    assert metrics.access_log_dropped() > 10_000
    before = monotonic()
    log.close(timeout=0.05)
    assert monotonic() - before < 5
    os.close(read_end)
    log._writer._thread.join(5)
    os.close(write_end)


def test_broken_stdout_is_one_line_of_the_programs_log(caplog):
    """The reader is gone: said once, with what and why."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    log = AccessLog("stdout", Metrics(), fd=write_end)
    for _ in range(3):
        log.write(exchange())
        log.flush()
    log.close()
    os.close(write_end)

    assert log.dropped == 3
    (record,) = caplog.records
    assert (record.levelno, record.getMessage()) == (logging.ERROR, "access_log_write_failed")
    assert record.fields["cause"] == "Broken pipe"


def test_reopen_after_logrotate(log, path, tmp_path):
    """Lines that were not yet written belong to the old file."""
    old = tmp_path / "old"
    path.rename(old)
    log.write(exchange(bytes_in=1))
    log.reopen()
    log.write(exchange(bytes_in=2))
    lines = written(log, path)

    assert [line["bytes_in"] for line in lines] == [2]
    assert json.loads(old.read_bytes())["bytes_in"] == 1


def test_remembers_a_bounded_number_of_combinations(log, path, monkeypatch):
    """The text of limits and verdicts is kept for the next line, but not without end."""
    monkeypatch.setattr(module, "VERDICTS_MAX", 2)
    for number in range(5):
        log.write(exchange(decision=decision(verdict(limit(f"limit-{number}")))))
    lines = written(log, path)

    assert [line["limits"]["admitted"] for line in lines] == [[f"limit-{number}"] for number in range(5)]
    assert len(log._limits) <= 2


def test_clock_of_the_lines_follows_the_systems(log, path):
    """Now, within a second."""
    log.write(exchange(started=monotonic()))
    now = time()
    (line,) = written(log, path)

    assert abs(datetime.fromisoformat(line["time"]).timestamp() - now) < 1


# --- by choice ---


def configured(path, *exchanges, **settings):
    """What is written of them."""
    log = AccessLog(str(path), Metrics())
    log.adopt(LogSettings(**settings))
    for each in exchanges:
        log.write(each)
    return written(log, path)


def test_more_fields_are_written_when_they_are_asked_for(path):
    made = exchange()
    made.headers = [
        b"curl/8",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        b"https://a/?token=s3cr3t",
    ]
    (line,) = configured(path, made, fields=["user_agent", "trace_id", "referer"])

    assert line["user_agent"] == "curl/8"
    assert line["trace_id"] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert line["referer"] == "https://a/?token=***"
    assert "host" not in line


def test_what_a_client_leaves_out_is_left_out(path):
    made = exchange()
    made.headers = [b"", b"nonsense"]
    (line,) = configured(path, made, fields=["user_agent", "trace_id"])

    assert "user_agent" not in line
    assert "trace_id" not in line


def test_field_of_a_client_is_bounded(path):
    made = exchange()
    made.headers = [b"x" * 10_000]
    (line,) = configured(path, made, fields=["user_agent"])

    assert len(line["user_agent"]) <= 512


def test_sample_is_of_what_went_well_and_says_its_share(path):
    well = [exchange(request_id=f"{number:032x}") for number in range(4000)]
    badly = [
        exchange(status=500),
        exchange(status=200, redacted_status=500),
        exchange(status=429, outcome=REFUSED, fault=faults.LIMITED, source=WEIR),
        exchange(status=0, outcome="abandoned", fault=faults.CLIENT_GONE),
    ]
    lines = configured(path, *well, *badly, sample="10%")
    kept = [line for line in lines if line.get("sample")]

    assert 300 < len(kept) < 500
    assert {line["sample"] for line in kept} == {0.1}
    assert len(lines) - len(kept) == len(badly)


def test_two_weirs_in_a_row_keep_the_same_requests(tmp_path):
    """By the id that they share."""
    same = [exchange(request_id=f"{number:032x}") for number in range(200)]
    one, other = (
        [line["request_id"] for line in configured(tmp_path / name, *same, sample="10%")] for name in "ab"
    )

    assert one == other


def test_nothing_is_kept_of_nothing(path):
    assert configured(path, exchange(), sample="0%") == []


@pytest.mark.parametrize("destination", ["off", "file"])
def test_slow_request_gets_a_line_that_says_whose_time_it_was(path, destination, caplog):
    """In the program's log, also without an access log; a tunnel is as long as it likes."""
    log = AccessLog("off" if destination == "off" else str(path), Metrics())
    log.adopt(LogSettings(slow="1s"))
    log.write(exchange(seconds=1.5, upstream_started=1000.2, upstream_seconds=1.25, target=b"/a?token=x"))
    log.write(exchange(seconds=0.9))
    log.write(exchange(seconds=99.0, status=101))
    log.close()
    log.flush()
    (record,) = caplog.records

    assert record.getMessage() == "slow_request"
    assert record.fields["duration_ms"] == 1500.0
    assert record.fields["own_ms"] == 200.0
    assert record.fields["upstream_ms"] == 1250.0
    assert record.fields["request"] == "GET /a?token=***"


def test_storm_of_slow_requests_does_not_fill_the_log(caplog, path):
    log = AccessLog(str(path), Metrics())
    log.adopt(LogSettings(slow="1s"))
    for _ in range(1000):
        log.write(exchange(seconds=2.0))
    log.close()

    assert len(caplog.records) == module.SLOW_BURST


def test_reload_changes_the_form_between_two_lines(path):
    log = AccessLog(str(path), Metrics())
    log.adopt(LogSettings())
    log.write(exchange())
    log.adopt(LogSettings(format="common"))
    log.write(exchange())
    log.close()
    first, second = path.read_text().splitlines()

    assert first.startswith("{")
    assert second.startswith("10.1.2.3 - - [")
