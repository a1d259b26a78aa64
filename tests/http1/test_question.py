"""What a front's question is about: tests/test_deciding.py asks through a listener."""

from __future__ import annotations

import pytest

from proxy.faults import BAD_FRONT, BAD_HOST, BAD_TARGET, UNKNOWN_METHOD, Fault
from proxy.http1.head import METHODS, RequestHead, request_head
from proxy.http1.question import asked

ORIGINAL = ["X-Original-Method: POST", "X-Original-URI: /orders?x=1"]
FORWARDED = ["X-Forwarded-Method: POST", "X-Forwarded-Uri: /orders?x=1", "X-Forwarded-Host: shop.example"]


def question(*fields, front="auto", target="/_weir", version="1.1"):
    lines = "".join(f"{field}\r\n" for field in ("Host: weir.example", *fields))
    head = request_head(f"GET {target} HTTP/{version}\r\n{lines}\r\n".encode(), 8000, 100)
    assert isinstance(head, RequestHead)
    return asked(head, 8000, METHODS, front=front)


@pytest.mark.parametrize(
    ("front", "fields", "host"),
    [
        ("auto", ORIGINAL, b"weir.example"),
        ("nginx", ORIGINAL, b"weir.example"),
        ("haproxy", ORIGINAL, b"weir.example"),
        ("auto", FORWARDED, b"shop.example"),
        ("traefik", FORWARDED, b"shop.example"),
        ("caddy", FORWARDED, b"shop.example"),
    ],
)
def test_request_is_what_the_front_tells(front, fields, host):
    about = question(*fields, front=front)

    assert isinstance(about, RequestHead)
    assert (about.method, about.target, about.fields[b"host"]) == (b"POST", b"/orders?x=1", host)


@pytest.mark.parametrize("front", ["auto", "envoy"])
def test_question_without_such_fields_is_the_request_itself(front):
    about = question(front=front, target="/a")

    assert isinstance(about, RequestHead)
    assert (about.method, about.target) == (b"GET", b"/a")


def test_line_that_is_not_plain_is_judged_as_a_head_would_be():
    """Absolute-form becomes origin-form (RFC 9112 section 3.2.2)."""
    about = question(ORIGINAL[0], "X-Original-URI: http://weir.example/a")

    assert isinstance(about, RequestHead)
    assert about.target == b"/a"


def test_version_is_that_of_the_question():
    """The answer goes to the front."""
    assert question(*ORIGINAL, version="1.0").minor == 0


@pytest.mark.parametrize(
    ("front", "fields", "fault"),
    [
        ("auto", [ORIGINAL[0], FORWARDED[1]], BAD_FRONT),
        ("auto", ORIGINAL[:1], BAD_FRONT),
        ("nginx", [], BAD_FRONT),
        ("traefik", FORWARDED[:2], BAD_FRONT),
        ("nginx", [*ORIGINAL, ORIGINAL[1]], BAD_FRONT),
        ("nginx", ["X-Original-Method: MAKE", ORIGINAL[1]], UNKNOWN_METHOD),
        ("nginx", [ORIGINAL[0], "X-Original-URI: /a#b"], BAD_TARGET),
        ("caddy", [*FORWARDED[:2], "X-Forwarded-Host: a b"], BAD_HOST),
    ],
)
def test_front_that_tells_no_request_is_not_believed(front, fields, fault):
    found = question(*fields, front=front)

    assert isinstance(found, Fault)
    assert found is fault
