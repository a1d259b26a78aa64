"""Answers that are filtered: at each piece and at the end, what comes next."""

from __future__ import annotations

import pytest

from proxy.contract.etags import Budget, Tag
from proxy.contract.filters import (
    KEEP,
    PASS,
    RELEASE,
    REPLACE,
    REPORT,
    SWALLOW,
    SWALLOWED_BYTES,
    UNCHANGED,
    BodyFilter,
    HoldFilter,
    ReplaceFilter,
    WatchFilter,
)
from proxy.contract.leaks import EXAMINED_BYTES
from proxy.contract.redaction import Original
from proxy.phases import HOLD
from tests.contract.test_redaction import head

LEAK = b"ORA-00942: table"
FINE = b"x" * len(LEAK)


def held(*, examined=True, condition=None, tagged=True, redacts=True, budget=None) -> HoldFilter:
    answer = head("Content-Type: text/plain", status="200 OK")
    tag = Tag(condition, budget or Budget()) if tagged else None
    return HoldFilter(answer, Original(answer) if examined else None, tag, redacts=redacts)


def filled(body: bytes) -> list[bytes]:
    """In two pieces, of which the second one fills what is examined."""
    return [body, b"x" * (EXAMINED_BYTES - len(body))]


def test_plain_aside_passes_everything():
    body_filter = BodyFilter(head(), None, HOLD, 0.0)

    assert [body_filter.feed(b"x"), body_filter.late(), body_filter.end()] == [PASS] * 3
    assert body_filter.take_held() == b""
    body_filter.drop()


def test_swallowed_answer_is_replaced_at_its_end_or_past_the_bound():
    body_filter = ReplaceFilter(Original(head()))

    assert body_filter.feed(b"x" * SWALLOWED_BYTES) == KEEP
    assert body_filter.feed(b"x") == REPLACE
    assert ReplaceFilter(Original(head())).end() == REPLACE
    assert body_filter.original.size == SWALLOWED_BYTES + 1


@pytest.mark.parametrize(("body", "step"), [(LEAK, REPORT), (FINE, PASS)])
def test_watched_answer_is_reported_once(body, step):
    """When its beginning is there, or at its end."""
    body_filter, short = WatchFilter(Original(head())), WatchFilter(Original(head()))

    assert [body_filter.feed(piece) for piece in filled(body)] == [PASS, step]
    assert [body_filter.feed(LEAK), body_filter.end()] == [PASS, PASS]
    assert [short.feed(body), short.end()] == [PASS, step]


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize(("redacts", "long", "short"), [(True, SWALLOW, REPLACE), (False, REPORT, REPORT)])
def test_leak_ends_the_holding(redacts, long, short, tagged):
    """It is replaced or reported, and gets no tag."""
    body_filter, other = held(redacts=redacts, tagged=tagged), held(redacts=redacts, tagged=tagged)

    assert [body_filter.feed(piece) for piece in filled(LEAK)] == [KEEP, long]
    assert body_filter.take_held() == LEAK
    assert [other.feed(LEAK), other.end()] == [KEEP, short]
    assert b"etag" not in body_filter.head.lowered | other.head.lowered


def test_harmless_beginning_is_released_without_the_piece_that_filled_it():
    body_filter, short = held(tagged=False), held(tagged=False)

    assert [body_filter.feed(piece) for piece in filled(FINE)] == [KEEP, RELEASE]
    assert (body_filter.take_held(), body_filter.take_held()) == (FINE, b"")
    assert [short.feed(FINE), short.end()] == [KEEP, RELEASE]
    assert short.take_held() == FINE


@pytest.mark.parametrize("examined", [True, False])
def test_whole_answer_gets_its_tag(examined):
    """Behind the fields that came; the body is as it was."""
    body_filter = held(examined=examined)

    assert {body_filter.feed(piece) for piece in [*filled(FINE), b"end"]} == {KEEP}
    assert body_filter.end() == RELEASE
    assert body_filter.take_held() == b"".join([*filled(FINE), b"end"])
    assert [name for name, _ in body_filter.head.headers] == [b"Content-Type", b"ETag"]
    assert body_filter.head.section.endswith(b'"\r\n')
    assert body_filter.head.fields[b"etag"] == body_filter.head.headers[1][1]


def test_answer_that_the_client_has_is_unchanged():
    body_filter = held(condition=b"*")

    assert [body_filter.feed(FINE), body_filter.end()] == [KEEP, UNCHANGED]
    assert b"etag" in body_filter.head.fields


@pytest.mark.parametrize("examined", [True, False])
def test_answer_without_room_is_released_as_soon_as_its_beginning_is_known(examined):
    budget = Budget(len(FINE) + 1)
    body_filter = held(examined=examined, budget=budget)
    steps = [body_filter.feed(piece) for piece in (FINE, FINE)]

    assert steps == [KEEP, KEEP if examined else RELEASE]
    assert budget.left == 1  # what is held keeps its room until it is dropped
    assert body_filter.end() == RELEASE
    assert b"etag" not in body_filter.head.fields
    assert body_filter.take_held() == FINE * (2 if examined else 1)
    body_filter.drop()
    assert budget.left == len(FINE) + 1


def test_late_answer_is_released_but_never_unseen():
    """The tag is given up; what must be examined waits on."""
    body_filter, unseen = held(examined=False), held()
    assert (body_filter.feed(FINE), unseen.feed(LEAK)) == (KEEP, KEEP)

    assert (body_filter.late(), unseen.late()) == (RELEASE, KEEP)
    assert unseen.feed(b"x" * EXAMINED_BYTES) == SWALLOW
    assert (held().patience > 0, held(tagged=False).patience) == (True, 0)
