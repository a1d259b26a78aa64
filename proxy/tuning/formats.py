"""Formats of access logs: Weir's own, JSON of others, nginx and Apache combined, CSV with a header line.

A format turns whole lines into exchanges with their moments; a line that is not of the format is passed over,
never an error. One log has one format, that of its first line that has any. Knows nothing of files.
"""

from __future__ import annotations

import csv
import json
import re
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import msgspec

from proxy.tuning.logged import Logged
from proxy.tuning.moments import Moments

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

T = TypeVar("T")
TimedRequest = tuple[int, Logged]  # microseconds since 1970


class Format(Protocol):
    name: str

    def read(self, lines: bytes) -> list[TimedRequest]:
        """Reads whole lines, and leaves out those that are not of this format."""


class FieldError(ValueError):
    """There is no such field as `--key-field` names."""


def recognised(line: bytes, key_field: str | None) -> Format | None:
    """The format of a log that begins with this line, if it has one. Raises FieldError."""
    if line.lstrip()[:1] == b"{":
        if key_field is None and WeirFormat().read(line):
            return WeirFormat()
        return JsonFormat(key_field) if JsonFormat(key_field).read(line) else None
    return CombinedFormat(key_field) if CombinedFormat(None).read(line) else CsvFormat.of(line, key_field)


class WeirFormat:
    name = "Weir"

    def __init__(self) -> None:
        self._decoder = msgspec.json.Decoder(Logged)
        self._moments = Moments()

    def read(self, lines: bytes) -> list[TimedRequest]:
        moment = self._moments.of_own
        items = []
        for logged in decoded(self._decoder, lines, self._decoder.decode):
            at = moment(logged.time)
            if at is not None and (logged.client or logged.outcome):  # no client: of a Unix socket
                items.append((at, logged))
        return items


def decoded(decoder: msgspec.json.Decoder[T], lines: bytes, decode: Callable[[bytes], T]) -> Iterable[T]:
    """All lines at once, or each by `decode` where one of them is no JSON; that one is left out."""
    try:
        return decoder.decode_lines(lines)
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        return _decoded_singly(lines, decode)


def _decoded_singly(lines: bytes, decode: Callable[[bytes], T]) -> Iterator[T]:
    for line in lines.split(b"\n"):
        try:
            yield decode(line)
        except (ValueError, RecursionError):
            continue


# The names that other programs have for what we need. What stands in blocks is named with dots.
_ALIASES = {
    "time": "time timestamp @timestamp ts date datetime time_iso8601 time_local msec start_time",
    "client": "client client_ip clientip client.ip client.address remote_addr remote_ip ip source.ip address",
    "method": "method request_method http.request.method verb",
    "target": "target request_uri uri path url url.original url.path request_path",
    "request": "request",
    "status": "status status_code code http.response.status_code response_code",
    "credential": "key user token",
}
_REQUEST = re.compile(r"(\S+) (\S+)(?: HTTP/[0-9.]+)?")


_HEX = re.compile(r"\\x([0-9A-Fa-f]{2})")

SHAPES_KNOWN = 64  # lines of one program have few sets of members


class FieldNames:
    """Where a log keeps what: its names for ours."""

    def __init__(self, key_field: str | None, known: Iterable[str] | None = None) -> None:
        """`known` are the names that there are, where that is known. Raises FieldError."""
        self._aliases = {name: tuple(aliases.split()) for name, aliases in _ALIASES.items()}
        self._found: dict[tuple[str, ...], list[tuple[str, tuple[str, ...]]]] = {}
        if key_field is not None:
            if known is not None and key_field not in known:
                raise FieldError(f"there is no field {key_field}; there are {', '.join(known)}")
            self._aliases["credential"] = (key_field,)

    def logged(self, fields: Mapping[str, Any], moments: Moments) -> TimedRequest | None:
        shape = tuple(fields)
        found = dict.fromkeys(_ALIASES, "")
        for name, aliases in self._found.get(shape) or self._find(shape):
            found[name] = _first(fields, aliases)
        at = moments.of(found["time"])
        if at is None or not any(found[name] for name in ("client", "target", "request", "credential")):
            return None
        method, target, status = found["method"], found["target"], found["status"]
        if found["request"] and (request := _REQUEST.fullmatch(found["request"])):
            method, target = request[1], request[2]
        return at, Logged(
            client=found["client"],
            method=method or "GET",
            target=_plain(target) or "/",
            status=int(status) if len(status) == 3 and status.isascii() and status.isdecimal() else 0,
            credential="" if found["credential"] == "-" else found["credential"],
        )

    def _find(self, shape: tuple[str, ...]) -> list[tuple[str, tuple[str, ...]]]:
        """Those of each name that can be there in a line with these members: nearly always one."""
        if len(self._found) >= SHAPES_KNOWN:
            self._found.clear()
        there = set(shape)
        found = self._found[shape] = []
        for name, aliases in self._aliases.items():
            some = tuple(alias for alias in aliases if alias in there or alias.partition(".")[0] in there)
            if some:
                found.append((name, some))
        return found


def _first(fields: Mapping[str, Any], aliases: Iterable[str]) -> str:
    for alias in aliases:
        value = fields.get(alias)
        if value is None and "." in alias:
            value = _within(fields, alias.split("."))
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            return str(value)
    return ""


def _within(fields: Any, way: Sequence[str]) -> Any:
    for name in way:
        if not isinstance(fields, dict):
            return None
        fields = fields.get(name)
    return fields


class JsonFormat:
    """One object a line, with the names that others use."""

    name = "JSON"

    def __init__(self, key_field: str | None) -> None:
        self._names = FieldNames(key_field)
        self._moments = Moments()
        self._decoder = msgspec.json.Decoder()

    def read(self, lines: bytes) -> list[TimedRequest]:
        """One by one by Python's decoder, which takes more than others do, such as halves of a character."""
        logged, moments = self._names.logged, self._moments
        every = decoded(self._decoder, lines, json.loads)
        items = (logged(fields, moments) for fields in every if type(fields) is dict)
        return [item for item in items if item is not None]


class CsvFormat:
    """A header line that names the columns, and rows of as many."""

    name = "CSV"

    def __init__(self, columns: Sequence[str], header: bytes, key_field: str | None) -> None:
        self._columns = columns
        self._header = header.strip()
        self._names = FieldNames(key_field, columns)
        self._moments = Moments()

    @classmethod
    def of(cls, line: bytes, key_field: str | None) -> CsvFormat | None:
        """The format of a header that names a time and a column more; a line of words does so hardly by
        chance.
        """
        columns = [name.strip() for name in _row(line.decode("utf-8-sig", "replace").strip())]
        has_time = any(name in _ALIASES["time"].split() for name in columns)
        return cls(columns, line, key_field) if has_time and len(columns) > 1 else None

    def read(self, lines: bytes) -> list[TimedRequest]:
        items = (self._item(line) for line in lines.decode("utf-8", "replace").split("\n"))
        return [item for item in items if item is not None]

    def _item(self, line: str) -> TimedRequest | None:
        row = _row(line.strip("\r"))
        if len(row) != len(self._columns):
            return None
        return self._names.logged(dict(zip(self._columns, row, strict=True)), self._moments)


def _row(line: str) -> list[str]:
    if '"' not in line and "\r" not in line:
        return line.split(",")
    try:
        return next(csv.reader([line]), [])
    except csv.Error:
        return []


def _plain(text: str) -> str:
    """A byte that would break a line is `\\xNN` to Weir and to nginx, a backslash too."""
    return _HEX.sub(lambda match: chr(int(match[1], 16)), text) if "\\x" in text else text


_WORD = r'(?:"(?:[^"\\\n]|\\[^\n])*"|\[[^\]\n]*\]|[^\s"\[]\S*)'
_FIELDS = ("client", "ident", "user", "time", "request", "status", "bytes")  # of a combined line, in order
_NAMED = {**{name: number for number, name in enumerate(_FIELDS, 1)}, "referer": 8, "agent": 9}
_ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|(.))")


class CombinedFormat:
    """The combined and common formats of nginx and Apache; further columns may follow.

    The field of the key is a column by its number, counted from 1 (or from the end, from -1): what stands in
    quotes or brackets is one column.
    """

    name = "combined"

    def __init__(self, key_field: str | None) -> None:
        """Raises FieldError."""
        self._column = column = _column(key_field)
        self._line = re.compile(
            r"(?:\S+:[0-9]+ )?(?P<client>\S+) \S+ (?P<user>[^\n\[]{1,256}?) \[(?P<time>[^\]\n]{1,64})\] "
            r'"(?P<method>[^ "]+) (?P<target>(?:[^ "\\]|\\.)+)(?: HTTP/[0-9.]+)?" (?P<status>[0-9]{3})'
            r" (?:[0-9]+|-)(?= |\r?\Z)" + _tail(column) + r".*"
        )
        self._lines = re.compile(_plain_line(column)).findall
        self._moments = Moments()

    def read(self, lines: bytes) -> list[TimedRequest]:
        """Nearly all lines are plain; measured: 1.2 us instead of 4.6 with a column of the key."""
        moment, odd = self._moments.of, self._odd
        items = []
        for client, time, method, target, status, key, line in self._lines(lines.decode("latin-1")):
            if line:
                item = odd(line)
                if item is not None:
                    items.append(item)
                continue
            at = moment(time)
            if at is not None:
                logged = Logged("", client, method, target, int(status))
                if key and key != "-":
                    logged.credential = key
                items.append((at, logged))
        return items

    def _odd(self, line: str) -> TimedRequest | None:
        match = self._line.fullmatch(line)
        at = self._moments.of(match["time"]) if match is not None else None
        if match is None or at is None:
            return None
        logged = Logged(
            client=match["client"],
            method=match["method"],
            target=_unescaped(match["target"]),
            status=int(match["status"]),
        )
        if self._column is not None:
            logged.credential = _value(self._word(match, self._column))
        return at, logged

    def _word(self, match: re.Match[str], column: int) -> str:
        if "key" in match.re.groupindex:
            return match["key"] or ""
        return {1: match["client"], 3: match["user"], 6: match["status"]}.get(column, "")


def _column(key_field: str | None) -> int | None:
    if key_field is None:
        return None
    if (number := _NAMED.get(key_field)) is not None:
        return number
    if re.fullmatch("-?[1-9][0-9]?", key_field):
        return int(key_field)
    raise FieldError(
        f"{key_field}: in this log a field is the number of a column, counted from 1 or from the end with -1,"
        f" or one of {', '.join(_NAMED)}"
    )


def _plain_line(column: int | None) -> str:
    """Six groups of a line as nearly all are, or, in the seventh, a line of any other kind.

    Nearly all have no escape up to the column of the key, and quotes around the eighth and further columns.
    """
    tail = r"(?: [^\n]*)?()"
    if column is not None:
        is_quoted = column > len(_FIELDS)
        words = r' "[^"\\\n]*"' * (column - len(_FIELDS) - 1)
        tail = rf'{words} "([^"\\\n]*)"(?: [^\n]*)?' if is_quoted else r"(?!)()"
    return (
        r"(\S+) \S+ [^ \n\[]+ \[([^\]\n]{1,64})\] "
        r'"([^ "\\\n]+) ([^ "\\\n]+)(?: HTTP/[0-9.]+)?" ([0-9]{3}) (?:[0-9]+|-)'
        + tail
        + r"\r?(?:\n|\Z)|([^\n]+)"
    )


def _tail(column: int | None) -> str:
    """How the column of the key is found behind the seven of every line; it may be missing."""
    if column is None or 0 < column <= len(_FIELDS):
        return ""
    if column > 0:
        return rf"(?:(?: {_WORD}){{{column - len(_FIELDS) - 1}}} (?P<key>{_WORD}))?"
    return rf"(?:.*? (?P<key>{_WORD})(?: {_WORD}){{{-column - 1}}}$)?"


def _value(word: str) -> str:
    if word[:1] == '"':
        word = _unescaped(word[1:-1])
    return "" if word == "-" else word


def _unescaped(text: str) -> str:
    """A quote is `\\x22` to nginx and `\\"` to Apache."""
    if "\\" not in text:
        return text
    return _ESCAPE.sub(lambda match: chr(int(match[1], 16)) if match[1] else match[2], text)
