from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from proxy.config.loader import loads
from proxy.config.names import REPLACED
from proxy.config.sections.answers import ErrorSettings
from proxy.contract.capture import CAPTURE_BYTES
from proxy.contract.redaction import Original, Redaction
from proxy.http1.head import ResponseHead, response_head

FAILURE = {"errorCode": "E-17", "message": "no such table: users", "password": "hunter2"}


def head(*lines: str, status: str = "500 NullReferenceException in Db.cs") -> ResponseHead:
    section = "".join(f"{line}\r\n" for line in lines)
    parsed = response_head(f"HTTP/1.1 {status}\r\n{section}\r\n".encode(), b"GET")
    assert isinstance(parsed, ResponseHead)
    return parsed


def original(body: bytes, *lines: str, keep: tuple[str, ...] = ()) -> Original:
    made = Original(head(*lines), keep)
    made.feed(body)
    return made


def test_failures_are_replaced_and_nothing_else():
    """500 to 599 by default."""
    redaction = Redaction.from_settings(ErrorSettings())

    assert [status for status in range(100, 1000) if redaction.covers(status)] == list(range(500, 600))


def test_the_config_says_which():
    """Ranges and single statuses."""
    config = "upstream: {servers: ['http://127.0.0.1:9']}\nerrors: {redact: ['400', 502-503]}\n"
    redaction = Redaction.from_settings(loads(config, "weir.yaml").errors)

    assert [status for status in range(100, 1000) if redaction.covers(status)] == [400, 502, 503]


def test_what_a_client_acts_on_goes_on():
    """Leaking and describing fields do not, nor those of this hop or named by Connection."""
    made = original(
        b"",
        "Server: Kestrel",
        "Retry-After: 7",
        "Content-Type: text/html",
        "Connection: close, X-Hop",
        "X-Hop: 1",
        "X-Request-Id: abc",
        "Vary: Origin",
        "vary: Accept",
    )

    assert made.kept_lines() == b"Retry-After: 7\r\nVary: Origin\r\nvary: Accept\r\n"
    assert made.kept_lines(frozenset((b"vary",))) == b"Retry-After: 7\r\n"


def test_the_log_gets_the_truth_without_secrets():
    """Status, reason, headers and body as they came, as far as they may be written down."""
    body = json.dumps(FAILURE).encode()
    made = original(
        gzip.compress(body, mtime=0),
        "Content-Encoding: gzip",
        "Set-Cookie: sid=hunter2",
        "X-Powered-By: PHP/8.1",
    )

    logged = made.for_log()

    assert logged["status"] == 500
    assert logged["reason"] == "NullReferenceException in Db.cs"
    assert logged["headers"] == ["Content-Encoding: gzip", "Set-Cookie: ***", "X-Powered-By: PHP/8.1"]
    assert "no such table: users" in str(logged["body"])
    assert "hunter2" not in str(logged)
    assert logged["body_bytes"] == len(gzip.compress(body, mtime=0))


@given(st.lists(st.binary(max_size=9000), max_size=8))
@example([b"a" * (CAPTURE_BYTES + 5000), b"b" * 9000])
@example([b"a" * (CAPTURE_BYTES - 1), b"bc", b"d"])
def test_a_body_is_kept_to_the_bound_and_counted_whole(pieces):
    """However it is cut into pieces."""
    made = original(b"")
    for piece in pieces:
        made.feed(piece)

    assert made.size == sum(map(len, pieces))
    assert made._data == b"".join(pieces)[:CAPTURE_BYTES]


def test_listed_members_stay():
    """Of a JSON error object, compressed or not."""
    body = json.dumps(FAILURE).encode()
    keep = ("errorCode", "password", "absent")

    plain = original(body, "Content-Type: application/problem+json; charset=utf-8", keep=keep)
    packed = original(
        gzip.compress(body, mtime=0), "Content-Type: application/json", "Content-Encoding: gzip", keep=keep
    )

    assert plain.members() == packed.members() == {"errorCode": "E-17"}


@pytest.mark.parametrize(
    ("body", "content_type", "keep"),
    [
        (b'{"errorCode": "E"}', "text/html", ("errorCode",)),
        (b'{"errorCode": "E"}', "application/json", ()),
        (b'{"errorCode": "E"}'.ljust(CAPTURE_BYTES + 1), "application/json", ("errorCode",)),
    ],
)
def test_no_member_stays_of_anything_else(body, content_type, keep):
    """Not JSON, none asked for, or too long to be read whole."""
    assert original(body, f"Content-Type: {content_type}", keep=keep).members() == {}


def test_fields_that_are_asked_for_stay():
    """By name, in any case; without being asked for, cookies and places of the service go."""
    failed = head("Set-Cookie: a=b", "LOCATION: /srv/app/login", "Server: x")
    asked = Redaction([(500, 599)], keep_headers=["set-cookie", "Location"]).original(failed)
    plain = Redaction([(500, 599)]).original(failed)

    assert asked.kept_lines() == b"Set-Cookie: a=b\r\nLOCATION: /srv/app/login\r\n"
    assert plain.kept_lines() == b""


@pytest.mark.parametrize("name", sorted(REPLACED))
def test_field_of_the_replacement_is_not_there_twice(name):
    """Whoever asks for it: a second Content-Length would have the rest read as another answer."""
    asked = Redaction([(500, 599)], keep_headers=[name.title(), "X-A"]).original(head(f"{name}: 1", "X-A: 2"))

    assert asked.kept_lines() == b"X-A: 2\r\n"


def test_interim_answer_keeps_its_hints_and_no_field_of_the_hop():
    """Content-Length in it would be taken for the final answer's."""
    redaction = Redaction([(500, 599)], keep_headers=["X-Named", "X-Hop", "Content-Length"])
    early = head(
        "Link: </a.css>",
        "X-Named: 2",
        "X-Hop: 3",
        "Connection: x-hop",
        "Content-Length: 3",
        status="103 Early",
    )

    assert redaction.interim_lines(early) == b"Link: </a.css>\r\nX-Named: 2\r\n"


def test_success_that_tells_of_a_failure_is_shown_as_one():
    success = Redaction([(500, 599)]).original(head(status="200 OK"))
    success.feed(b"ORA-00942: table or view does not exist")

    assert success.examine()
    assert (success.leak, success.shown_status) == ("sql", 500)
    assert Original(head(status="404 X")).shown_status == 404
    assert not Original(head()).examine()
