"""Tags made at the edge: who gets one, what it is, whom it answers, and how much may be held for it."""

from __future__ import annotations

import base64
import hashlib

import pytest

from proxy.contract.etags import HELD_BYTES, TAGGED_BYTES, Budget, Tag, is_listed, is_taggable
from proxy.http1.head import request_head
from tests.contract.test_redaction import head
from tests.support.messages import get

BODY = b'{"id": 17}'
TAG = b'"%b"' % base64.b64encode(hashlib.sha256(BODY).digest())


def taggable(*lines: str, asked: bytes = get(), status: str = "200 OK") -> bool:
    request = request_head(asked, 8192, 100, None)
    return is_taggable(request, head(*lines, status=status))


# --- who gets one ---


@pytest.mark.parametrize(
    "lines",
    [
        (),
        ("Content-Length: 0",),
        (f"Content-Length: {TAGGED_BYTES}",),
        ("Transfer-Encoding: chunked",),
        ("Content-Encoding: gzip", "Vary: Accept-Encoding"),
        ("Cache-Control: private, max-age=0, no-cache",),
        ("Content-Type: application/json",),
        ("Last-Modified: Mon, 23 Nov 2026 09:00:00 GMT",),
        ("X-Accel-Buffering: yes",),
    ],
)
def test_whole_answer_gets_a_tag(lines):
    assert taggable(*lines)


@pytest.mark.parametrize(
    "lines",
    [
        ('ETag: "1"',),
        ("etag: W/x",),
        ("Set-Cookie: a=b",),
        ("Cache-Control: no-store",),
        ("Cache-Control: private", "Cache-Control: NO-STORE"),
        ("Content-Range: bytes 0-9/100",),
        ("Transfer-Encoding: chunked", "Trailer: ETag"),
        (f"Content-Length: {TAGGED_BYTES + 1}",),
        ("Content-Type: text/event-stream; charset=utf-8",),
        ("Content-Type: Application/X-NDJSON",),
        ("Content-Type: application/ndjson",),
        ("Content-Type: application/jsonl",),
        ("Content-Type: application/geo+json-seq",),
        ("Content-Type: application/json-seq",),
        ("Content-Type: application/stream+json",),
        ("Content-Type: application/grpc+proto",),
        ("Content-Type: multipart/x-mixed-replace; boundary=x",),
        ("X-Accel-Buffering: no",),
    ],
)
def test_answer_with_a_tag_for_one_client_or_in_a_stream_gets_none(lines):
    assert not taggable(*lines)


@pytest.mark.parametrize("status", ["201 Created", "203 Non", "204 No", "206 Partial", "304 Not", "404 Not"])
def test_other_statuses_get_none(status):
    assert not taggable(status=status)


@pytest.mark.parametrize("asked", [get(method="HEAD"), get(method="POST"), get("Range: bytes=0-1")])
def test_other_requests_get_none(asked):
    assert not taggable(asked=asked)


# --- what it is, and whom it answers ---


def made(*pieces: bytes, condition: bytes | None = None) -> Tag:
    tag = Tag(condition, Budget())
    assert all([tag.feed(piece) for piece in pieces])
    return tag


def test_tag_is_the_hash_of_the_body_however_it_came():
    assert made(BODY).value == TAG
    assert made(*[BODY[n : n + 1] for n in range(len(BODY))]).value == TAG
    assert made().value == b'"47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="'


@pytest.mark.parametrize(
    "condition",
    [
        TAG,
        b"W/" + TAG,
        b"*",
        b" * ",
        b'"x", ' + TAG,
        TAG + b',"x"',
        b",, " + TAG + b" , ,",
        b'"a,b", W/"", ' + TAG,
        b'"\xff",' + TAG,
    ],
)
def test_condition_that_names_the_tag(condition):
    """By weak comparison, in lists, with the empty elements that a list may have."""
    assert is_listed(TAG, condition)
    assert made(BODY, condition=condition).is_known


@pytest.mark.parametrize(
    "condition",
    [
        b"",
        b'""',
        b'"x"',
        TAG[1:-1],
        TAG[:-1],
        TAG + TAG,
        TAG + b" " + TAG,
        b"w/" + TAG,
        b"W/ " + TAG,
        b"*, " + TAG,
        b"x, " + TAG,
        TAG + b", x",
        b"'" + TAG + b"'",
        b'"\x7f", ' + TAG,
        b'" ", ' + TAG,
        b'"' + TAG + b'"',
        b"," * 1000,
    ],
)
def test_condition_that_does_not(condition):
    """A malformed one names nothing, whatever it holds."""
    assert not is_listed(TAG, condition)


def test_no_condition_makes_the_matching_slow():
    """60 KiB, the largest head there is, of what looks like a list until its end."""
    assert not is_listed(TAG, b'W/"",\t' * 10_000 + b"x")
    assert not is_listed(TAG, b", \t" * 20_000 + b"x")
    assert not is_listed(TAG, b'"' * 60_000)


def test_request_without_condition_is_not_answered_by_it():
    assert not made(BODY).is_known


# --- how much may be held ---


def test_body_past_the_bound_is_not_held():
    budget = Budget()
    tag = Tag(None, budget)

    assert tag.feed(b"x" * TAGGED_BYTES)
    assert not tag.feed(b"x")
    assert budget.left == HELD_BYTES - TAGGED_BYTES
    tag.drop()
    tag.drop()
    assert budget.left == HELD_BYTES


def test_bodies_share_a_budget():
    """What one gives back, another may take."""
    budget = Budget(10)
    one, two = Tag(None, budget), Tag(None, budget)

    assert one.feed(b"x" * 6)
    assert not two.feed(b"x" * 5)
    assert two.feed(b"x" * 4)
    one.drop()
    assert two.feed(b"x" * 6)
    assert budget.left == 0
