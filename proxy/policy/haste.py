"""Whether what is sent goes at once, or waits for the end of the loop's tick and goes with what else comes.

With many requests at a time the second way costs half: whoever reads is woken once a tick, not once a piece.
With few there is nothing to gather; the wait is a turn of the loop for nothing, and the other side could work
meanwhile (docs/decisions/0002-write-once-a-tick.md). A few ticks tell which it is, again and again. Knows no
sockets and no clock.
"""

from __future__ import annotations

from typing import Final

LOOK_TICKS: Final = 8  # that are gathered, to see how many pieces they bring
UNSEEN: Final = 64  # pieces that may go at once before the next look: one in nine waits


class Haste:
    """Hot code counts by itself: `left` down by each piece that goes at once; up what a tick's end brings."""

    __slots__ = ("_few", "left", "pieces", "ticks")

    def __init__(self, few: float) -> None:
        """`few` pieces a tick, in the mean, gain less by company than they lose by waiting."""
        self._few = few
        self.left = 0  # pieces that may go at once
        self.ticks = 0  # since the last look ended
        self.pieces = 0  # that they brought

    def judge(self) -> None:
        """LOOK_TICKS have been seen."""
        self.left = UNSEEN if self.pieces < self._few * self.ticks else 0
        self.ticks = self.pieces = 0
