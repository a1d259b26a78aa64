from __future__ import annotations

import json
import logging
import os
import warnings

import pytest
from pydantic import SecretStr

from proxy.telemetry import log as module
from proxy.telemetry.log import LineHandler, configure, event
from tests.telemetry.waiting import until


@pytest.fixture
def lines():
    """Configures logging to a pipe; gives what was written, each line read back as JSON."""
    read_end, write_end = os.pipe()
    root, weir = logging.getLogger(), logging.getLogger("weir")
    before = root.level, weir.level
    handler = configure("info", fd=write_end)

    def read():
        handler.close()
        os.set_blocking(read_end, False)
        with open(read_end, "rb", closefd=False) as reader:
            return [json.loads(line) for line in (reader.read() or b"").splitlines()]

    yield read
    root.removeHandler(handler)
    handler.close()
    logging.captureWarnings(False)
    root.setLevel(before[0])
    weir.setLevel(before[1])
    os.close(read_end)
    os.close(write_end)


log = logging.getLogger("weir.test")


def test_event_is_one_line_with_its_fields(lines):
    """Time, level, logger and the word first, then what belongs to it."""
    event(log, logging.WARNING, "connect_failed", server="http://127.0.0.1:9000", attempts=2)
    (line,) = lines()

    assert list(line) == ["time", "level", "logger", "event", "server", "attempts"]
    assert line["time"].endswith("Z")
    assert len(line["time"]) == len("2023-11-14T22:13:20.500Z")
    assert (line["level"], line["logger"], line["event"]) == ("warning", "weir.test", "connect_failed")
    assert (line["server"], line["attempts"]) == ("http://127.0.0.1:9000", 2)


def test_plain_logging_calls_work_too(lines):
    """Libraries know nothing of fields."""
    log.info("serving %s", "here", extra={"fields": {"port": 80}})
    logging.getLogger("asyncio").error("something")
    first, second = lines()

    assert (first["event"], first["port"]) == ("serving here", 80)
    assert (second["logger"], second["event"]) == ("asyncio", "something")


def test_level_is_a_threshold(lines):
    """Weir's own; libraries speak from warning up, whatever the level."""
    event(log, logging.DEBUG, "hidden")
    configure("debug")
    event(log, logging.DEBUG, "shown")
    logging.getLogger("library").info("hidden")
    configure("error")
    event(log, logging.WARNING, "hidden")
    logging.getLogger("library").warning("hidden")

    assert [line["event"] for line in lines()] == ["shown"]


def test_configuring_again_adds_no_second_line(lines):
    """A reload changes the level only."""
    configure("info")
    configure("info")
    event(log, logging.INFO, "once")

    assert len(lines()) == 1
    assert sum(isinstance(handler, LineHandler) for handler in logging.getLogger().handlers) == 1


def test_exception_is_one_field(lines):
    """A traceback of many lines is one line of the log."""
    try:
        raise ValueError("what\nhappened")
    except ValueError as error:
        event(log, logging.ERROR, "failed", error=error)
        log.exception("failed again")
    first, second = lines()

    for line in (first, second):
        assert line["exception"].startswith("Traceback")
        assert line["exception"].endswith("ValueError: what\nhappened")


def test_text_from_outside_forges_no_line(lines):
    """Line ends and control characters are escaped; bytes and what is no Unicode are shown escaped."""
    event(log, logging.INFO, 'x\n{"event": "forged"}', text="a\nb", data=b"\xff\n", odd="\ud800")
    (line,) = lines()

    assert line["event"] == 'x\n{"event": "forged"}'
    assert line["data"] == "\\xff\n"
    assert line["odd"] == "\\ud800"


def test_text_from_outside_moves_no_terminal():
    """C1 controls, turns of direction, line separators, what prints as nothing: escaped, and read back whole."""
    odd = "\x7f\x85\x9b31m\u2028\u2029\u202e\u2066\ufeff\u200b\U000e0041 caf\u00e9 \u65e5"
    record = logging.LogRecord("weir.test", logging.INFO, "", 0, "odd", None, None)
    record.fields = {"text": odd, "na\u202eme": 1}
    written = module.JsonFormatter().format(record)

    assert written.isprintable()
    assert "caf\u00e9 \u65e5" in written
    assert (json.loads(written)["text"], json.loads(written)["na\u202eme"]) == (odd, 1)


def test_secret_is_not_shown(lines):
    """A setting that is logged by mistake."""
    event(log, logging.INFO, "settings", token=SecretStr("S3CR3T"), both=[SecretStr("S3CR3T")])
    (line,) = lines()

    assert "S3CR3T" not in json.dumps(line)


def test_field_does_not_hide_the_events_own(lines):
    """A field named like one of ours keeps its value under another name."""
    event(log, logging.INFO, "moved", time="noon", level=3, event="other")
    (line,) = lines()

    assert (line["event"], line["level"]) == ("moved", "info")
    assert (line["time_"], line["level_"], line["event_"]) == ("noon", 3, "other")


class Unprintable:
    def __repr__(self):
        raise RuntimeError


def test_anything_can_be_told_as_text():
    record = logging.LogRecord("weir.test", logging.INFO, "", 0, "odd", None, None)
    record.fields = {"thing": Unprintable()}

    assert module.TextFormatter().format(record).endswith("odd thing=<Unprintable>")


def test_anything_can_be_logged(lines):
    """What cannot be encoded is shown as text; the call does not fail."""
    event(log, logging.INFO, "numbers", big=1 << 80, nan=float("nan"), things={1, 2}, error_class=ValueError)
    event(log, logging.INFO, "next", thing=Unprintable())
    numbers, thing = lines()

    assert (numbers["big"], numbers["nan"]) == (1 << 80, None)
    assert thing["thing"] == "<Unprintable>"


def test_wrong_call_is_shown_with_its_place(lines):
    """Arguments that do not fit the message: a line of JSON like all others, not a loose traceback."""
    record = logging.LogRecord("weir", logging.INFO, "somewhere.py", 7, "%d requests", ("many",), None)
    ours = [handler for handler in logging.getLogger().handlers if isinstance(handler, LineHandler)]
    ours[0].emit(record)
    (line,) = lines()

    assert (line["event"], line["call"]) == ("wrong_log_call", "%d requests")
    assert (line["file"], line["line"]) == ("somewhere.py", 7)


def test_warnings_are_lines_too(lines):
    """Not loose text between the JSON."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("old", DeprecationWarning, stacklevel=1)
    (line,) = lines()

    assert line["logger"] == "py.warnings"


def test_full_stderr_stops_nobody():
    """Nobody reads the pipe: log calls return, the rest is counted."""
    read_end, write_end = os.pipe()
    handler = LineHandler(write_end)
    record = logging.LogRecord("weir", logging.INFO, "", 0, "x" * 100_000, None, None)
    for _ in range(100):
        handler.emit(record)

    assert handler.dropped > 50
    os.close(read_end)
    handler.close()
    os.close(write_end)


def test_lost_lines_are_told_when_there_is_room_again():
    """Whoever reads late sees once how many lines are missing, and where."""
    read_end, write_end = os.pipe()
    handler = LineHandler(write_end)
    record = logging.LogRecord("weir", logging.INFO, "", 0, "x" * 100_000, None, None)
    while not handler.dropped:
        handler.emit(record)
    with open(read_end, "rb", closefd=False) as reader:
        first = [json.loads(reader.readline()) for _ in range(4)]
        until(lambda: handler._writer._room > 200_000)
        handler.emit(record)
        while (line := json.loads(reader.readline()))["event"] != "log_lines_dropped":
            first.append(line)
        handler.emit(record)
        last = [json.loads(reader.readline()) for _ in range(2)]
    handler.close()
    os.close(read_end)
    os.close(write_end)

    assert (line["lines"], line["level"]) == (1, "info")
    assert {entry["event"] for entry in (*first, *last)} == {"x" * 100_000}


def test_long_traceback_is_cut_at_its_outer_end(lines, monkeypatch):
    """The innermost frames say what happened."""
    monkeypatch.setattr(module, "TRACEBACK_CHARS", 40)
    try:
        raise ValueError("the end of it")
    except ValueError as error:
        event(log, logging.ERROR, "failed", error=error)
    (line,) = lines()

    assert len(line["exception"]) == 40
    assert line["exception"].endswith("the end of it")


def test_line_of_one_of_several_processes_says_which(lines):
    """Also after a reload, which knows nothing of it."""
    configure("info", worker=3)
    configure("info")
    event(logging.getLogger("weir.test"), logging.INFO, "it")

    assert [(line["event"], line["worker"]) for line in lines()] == [("it", 3)]


# --- for people ---


@pytest.fixture
def shown():
    """Logs to a terminal of its own; gives what it shows."""
    ours, theirs = os.openpty()
    handler = LineHandler(theirs, "auto")
    logger = logging.getLogger("weir.shown")
    logger.addHandler(handler)
    logger.propagate = False
    logger.setLevel("DEBUG")

    def read():
        handler.close()
        os.set_blocking(ours, False)
        return os.read(ours, 100_000).decode()

    yield logger, read
    logger.removeHandler(handler)
    handler.close()
    os.close(ours)
    os.close(theirs)


def test_terminal_gets_text(shown):
    """The time of the place, the level in its colour, the event, its fields."""
    logger, read = shown
    event(logger, logging.WARNING, "reload_refused", file="/etc/weir.yaml", mistakes=["a b", "c"], empty=None)
    text = read()

    assert "\x1b[33mwarning\x1b[0m" in text
    assert "reload_refused" in text
    assert 'file=/etc/weir.yaml mistakes=["a b","c"]' in text
    assert "empty" not in text


def test_terminal_is_not_obeyed(shown):
    """What a service sends, and a client names, is text: no colour, no bell, no line of its own."""
    logger, read = shown
    event(
        logger,
        logging.ERROR,
        "redacted",
        body="\x1b]0;title\x07\x1b[2J",
        name="a\r\nb",
        data=b"\x1b[31m",
        c1="\x9b",
    )
    text = read()

    for forbidden in ("\x1b]", "\x1b[2J", "\x07", "\x1b[31mdata", "\x9b"):
        assert forbidden not in text
    assert text.count("\n") == 1


def test_terminal_shows_where_it_broke(shown):
    logger, read = shown
    try:
        raise ValueError("a\x1b[2Jb")
    except ValueError as error:
        event(logger, logging.ERROR, "crashed", error=error)
    text = read()

    assert "Traceback (most recent call last)" in text
    assert "ValueError: a\\x1b[2Jb" in text


FORGED = "12:00:00.000 error   forged"


def test_no_line_of_the_text_is_an_event_but_those_that_are(shown):
    """Neither in a traceback nor in what a library says."""
    logger, read = shown
    try:
        raise ValueError(f"a\n{FORGED}\x85{FORGED}\u2028{FORGED}\r{FORGED}\x0b{FORGED}")
    except ValueError as error:
        logger.error(f"from a library\n{FORGED}", exc_info=error)  # noqa: G004, TRY400 - as libraries do
    first, *others = read().splitlines()

    assert not first.startswith(FORGED)
    assert others
    assert all(line.startswith("  ") for line in others)


def test_no_color_is_heard(shown, monkeypatch):
    """no-color.org."""
    monkeypatch.setenv("NO_COLOR", "1")
    logger, read = shown
    ours, theirs = os.openpty()
    handler = LineHandler(theirs, "auto")
    record = logger.makeRecord("weir.x", logging.ERROR, "f", 1, "broken", (), None)

    assert "\x1b" not in handler.format(record)
    handler.close()
    os.close(ours)
    os.close(theirs)


def test_form_can_be_chosen(shown):
    """JSON on a terminal, text in a pipe."""
    ours, theirs = os.openpty()
    read_end, write_end = os.pipe()
    record = logging.getLogger("weir.x").makeRecord("weir.x", logging.ERROR, "f", 1, "broken", (), None)
    json_there, text_here = LineHandler(theirs, "json"), LineHandler(write_end, "text")

    assert json.loads(json_there.format(record))["event"] == "broken"
    assert text_here.format(record).endswith("error   broken")
    for handler in (json_there, text_here):
        handler.close()
    for fd in (ours, theirs, read_end, write_end):
        os.close(fd)


def test_worker_is_named_where_there_are_several(shown):
    handler = LineHandler(2, "text")
    handler.lines.worker = 3
    record = logging.getLogger("weir.x").makeRecord("weir.x", logging.INFO, "f", 1, "serving", (), None)

    assert "serving worker=3" in handler.format(record)
    handler.close()
