"""What came and what was refused over time, in at most `STEPS` steps; what the plots show.

A step becomes twice as long when the log turns out longer. Knows nothing of logs and stores.
"""

from __future__ import annotations

from typing import NamedTuple

STEPS = 960  # as many as a plot can show
FIRST_STEP_US = 1_000_000


class Step(NamedTuple):
    """So much came, was refused, and was missing in the bucket that was least full."""

    requests: int
    refused: int
    debt: int


_NONE = Step(0, 0, 0)


class Load:
    """What one limit had to bear. Moments are since the first request."""

    def __init__(self) -> None:
        self.step_us = FIRST_STEP_US
        self.steps: list[Step] = []

    def end_of_step(self, at: int) -> int:
        """When the step ends that a moment is in."""
        return (at // self.step_us + 1) * self.step_us

    def add(self, ended_at: int, step: Step) -> None:
        """The step that ended then."""
        number = ended_at // self.step_us - 1
        while number >= STEPS:
            self._fold()
            number = (ended_at - 1) // self.step_us
        self.steps += [_NONE] * (number + 1 - len(self.steps))
        self.steps[number] = _both(self.steps[number], step)

    def _fold(self) -> None:
        self.step_us *= 2
        if len(self.steps) % 2:
            self.steps.append(_NONE)
        self.steps = [_both(a, b) for a, b in zip(self.steps[::2], self.steps[1::2], strict=True)]


def _both(one: Step, other: Step) -> Step:
    return Step(one.requests + other.requests, one.refused + other.refused, max(one.debt, other.debt))
