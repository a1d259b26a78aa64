"""Answers of our own: refusals, what stands for an answer that must not leave, and 304."""

from __future__ import annotations

import json

import pytest

from proxy import faults
from proxy.contract.redaction import Original
from proxy.http1.serialise import status_line
from proxy.policy.decision import Decision, Verdict
from proxy.rules.pages import KEPT_BYTES, PAGES_MAX
from tests.rules.asked import LIMIT, answer, charges_of, request, rules

ID = "0123456789abcdef"
END = b"\r\n"
TOKEN = 200_000  # units of a token at 15/s
ORIGIN = "cors: {origins: ['https://app.example']}\n"


def decision(by, debt, *, is_admitted):
    charges = charges_of(by)
    return Decision(is_admitted, [Verdict(charges[0], is_admitted, debt * TOKEN)])


def whole(page):
    """The answer as the client gets it: its lines and its body."""
    head, _, body = ID.encode().join(page.pieces).partition(b"\r\n\r\n")
    assert len(body) == page.body_bytes
    return head.decode().split("\r\n"), body


def refused(text, fault, *lines, decided=None, line="GET / HTTP/1.1", **more):
    by = rules(text)
    head = request(*lines, line=line)
    frame = by.pages.frame(head, ID)._replace(**more)
    return whole(by.pages.refusal(fault, decided and decision(by, **decided), head.target, frame, END))


# --- refusals ---


def test_refusal_is_the_row_of_its_fault():
    lines, body = refused("", faults.UNKNOWN_PATH)

    assert lines == [
        "HTTP/1.1 404 Not Found",
        "Content-Type: application/problem+json",
        "Cache-Control: no-store",
        f"Content-Length: {len(body)}",
        f"X-Request-Id: {ID}",
    ]
    assert json.loads(body)["requestId"] == ID


@pytest.mark.parametrize(
    "fault", [each for each in faults.FAULTS.values() if each.extra], ids=lambda each: each.reason
)
def test_refusal_says_once_when_to_come_back(fault):
    """Whatever the limits have decided before: a request that must not wait is told by the drain."""
    lines, _ = refused(LIMIT, fault, decided={"debt": 40, "is_admitted": False})
    told = [line for line in lines if line.startswith("Retry-After:")]

    assert told == ["Retry-After: 2"] if fault.extra == faults.WAIT else told in ([], ["Retry-After: 1"])


def test_refusal_of_a_limit_says_when_to_come_back_and_which_it_was():
    lines, body = refused(LIMIT, faults.LIMITED, decided={"debt": 15, "is_admitted": False})

    assert 'RateLimit: "a";r=0;t=1' in lines
    assert "Retry-After: 1" in lines
    assert json.loads(body)["violated-policies"] == ["a"]


def test_fault_behind_the_limits_tells_what_is_left_of_them():
    lines, body = refused(LIMIT, faults.CONNECT_REFUSED, decided={"debt": 1, "is_admitted": True})

    assert 'RateLimit: "a";r=14;t=1' in lines
    assert "violated-policies" not in json.loads(body)


def test_refusal_has_the_field_of_its_row():
    assert "Retry-After: 1" in refused("", faults.DRAINING)[0]
    assert (
        "Allow: GET, HEAD" in refused("contract: {allow_methods: [GET, HEAD]}", faults.METHOD_NOT_ALLOWED)[0]
    )


def test_cause_is_told_if_the_config_says_so():
    """RFC 9209; of an answer that is replaced, its status."""
    text = "errors: {proxy_status: true}"

    assert "Proxy-Status: weir;error=http_request_denied" in refused(text, faults.UNKNOWN_PATH)[0]
    assert "Proxy-Status: weir;received-status=500" in whole(replaced(rules(text)))[0]


def test_answer_to_head_has_the_length_and_no_body():
    lines, body = refused("", faults.UNKNOWN_PATH, line="HEAD / HTTP/1.1")
    _, of_get = refused("", faults.UNKNOWN_PATH)

    assert f"Content-Length: {len(of_get)}" in lines
    assert body == b""


def test_answer_has_the_form_that_was_asked_for():
    lines, body = refused("", faults.UNKNOWN_PATH, "Accept: text/html")

    assert "Content-Type: text/html; charset=utf-8" in lines
    assert body.startswith(b"<!doctype html>")


def test_template_is_the_form_for_all():
    text = 'errors: {format: {content_type: application/json, body: \'{"code": "{status}"}\'}}'

    assert refused(text, faults.UNKNOWN_PATH, "Accept: text/html")[1] == b'{"code": "404"}'


def test_browser_app_of_a_known_origin_may_read_it():
    lines, _ = refused(ORIGIN, faults.UNKNOWN_PATH, "Origin: https://app.example")

    assert "Access-Control-Allow-Origin: https://app.example" in lines


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        (faults.LIMITED, "403 Forbidden", "429"),
        (faults.MISSING_CREDENTIALS, "401 Unauthorized", None),
        (faults.INTERNAL, "500 Internal Server Error", None),
    ],
)
def test_proxy_that_knows_no_429_is_told_another_status(fault, status, told):
    """But for 401, which all know, and for what is broken, which is no refusal."""
    lines, _ = refused("", fault, refuse_with=403)

    assert lines[0] == f"HTTP/1.1 {status}"
    assert [line for line in lines if line.startswith("X-Refusal-Status")] == (
        [f"X-Refusal-Status: {told}"] if told else []
    )


def test_pages_of_a_kind_are_laid_out_once():
    """And those that are kept are bounded: each second makes new kinds, by their Date."""
    pages = rules().pages
    frame = pages.frame(request(), ID)

    def page(number):
        return pages.refusal(faults.UNKNOWN_PATH, None, b"/", frame, b"Date: %d\r\n\r\n" % number)

    first = page(0)
    assert page(0) is first
    for number in range(2 * PAGES_MAX):
        page(number)
    assert len(pages._pages) <= PAGES_MAX
    assert whole(page(0)) == whole(first)


# --- to a proxy that asks ---


def test_who_may_pass_is_told_of_its_limits():
    by = rules(LIMIT)
    told = by.pages.passage(decision(by, 1, is_admitted=True), ID, END)

    assert told.startswith(status_line(200))
    assert b'RateLimit: "a";r=14;t=1\r\n' in told
    assert b"RateLimit" not in by.pages.passage(None, ID, END)


# --- in the place of an answer ---


def replaced(by, *lines, body=b"at db01", decided=None, asked=(), keep=()):
    original = Original(answer(*lines, status="500 Oops"), keep)
    original.feed(body)
    frame = by.pages.frame(request(*asked), ID)
    return by.pages.replacement(original, decided, ID, frame, END)


def test_details_of_a_failure_stay_here():
    by = rules(LIMIT)
    decided = decision(by, 1, is_admitted=True)
    lines, body = whole(
        replaced(by, "Server: x", "Retry-After: 7", "Content-Type: text/html", decided=decided)
    )

    assert lines == [
        "HTTP/1.1 500 Internal Server Error",
        "Content-Type: application/problem+json",
        "Cache-Control: no-store",
        f"Content-Length: {len(body)}",
        "Retry-After: 7",
        'RateLimit-Policy: "a";q=15;w=1',
        'RateLimit: "a";r=14;t=1',
        f"X-Request-Id: {ID}",
    ]
    assert b"db01" not in body
    assert json.loads(body)["requestId"] == ID


def test_members_that_may_stay_are_in_the_error_object():
    lines, body = whole(
        replaced(
            rules(),
            "Content-Type: application/json",
            body=b'{"errorCode": "E-17", "password": "hunter2"}',
            keep=("errorCode",),
        )
    )

    assert json.loads(body)["errorCode"] == "E-17"
    assert b"hunter2" not in body
    assert f"Content-Length: {len(body)}" in lines


def test_service_may_say_itself_which_origin_reads_it():
    """Else two fields would say it, and a browser believes neither."""
    asked = ("Origin: https://app.example",)
    ours, theirs = (
        whole(replaced(rules(ORIGIN), *lines, asked=asked))[0]
        for lines in ((), ("Access-Control-Allow-Origin: https://app.example",))
    )

    for lines in (ours, theirs):
        assert len([line for line in lines if line.startswith("Access-Control-Allow-Origin")]) == 1


def test_replacement_with_much_of_the_services_own_is_not_kept():
    by = rules()
    short, long = "Retry-After: 7", f"Vary: {'x' * KEPT_BYTES}"

    assert replaced(by, short) is replaced(by, short)
    assert replaced(by, long) is not replaced(by, long)
    assert long in whole(replaced(by, long))[0]


def test_304_has_the_fields_that_the_200_would_have_had():
    """RFC 9110 section 15.4.5; what Connection names is of the hop before."""
    by = rules(LIMIT)
    head = answer(
        'ETag: "a"', "Cache-Control: max-age=9", "Content-Type: text/plain", "Access-Control-Allow-Origin: *",
        "Expires: 0", "Connection: Expires",
    )  # fmt: skip
    told = by.pages.unchanged(head, decision(by, 1, is_admitted=True), ID).decode().split("\r\n")

    assert told == [
        "HTTP/1.1 304 Not Modified",
        'ETag: "a"',
        "Cache-Control: max-age=9",
        "Access-Control-Allow-Origin: *",
        'RateLimit-Policy: "a";q=15;w=1',
        'RateLimit: "a";r=14;t=1',
        f"X-Request-Id: {ID}",
        "",
    ]
    assert b"RateLimit" not in by.pages.unchanged(head, None, ID)
