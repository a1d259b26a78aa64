"""What goes at once, and what is gathered for the end of a tick."""

from __future__ import annotations

import pytest

from proxy.policy.haste import LOOK_TICKS, UNSEEN, Haste


def look(haste: Haste, *pieces: int) -> None:
    """Ticks that brought so many each, in turns, until they are judged."""
    for number in range(LOOK_TICKS):
        haste.ticks += 1
        haste.pieces += pieces[number % len(pieces)]
    haste.judge()


def test_first_pieces_are_gathered():
    """Nothing is known yet of how many there will be."""
    assert Haste(1.5).left == 0


def test_pieces_that_come_alone_go_at_once_until_the_next_look():
    """If that finds them alone too, it goes on so."""
    haste = Haste(1.5)
    for _ in range(3):
        look(haste, 1)
        assert haste.left == UNSEEN
        haste.left = 0


@pytest.mark.parametrize("pieces", [(32,), (12, 1), (1, 1, 3, 4)])
def test_crowd_is_gathered(pieces):
    """A tick with one piece misleads nobody: chance brings those under any load."""
    haste = Haste(1.5)
    look(haste, 1)
    look(haste, *pieces)

    assert haste.left == 0


def test_each_look_counts_by_itself():
    """What was before it does not weigh."""
    haste = Haste(1.5)
    look(haste, 32)
    look(haste, 1)

    assert haste.left == UNSEEN


def test_two_pieces_a_tick_are_few_to_one_and_many_to_another():
    """What company saves differs: a system call for each connection, or one for all requests."""
    cheap, dear = Haste(2.5), Haste(1.5)
    look(cheap, 2)
    look(dear, 2)

    assert (cheap.left, dear.left) == (UNSEEN, 0)
