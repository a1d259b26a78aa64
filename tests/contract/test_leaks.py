from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.leaks import EXAMINED_BYTES, SIGNATURES, is_examined, leak_in
from proxy.http1.head import response_head

CORPUS = sorted((Path(__file__).parents[1] / "e2e" / "leaks" / "corpus").iterdir())
ROOT = Path(__file__).parents[2]

# One sentence, which may as well be meant for the client; a page whose first 16 KiB are its style.
UNSEEN = ("fastify_default", "webrick_default", "litestar_debug")
# As stacks print them that are not in the corpus.
PRINTED = {
    "dotnet": [
        "System.Data.SqlClient.SqlException: Invalid object name 'Users'.",
        "   at Hub.Api.EntityReader.Read(Int64 id) in C:\\agent\\_work\\1\\s\\Hub\\EntityReader.cs:line 42",
        "<title>Server Error in '/' Application.</title>",
        '{"stackTrace":"   at Hub.Api.Reader.Read(Int64 id) in /src/Hub/Reader.cs:line 42\\n"}',
    ],
    "go": ["panic: boom\n\ngoroutine 19 [running]:\nmain.main()", "\t/srv/hub/main.go:17 +0x39"],
    "java": [
        'java.lang.NullPointerException: Cannot invoke "String.length()"',
        "\tat com.hub.Entities.read(Entities.java:120)\n",
        '{"trace":"org.springframework.dao.DataAccessException: x\\n\\tat com.hub.A.b(A.java:1)"}',
        'Exception in thread "main" x',
    ],
    "php": [
        "<b>Warning</b>:  mysqli_connect(): (HY000/2002): refused in <b>/var/www/index.php</b> on line <b>3</b>",
        "PHP Fatal error:  Uncaught Error: Call to undefined function a() in /var/www/a.php:3",
    ],
    "ruby": [
        "/srv/hub/app.rb:12:in `read'",
        "app/views/a.html.erb:3:in `block'",
        "from /srv/app.rb:1:in &#39;x",
    ],
    "sql": [
        "ORA-00942: table or view does not exist",
        "You have an error in your SQL syntax; check the manual",
        "[Microsoft][ODBC Driver 17 for SQL Server]Login failed",
        'duplicate key value violates unique constraint "users_pkey"',
        "Incorrect syntax near 'FROM'.",
    ],
}
# What services say without failing.
HARMLESS = [
    '{"id": 7, "title": "How to read a Python traceback", "body": "Traceback is what one calls it"}',
    '{"errors": [{"errorCode": "E7", "message": "The name is missing", "field": "name"}]}',
    "<p>The exception proves the rule; see main.py, app.js or index.php, line 12.</p>",
    '{"file": "report.rb", "lines": ["at noon (see notes.js)"], "sql": "SELECT * FROM customers"}',
    "An exception was made for you. Error: the file is too large (max 10 MB).",
    '{"message": "no such entity: 17", "type": "NotFoundException"}',
    "constraint: at most 10 per order; syntax: key=value",
    '<script src="/static/app.js?v=1:2"></script><a href="/docs/node.js">at a glance</a>',
    "Notice: the office is closed. See index.php",
    "Warning: 3 in stock",
]


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.stem)
def test_answer_of_a_failing_stack_is_known(path):
    """Whoever shows a trace, a statement or a debugger's page."""
    body = path.read_bytes().partition(b"\r\n\r\n")[2]

    assert leak_in(body[:EXAMINED_BYTES]) or path.stem.startswith(UNSEEN)


@pytest.mark.parametrize(
    ("name", "text"), [(name, text) for name, texts in PRINTED.items() for text in texts]
)
def test_signature_is_known(name, text):
    """Alone, in HTML, as a member of a JSON object, and compressed."""
    assert leak_in(text.encode()) == name
    assert leak_in(f"<html><body><pre>{text}</pre>".encode()) == name
    assert leak_in(json.dumps({"a": text}).encode()) != ""
    assert leak_in(gzip.compress(text.encode(), mtime=0), b"gzip") == name


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_failure_is_not_taken_for_one(text):
    assert leak_in(text.encode()) == ""


def test_own_pages_are_harmless():
    """Documentation speaks of files, errors and traces all the time."""
    pages = [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]

    assert [page.name for page in pages if leak_in(page.read_bytes()[:EXAMINED_BYTES])] == []


def test_only_the_beginning_is_looked_at():
    assert leak_in(b" " * EXAMINED_BYTES + b"ORA-00942: x") == ""


@given(st.binary(max_size=300), st.sampled_from([b"", b"gzip", b"br", b"deflate", b"x"]))
def test_nothing_makes_it_raise(data, coding):
    assert leak_in(data, coding) in {"", *(signature.name for signature in SIGNATURES)}


@pytest.mark.parametrize(
    ("status", "lines", "examined"),
    [
        (200, [b"Content-Type: application/json", b"Content-Length: 5"], True),
        (404, [b"Content-Type: text/html; charset=utf-8", b"Transfer-Encoding: chunked"], True),
        (422, [b"Content-Type: application/problem+json"], True),
        (200, [b"Content-Type: text/event-stream"], False),
        (200, [b"Content-Type: image/png", b"Content-Length: 5"], False),
        (200, [b"Content-Length: 5"], False),
        (200, [b"Content-Type: application/json", b"Content-Length: 0"], False),
        (206, [b"Content-Type: application/json", b"Content-Length: 5"], False),
        (302, [b"Content-Type: text/html", b"Content-Length: 5"], False),
        (503, [b"Content-Type: text/html", b"Content-Length: 5"], False),
    ],
)
def test_text_of_200s_and_400s_is_examined(status, lines, examined):
    head = response_head(b"\r\n".join([b"HTTP/1.1 %d X" % status, *lines, b"", b""]), b"GET")

    assert is_examined(head) is examined
