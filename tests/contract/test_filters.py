"""Answers that are taken aside: at each piece and at the end, what comes next."""

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
    Aside,
    Held,
    Swallowed,
    Watched,
)
from proxy.contract.leaks import EXAMINED_BYTES
from proxy.contract.redaction import Original
from proxy.phases import HOLD
from tests.contract.test_redaction import head

LEAK = b"ORA-00942: table"
FINE = b"x" * len(LEAK)


def held(*, examined=True, condition=None, tagged=True, redacts=True, budget=None) -> Held:
    answer = head("Content-Type: text/plain", status="200 OK")
    tag = Tag(condition, budget or Budget()) if tagged else None
    return Held(answer, Original(answer) if examined else None, tag, redacts=redacts)


def filled(body: bytes) -> list[bytes]:
    """In two pieces, of which the second one fills what is examined."""
    return [body, b"x" * (EXAMINED_BYTES - len(body))]


def test_plain_aside_passes_everything():
    aside = Aside(head(), None, HOLD, 0.0)

    assert [aside.feed(b"x"), aside.late(), aside.end()] == [PASS] * 3
    assert aside.take_held() == b""
    aside.drop()


def test_swallowed_answer_is_replaced_at_its_end_or_past_the_bound():
    aside = Swallowed(Original(head()))

    assert aside.feed(b"x" * SWALLOWED_BYTES) == KEEP
    assert aside.feed(b"x") == REPLACE
    assert Swallowed(Original(head())).end() == REPLACE
    assert aside.original.size == SWALLOWED_BYTES + 1


@pytest.mark.parametrize(("body", "step"), [(LEAK, REPORT), (FINE, PASS)])
def test_watched_answer_is_reported_once(body, step):
    """When its beginning is there, or at its end."""
    aside, short = Watched(Original(head())), Watched(Original(head()))

    assert [aside.feed(piece) for piece in filled(body)] == [PASS, step]
    assert [aside.feed(LEAK), aside.end()] == [PASS, PASS]
    assert [short.feed(body), short.end()] == [PASS, step]


@pytest.mark.parametrize("tagged", [True, False])
@pytest.mark.parametrize(("redacts", "long", "short"), [(True, SWALLOW, REPLACE), (False, REPORT, REPORT)])
def test_leak_ends_the_holding(redacts, long, short, tagged):
    """It is replaced or reported, and gets no tag."""
    aside, other = held(redacts=redacts, tagged=tagged), held(redacts=redacts, tagged=tagged)

    assert [aside.feed(piece) for piece in filled(LEAK)] == [KEEP, long]
    assert aside.take_held() == LEAK
    assert [other.feed(LEAK), other.end()] == [KEEP, short]
    assert b"etag" not in aside.head.found | other.head.found


def test_harmless_beginning_is_released_without_the_piece_that_filled_it():
    aside, short = held(tagged=False), held(tagged=False)

    assert [aside.feed(piece) for piece in filled(FINE)] == [KEEP, RELEASE]
    assert (aside.take_held(), aside.take_held()) == (FINE, b"")
    assert [short.feed(FINE), short.end()] == [KEEP, RELEASE]
    assert short.take_held() == FINE


@pytest.mark.parametrize("examined", [True, False])
def test_whole_answer_gets_its_tag(examined):
    """Behind the fields that came; the body is as it was."""
    aside = held(examined=examined)

    assert {aside.feed(piece) for piece in [*filled(FINE), b"end"]} == {KEEP}
    assert aside.end() == RELEASE
    assert aside.take_held() == b"".join([*filled(FINE), b"end"])
    assert [name for name, _ in aside.head.headers] == [b"Content-Type", b"ETag"]
    assert aside.head.section.endswith(b'"\r\n')
    assert aside.head.fields[b"etag"] == aside.head.headers[1][1]


def test_answer_that_the_client_has_is_unchanged():
    aside = held(condition=b"*")

    assert [aside.feed(FINE), aside.end()] == [KEEP, UNCHANGED]
    assert b"etag" in aside.head.fields


@pytest.mark.parametrize("examined", [True, False])
def test_answer_without_room_is_released_as_soon_as_its_beginning_is_known(examined):
    budget = Budget(len(FINE) + 1)
    aside = held(examined=examined, budget=budget)
    steps = [aside.feed(piece) for piece in (FINE, FINE)]

    assert steps == [KEEP, KEEP if examined else RELEASE]
    assert budget.left == 1  # what is held keeps its room until it is dropped
    assert aside.end() == RELEASE
    assert b"etag" not in aside.head.fields
    assert aside.take_held() == FINE * (2 if examined else 1)
    aside.drop()
    assert budget.left == len(FINE) + 1


def test_late_answer_is_released_but_never_unseen():
    """The tag is given up; what must be examined waits on."""
    aside, unseen = held(examined=False), held()
    assert (aside.feed(FINE), unseen.feed(LEAK)) == (KEEP, KEEP)

    assert (aside.late(), unseen.late()) == (RELEASE, KEEP)
    assert unseen.feed(b"x" * EXAMINED_BYTES) == SWALLOW
    assert (held().patience > 0, held(tagged=False).patience) == (True, 0)
