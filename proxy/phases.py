"""The life of an exchange as a table: which event may follow in which phase, and where it leads.

The gateway moves with `phase = NEXT[phase][event]`; an event that has no row is a bug of ours and raises
KeyError. Plain ints, since an enum's hash costs four times a step. Knows nothing of sockets, limits or what
the phases do.
"""

from __future__ import annotations

from typing import Final

IDLE: Final = 0  # not begun, or ended while the connection stays: it waits for a head
DECIDING: Final = 1  # the store was asked
QUEUED: Final = 2  # its tokens are reserved, and will be there in a while
CONNECTING: Final = 3  # a connection to a server was asked for
AWAITING: Final = 4  # the request is on its way, the answer's head is awaited
HOLDING: Final = 5  # the answer is held until more of it is known
ANSWERING: Final = 6  # the answer streams to the client
REDACTING: Final = 7  # the answer is swallowed, ours will take its place
TUNNELLING: Final = 8  # 101: bytes both ways
OVER: Final = 9  # the connection is of no more use
UNANSWERED: Final = (DECIDING, QUEUED, CONNECTING, AWAITING)  # the client has heard nothing that is final
PHASES = (
    *("idle", "deciding", "queued", "connecting", "awaiting"),
    *("holding", "answering", "redacting", "tunnelling", "over"),
)

ASK: Final = 0  # a head came
QUEUE: Final = 1  # the limits let it pass when its turn comes
ADMIT: Final = 2  # ... or now
CONNECT: Final = 3  # a connection is there, the request was sent
RETRY: Final = 4  # it died untouched, another one is asked for
HOLD: Final = 5  # the answer's head came, and its body must be looked at first
ANSWER: Final = 6  # ... or it may leave
REDACT: Final = 7  # ... or must not
SWITCH: Final = 8  # ... 101
FINISH: Final = 9  # the exchange ended, the connection stays
CLOSE: Final = 10  # the exchange ended and so does the connection
EVENTS = (
    *("ask", "queue", "admit", "connect", "retry"),
    *("hold", "answer", "redact", "switch", "finish", "close"),
)

_END: dict[int, int] = {FINISH: IDLE, CLOSE: OVER}
_HEAD: dict[int, int] = {HOLD: HOLDING, ANSWER: ANSWERING, REDACT: REDACTING, SWITCH: TUNNELLING}

NEXT: Final[tuple[dict[int, int], ...]] = (
    {ASK: DECIDING, CLOSE: OVER},
    {QUEUE: QUEUED, ADMIT: CONNECTING, **_END},
    {ADMIT: CONNECTING, **_END},
    {CONNECT: AWAITING, **_END},
    {RETRY: CONNECTING, **_HEAD, **_END},
    {ANSWER: ANSWERING, REDACT: REDACTING, **_END},
    _END,
    _END,
    {CLOSE: OVER},
    {CLOSE: OVER},
)
