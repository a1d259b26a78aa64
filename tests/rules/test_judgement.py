"""What one config says of an answer by its head."""

from __future__ import annotations

import pytest

from proxy.contract.etags import Budget
from proxy.contract.filters import HoldFilter, ReplaceFilter, WatchFilter
from proxy.phases import ANSWER, HOLD, REDACT
from tests.rules.asked import answer, request, rules

CREATED = ("Location: /api/entities/1", "X-Global-Identifier: one")
TEXT = ("Content-Type: application/json", "Content-Length: 9")


def judgement(text=""):
    return rules(text).judgement


def made_for(text, *lines, status="200 OK"):
    """What stands between such an answer and the client."""
    return judgement(text).body_filter(request(), answer(*lines, status=status), Budget())


# --- which answers need a look ---


@pytest.mark.parametrize(
    ("text", "judged"),
    [
        ("", {200: False, 201: True, 204: True, 404: False, 429: True, 500: True, 599: True}),
        ("errors: {redact: ['404']}", {404: True, 403: False, 500: False}),
        ("errors: {leak_guard: report}", {200: True, 404: True, 302: True}),
        ("contract: {edge_etags: true}", {200: True, 206: False}),
        ("limits: [{name: a, rate: 1/s, cost_304: 0}]", {304: True}),
        ("limits: [{name: a, rate: 1/s, on_upstream_429: drain}]", {429: True}),
        ("contract: {rules: [{status: 200, headers: [X-Version]}]}", {200: True, 202: False}),
    ],
)
def test_answers_of_a_status_pass_that_no_setting_looks_at(text, judged):
    passes = judgement(text).passes

    assert {status: not passes(status) for status in judged} == judged


def test_answer_keeps_a_promise_that_is_all_there_is_to_judge():
    """Nothing more is asked of a status that is looked at for another reason, or promises a body."""
    keeps = judgement().keeps_promise

    assert keeps(answer(*CREATED, status="201 Created"))
    assert not keeps(answer(CREATED[0], status="201 Created"))
    assert not keeps(answer(status="200 OK"))
    assert not judgement("errors: {leak_guard: report}").keeps_promise(answer(*CREATED, status="201 Created"))
    denied = answer("WWW-Authenticate: Bearer", status="401 Unauthorized")
    assert keeps(denied)
    assert not judgement("errors: {redact: ['401']}").keeps_promise(denied)


def test_violations_are_named_but_for_what_is_replaced():
    broken = answer(status="401 Unauthorized")

    assert judgement().violations(broken) == ("missing_www_authenticate",)
    assert judgement().violations(answer(status="202 Accepted")) == ()
    assert judgement("errors: {redact: ['401']}").violations(broken) == ()


def test_interim_answer_keeps_its_hints():
    lines = judgement().interim_lines(
        answer("Link: </a>; rel=preload", "Server: x", status="103 Early Hints")
    )

    assert lines == b"Link: </a>; rel=preload\r\n"


# --- what it must go through ---


def test_failure_is_replaced_whatever_else_is_set():
    made = made_for("errors: {leak_guard: redact}\ncontract: {edge_etags: true}", *TEXT, status="500 Oops")

    assert isinstance(made, ReplaceFilter)
    assert made.event is REDACT


@pytest.mark.parametrize("text", ["", "errors: {leak_guard: 'off'}"])
def test_answer_passes_where_nothing_is_set(text):
    assert made_for(text, *TEXT) is None


def test_text_is_watched_in_passing_or_held_until_its_beginning_is_known():
    watched = made_for("errors: {leak_guard: report}", *TEXT)
    held = made_for("errors: {leak_guard: redact}", *TEXT)

    assert isinstance(watched, WatchFilter)
    assert watched.event is ANSWER
    assert isinstance(held, HoldFilter)
    assert (held.event, held.patience) == (HOLD, 0.0)


def test_answer_that_gets_a_tag_is_held_for_a_while():
    """One that has its own is not, and what is no text is looked at for its tag alone."""
    text = "contract: {edge_etags: true}"
    made = made_for(text, "Content-Type: image/png", "Content-Length: 9")

    assert isinstance(made, HoldFilter)
    assert made.patience > 0
    assert made.feed(b"x" * 9)[1] == b""
    assert made.end()[1] == b"x" * 9
    assert made_for(text, 'ETag: "a"', *TEXT) is None


def test_what_tells_of_a_failure_is_reported_though_it_would_get_a_tag():
    made = made_for("errors: {leak_guard: report}\ncontract: {edge_etags: true}", "Content-Type: text/plain")
    trace = b'Traceback (most recent call last):\n  File "a.py", line 1, in <module>\nValueError: x\n'

    assert isinstance(made, HoldFilter)
    assert made.feed(trace)[1] == b""
    assert made.end()[1] == trace
    assert made.original.leak
