"""Answers that are filtered: at each piece and at the end, what comes next and what goes on to the client."""

from __future__ import annotations

import pytest

from proxy.contract.etags import Budget, Tag
from proxy.contract.filters import (
    CONTINUE,
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
KEPT = (CONTINUE, b"")


def held(*, examined=True, condition=None, tagged=True, redacts=True, budget=None) -> HoldFilter:
    answer = head("Content-Type: text/plain", status="200 OK")
    tag = Tag(condition, budget or Budget()) if tagged else None
    return HoldFilter(Original(answer), tag, examines=examined, redacts=redacts)


def filled(body: bytes) -> list[bytes]:
    """In two pieces, of which the second one fills what is examined."""
    return [body, b"x" * (EXAMINED_BYTES - len(body))]


def test_plain_filter_passes_everything():
    body_filter = BodyFilter(Original(head()), HOLD, 0.0)

    assert body_filter.feed(b"x") == (CONTINUE, b"x")
    assert [body_filter.late(), body_filter.end()] == [KEPT] * 2
    body_filter.drop()


def test_swallowed_answer_is_replaced_at_its_end_or_past_the_bound():
    body_filter = ReplaceFilter(Original(head()))

    assert body_filter.feed(b"x" * SWALLOWED_BYTES) == KEPT
    assert body_filter.feed(b"x") == (REPLACE, b"")
    assert ReplaceFilter(Original(head())).end() == (REPLACE, b"")
    assert body_filter.original.size == SWALLOWED_BYTES + 1


@pytest.mark.parametrize(("body", "step"), [(LEAK, REPORT), (FINE, RELEASE)])
def test_watched_answer_passes_and_is_reported_once(body, step):
    """When its beginning is there, or at its end; then the filter is over."""
    body_filter, short = WatchFilter(Original(head())), WatchFilter(Original(head()))
    pieces = filled(body)

    assert [body_filter.feed(piece) for piece in pieces] == [(CONTINUE, pieces[0]), (step, pieces[1])]
    assert [short.feed(body), short.end()] == [(CONTINUE, body), (step, b"")]


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize(("redacts", "long", "short"), [(True, SWALLOW, REPLACE), (False, REPORT, REPORT)])
def test_leak_ends_the_holding(redacts, long, short, tagged):
    """It is replaced, or reported and whole, and gets no tag."""
    body_filter, other = held(redacts=redacts, tagged=tagged), held(redacts=redacts, tagged=tagged)
    pieces = filled(LEAK)

    assert body_filter.feed(pieces[0]) == KEPT
    assert body_filter.feed(pieces[1]) == (long, b"" if redacts else b"".join(pieces))
    assert [other.feed(LEAK), other.end()] == [KEPT, (short, b"" if redacts else LEAK)]
    assert b"etag" not in body_filter.original.head.lowered | other.original.head.lowered


def test_harmless_beginning_is_released_with_the_piece_that_filled_it():
    body_filter, short = held(tagged=False), held(tagged=False)

    assert [body_filter.feed(piece) for piece in filled(FINE)] == [KEPT, (RELEASE, b"".join(filled(FINE)))]
    assert [short.feed(FINE), short.end()] == [KEPT, (RELEASE, FINE)]


@pytest.mark.parametrize("examined", [True, False])
def test_whole_answer_gets_its_tag(examined):
    """Behind the fields that came; the body is as it was."""
    body_filter = held(examined=examined)
    answer = body_filter.original.head

    assert {body_filter.feed(piece) for piece in [*filled(FINE), b"end"]} == {KEPT}
    assert body_filter.end() == (RELEASE, b"".join([*filled(FINE), b"end"]))
    assert [name for name, _ in answer.headers] == [b"Content-Type", b"ETag"]
    assert answer.lines[-1].data.endswith(b'"\r\n')
    assert answer.fields[b"etag"] == answer.headers[1][1]


def test_answer_that_the_client_has_is_unchanged():
    body_filter = held(condition=b"*")

    assert [body_filter.feed(FINE), body_filter.end()] == [KEPT, (UNCHANGED, b"")]
    assert b"etag" in body_filter.original.head.fields


@pytest.mark.parametrize("examined", [True, False])
def test_answer_without_room_is_released_as_soon_as_its_beginning_is_known(examined):
    budget = Budget(len(FINE) + 1)
    body_filter = held(examined=examined, budget=budget)
    steps = [body_filter.feed(piece) for piece in (FINE, FINE)]

    assert steps == [KEPT, KEPT if examined else (RELEASE, FINE * 2)]
    assert budget.left == 1  # what is held keeps its room until it is dropped
    if examined:
        assert body_filter.end() == (RELEASE, FINE * 2)
    assert b"etag" not in body_filter.original.head.fields
    body_filter.drop()
    assert budget.left == len(FINE) + 1


def test_late_answer_is_released_but_never_unseen():
    """The tag is given up; what must be examined waits on."""
    body_filter, unseen = held(examined=False), held()
    assert (body_filter.feed(FINE), unseen.feed(LEAK)) == (KEPT, KEPT)

    assert (body_filter.late(), unseen.late()) == ((RELEASE, FINE), KEPT)
    assert unseen.feed(b"x" * EXAMINED_BYTES) == (SWALLOW, b"")
    assert (held().patience > 0, held(tagged=False).patience) == (True, 0)


def test_filter_without_a_tag_can_be_dropped():
    """The client leaves while the beginning of an answer is examined."""
    body_filter = held(tagged=False)
    assert body_filter.feed(FINE) == KEPT
    body_filter.drop()

    assert body_filter.end() == (RELEASE, b"")
