"""What stands for a setting that is wrong: no check gets an answer out of it."""

import pytest

from proxy.config.unknown import UNKNOWN, UnknownError, ask, known

QUESTIONS = {
    "attribute": lambda: UNKNOWN.rate,
    "truth": lambda: bool(UNKNOWN),
    "equality": lambda: UNKNOWN == 1,
    "order": lambda: UNKNOWN < 1,
    "place in a set": lambda: {UNKNOWN},
    "product": lambda: 2 * UNKNOWN,
    "sum": lambda: UNKNOWN + 2,
    "entries": lambda: list(UNKNOWN),
    "length": lambda: len(UNKNOWN),
    "entry": lambda: UNKNOWN["a"],
    "text": lambda: f"{UNKNOWN}",
}


@pytest.mark.parametrize("question", QUESTIONS.values(), ids=list(QUESTIONS))
def test_whatever_a_check_asks_is_left_out(question):
    with pytest.raises(UnknownError):
        question()


def test_what_is_known_beside_it_is_judged():
    assert list(known(["a", UNKNOWN, "c"])) == [(0, "a"), (2, "c")]


def test_part_of_what_is_unknown_is_unknown():
    assert ask(UNKNOWN, "rate") is UNKNOWN
    assert ask("text", "upper")() == "TEXT"
