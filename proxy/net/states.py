"""What a connection is doing, one of these at a time; and what its deadline is for."""

from __future__ import annotations

from typing import Final

# A client's connection.
HEADS: Final = 0  # the next head is awaited
BUSY: Final = 1  # an exchange is under way
DISCARDING: Final = 2  # what is left of a refused request's body is dropped
TUNNEL: Final = 3
LINGERING: Final = 4  # nothing more is sent, what still comes is dropped
CLOSED: Final = 5

# A server's, while an exchange uses it: one of these, or TUNNEL.
HEAD_DUE: Final = 6  # the answer's head is awaited
BODY_DUE: Final = 7  # its body is, or what is left of it

# What the deadline of an answer is for.
EACH_BYTE_EXTENDS: Final = 0  # the server must not fall silent
FAILS: Final = 1  # the answer must be whole by then, however it comes
IS_TOLD: Final = 2  # the exchange hears of it then, and the answer goes on
