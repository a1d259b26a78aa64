"""Answers that look like an answer and tell of a failure: stack traces and database errors in a 200 or a 4xx.

A signature is a pattern and its anchors, words without which the pattern cannot match: a text without anchors
costs some searches. Texts are taken as services print them, in plain text, in JSON strings and in HTML. Knows
nothing of what is done about a leak.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from proxy.contract.capture import CAPTURE_BYTES, decoded, decoded_in_part

if TYPE_CHECKING:
    from proxy.http1.head import ResponseHead

EXAMINED_BYTES = CAPTURE_BYTES  # of a body, from its beginning

# Text that people or programs read. Event streams are not held back: their beginning may take for ever.
_TEXT = re.compile(
    rb"text/(?:html|plain|xml)|application/(?:[\w.+-]+\+)?(?:json|xml)|application/xhtml\+xml", re.IGNORECASE
)


class Signature(NamedTuple):
    name: str  # a word for the metric's label and for the log
    anchors: tuple[bytes, ...]
    pattern: re.Pattern[bytes]


def _signature(name: str, anchors: str, pattern: str) -> Signature:
    words = tuple(anchor.encode() for anchor in anchors.split("|"))
    return Signature(name, words, re.compile(pattern.encode()))


# A quote as it is, in JSON, in HTML.
_Q = r"""(?:\\?["']|&quot;|&\#0?3[49];|&#x2[27];)"""
# "at", also behind an escaped tab or end of line within a JSON string.
_AT = r"(?:\b|\\[nrt])at "

# Quantifiers are bounded, and what begins a pattern is rare: no text makes the work quadratic.
SIGNATURES: tuple[Signature, ...] = (
    _signature(
        "python", "(most recent|.py", rf"Traceback (?:of \w+ )?\(most recent call last|\.py{_Q}?, line \d"
    ),
    _signature(
        "java",
        ".java:|Exception|Error:",
        r"\([\w$]{1,80}\.java:\d|Exception in thread"
        r"|\b(?:java|javax|jakarta|org\.\w{1,40}|com\.\w{1,40})\.[\w.$]{1,200}(?:Exception|Error):",
    ),
    _signature(
        "dotnet",
        ":line |Exception: |Server Error in",
        r"\) in [^\r\n]{1,200}?:line \d|\b(?:System|Microsoft)\.[\w.]{1,200}Exception: "
        rf"|Server Error in {_Q}/",
    ),
    _signature(
        "node",
        ".js:|.mjs:|.cjs:|.ts:|node:",
        rf"{_AT}[^\r\n]{{0,120}}?(?:\.[mc]?[jt]s|node:[\w/]{{1,80}}):\d+:\d",
    ),
    _signature(
        "php",
        ".php",
        r"(?:Fatal|Parse) error(?:</b>)?: |\.php(?:</b>)? on line (?:<b>)?\d|\.php\(\d+\): ",
    ),
    _signature("ruby", "rb:", r"\.e?rb:\d+:in (?:[`']|&\#39;|&quot;)"),
    _signature("go", "goroutine |.go:", r"goroutine \d+ \[[\w ]{1,40}\]:|\.go:\d+ \+0x[0-9a-f]"),
    _signature(
        "sql",
        "SQL|ORA-|PG::|psycopg|sqlite3.|no such |syntax|unique constraint|ODBC",
        r"SQLSTATE\[|SQL syntax;|\bORA-\d{5}:|\bPG::\w|\bpsycopg\d?\.|SQLITE_[A-Z]|\bsqlite3\.\w{1,40}Error"
        r"|no such (?:table|column): \w|Incorrect syntax near|duplicate key value violates unique constraint"
        r"|\bSQL Server\b.{0,40}\b(?:error|Driver)|\bODBC\b.{0,40}\bDriver|\bDB2 SQL error",
    ),
    # The pages that frameworks show to their developers begin with pages of style.
    _signature(
        "debugger",
        ".traceback-|Debugger|</title>",
        r"\.traceback-container|Werkzeug Debugger|Starlette Debugger"
        r"|<title>\w{1,80}(?:Error|Exception)\s+at /",
    ),
)


def is_examined(head: ResponseHead) -> bool:
    """Whether the body is text of a kind that services leak through."""
    status = head.status
    if not (200 <= status < 300 or 400 <= status < 500) or status in (204, 205, 206):
        return False
    return head.body_length != 0 and _TEXT.match(head.fields.get(b"content-type", b"")) is not None


def leak_in(beginning: bytes, content_encoding: bytes = b"") -> str:
    """The name of the first signature that the beginning of a body shows; empty if it shows none."""
    text = beginning
    if content_encoding:
        taken = beginning[:EXAMINED_BYTES]
        text = decoded(taken, content_encoding) or decoded_in_part(taken, content_encoding)
    if not text:
        return ""
    for name, anchors, pattern in SIGNATURES:
        for anchor in anchors:
            if anchor in text:
                if pattern.search(text, 0, EXAMINED_BYTES) is not None:
                    return name
                break
    return ""
