"""What a client's connection is doing: one of these at a time."""

from __future__ import annotations

from typing import Final

HEADS: Final = 0  # the next head is awaited
BUSY: Final = 1  # an exchange is under way
DISCARDING: Final = 2  # what is left of a refused request's body is dropped
TUNNEL: Final = 3
LINGERING: Final = 4  # nothing more is sent, what still comes is dropped
CLOSED: Final = 5
