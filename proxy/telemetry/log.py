"""The program's own log on stderr, through stdlib logging: one JSON object a line, or text for people.

A call names an event by one word and gives the rest as fields: `event(log, INFO, "reloaded", file=path)`.
Lines are written by a thread (writer.py), so that a full pipe on stderr cannot stop the loop either. Never
given a credential; a pydantic secret prints as asterisks.
"""

from __future__ import annotations

import json
import logging
import os
import re
from datetime import UTC, datetime
from functools import lru_cache

import msgspec

from proxy.telemetry.writer import LineWriter

STDERR = 2
AUDIT = "weir.audit"  # who did what: written whatever the level is
TRACEBACK_CHARS = 16 * 1024  # the innermost frames of a deep recursion are enough

# no-color.org: NO_COLOR turns them off
COLOURS = {
    "debug": "\x1b[2m",
    "info": "\x1b[36m",
    "warning": "\x1b[33m",
    "error": "\x1b[31m",
    "critical": "\x1b[1;31m",
    "event": "\x1b[1m",
}
RESET = "\x1b[0m"

_ODD = re.compile("[^ -~]")  # what may have to be escaped
_QUOTED = frozenset(" \t\r\n\"'=")  # characters after which a word would not end where it ends
_RESERVED = frozenset(("time", "level", "logger", "event", "exception"))


def event(
    logger: logging.Logger, level: int, word: str, /, *, error: BaseException | None = None, **fields: object
) -> None:
    """Logs an event with its fields; `error` adds its traceback as one field."""
    if logger.isEnabledFor(level):
        logger.log(level, word, exc_info=error, extra={"fields": fields}, stacklevel=2)


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON; `worker` is there where several processes write."""

    worker: int | None = None

    def format(self, record: logging.LogRecord) -> str:
        line = _opening(record, record.getMessage())
        if self.worker is not None:
            line["worker"] = self.worker
        fields = getattr(record, "fields", None) or {}
        for name, value in fields.items():
            line[f"{name}_" if name in _RESERVED else name] = _plain(value)
        if record.exc_info:
            line["exception"] = self._traceback(record)
        try:
            return _unambiguous(msgspec.json.encode(line, enc_hook=str).decode())
        except Exception:  # noqa: BLE001 - no Unicode, no str(): shown as well as it can be
            plain = {name: _ascii(value) for name, value in line.items()}
            return _unambiguous(msgspec.json.encode(plain).decode())

    def _traceback(self, record: logging.LogRecord) -> str:
        assert record.exc_info
        return self.formatException(record.exc_info)[-TRACEBACK_CHARS:]


def _unambiguous(line: str) -> str:
    """JSON escapes controls up to U+001F; the others, and what turns or breaks a line on a terminal, here.

    U+0080 to U+009F, U+2028, U+202E and all that prints as nothing (Unicode: Cc, Cf, Zl, Zp).
    """
    return line if line.isprintable() else _ODD.sub(_escape, line)


def _escape(found: re.Match[str]) -> str:
    return _escaped(found[0])


@lru_cache(1024)
def _escaped(character: str) -> str:
    return character if character.isprintable() else json.dumps(character)[1:-1].replace("\x7f", "\\u007f")


def _opening(record: logging.LogRecord, word: str) -> dict[str, object]:
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    return {
        "time": moment.removesuffix("+00:00") + "Z",
        "level": record.levelname.lower(),
        "logger": record.name,
        "event": word,
    }


def _plain(value: object) -> object:
    """Bytes as text: msgspec would make base64 of them."""
    return bytes(value).decode("ascii", "backslashreplace") if isinstance(value, bytes | bytearray) else value


def _ascii(value: object) -> str:
    try:
        return str(value).encode("ascii", "backslashreplace").decode("ascii")
    except Exception:  # noqa: BLE001 - any object may come
        return f"<{type(value).__name__}>"


class TextFormatter(JsonFormatter):
    """A record as a line for people, its traceback indented; colours where a terminal wants them."""

    def __init__(self, *, is_coloured: bool = False) -> None:
        super().__init__()
        self._colours = COLOURS if is_coloured else {}

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created).astimezone()
        level = record.levelname.lower()
        opening, closing = self._colours.get(level, ""), RESET if self._colours else ""
        parts = [f"{moment:%H:%M:%S}.{moment.microsecond // 1000:03d}", f"{opening}{level:<7}{closing}"]
        parts.append(f"{self._colours.get('event', '')}{_safe(record.getMessage())}{closing}")
        if self.worker is not None:
            parts.append(f"worker={self.worker}")
        fields = getattr(record, "fields", None) or {}
        parts += [f"{name}={said(value)}" for name, value in fields.items() if value not in (None, "", 0)]
        text = " ".join(parts)
        if record.exc_info:
            text += "".join([f"\n  {_safe(line)}" for line in self._traceback(record).split("\n")])
        return text


def said(value: object) -> str:
    """Words as they are, all else as JSON has it: nothing that a terminal would obey."""
    text = _ascii(_plain(value)) if isinstance(value, str | bytes | bytearray) else ""
    if text and not set(text) & _QUOTED:
        return _safe(text)
    try:
        return _safe(msgspec.json.encode(_plain(value), enc_hook=str).decode())
    except Exception:  # noqa: BLE001 - no Unicode, no str()
        return _safe(_ascii(value))


def _safe(text: str) -> str:
    """One line, whatever it holds: another would look like an event of its own."""
    return "".join([each if each.isprintable() or each == "\t" else f"\\x{ord(each):02x}" for each in text])


class LineHandler(logging.Handler):
    """Hands each line to a writer."""

    def __init__(self, fd: int, form: str = "json") -> None:
        super().__init__()
        self.lines = _formatter(form, fd)
        self.setFormatter(self.lines)
        self._writer = LineWriter(fd)
        self._told = 0  # of the dropped lines, those that a line has told of

    @property
    def dropped(self) -> int:
        return self._writer.dropped

    def emit(self, record: logging.LogRecord) -> None:
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - a log call never fails; a wrong one is shown with its place
            place = {"call": _ascii(record.msg), "file": record.pathname, "line": record.lineno}
            text = msgspec.json.encode({**_opening(record, "wrong_log_call"), **place}).decode()
        self._offer(record, text.encode() + b"\n")

    def _offer(self, record: logging.LogRecord, line: bytes) -> None:
        dropped = self._writer.dropped
        if dropped > self._told:
            notice = {**_opening(record, "log_lines_dropped"), "lines": dropped - self._told}
            line = msgspec.json.encode(notice) + b"\n" + line
        self._writer.offer(line)
        if self._writer.dropped == dropped:
            self._told = dropped

    def close(self) -> None:
        """Called by logging at the end of the process: what is left is written, for at most a second."""
        self._writer.close()
        super().close()


def _formatter(form: str, fd: int) -> JsonFormatter:
    """`auto`: text where a person looks, JSON where a program reads."""
    is_terminal = form != "json" and os.isatty(fd)
    if form == "text" or (form == "auto" and is_terminal):
        return TextFormatter(is_coloured=is_terminal and "NO_COLOR" not in os.environ)
    return JsonFormatter()


def configure(level: str, form: str = "json", *, fd: int = STDERR, worker: int | None = None) -> LineHandler:
    """Sends all logging to `fd`; called again, as after a reload, it only changes the level."""
    root = logging.getLogger()
    ours = _ours(root)
    handler = ours[0] if ours else LineHandler(fd, form)
    handler.lines.worker = handler.lines.worker if worker is None else worker
    if not ours:
        root.addHandler(handler)
        logging.captureWarnings(capture=True)
    threshold = logging.getLevelNamesMapping()[level.upper()]
    logging.getLogger("weir").setLevel(threshold)
    logging.getLogger(AUDIT).setLevel(min(threshold, logging.INFO))
    root.setLevel(max(threshold, logging.WARNING))  # of libraries: only what somebody must look at
    return handler


def dropped() -> int:
    """Lines that could not be written so far."""
    return sum(handler.dropped for handler in _ours(logging.getLogger()))


def _ours(root: logging.Logger) -> list[LineHandler]:
    return [handler for handler in root.handlers if isinstance(handler, LineHandler)]
