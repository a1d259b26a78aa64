"""Answers that do not pass as they come: watched, held until more is known of them, or replaced.

Such an answer is taken aside by its head. From then on its aside has the data before the client does, and
says at each piece and at the end what comes next; the lane does it. Knows nothing of connections, of time, or
of how a replacement looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from proxy.contract.leaks import EXAMINED_BYTES
from proxy.http1.lifecycle import ANSWER, HOLD, REDACT

if TYPE_CHECKING:
    from proxy.contract.redaction import Original
    from proxy.http1.head import ResponseHead

# What comes next.
PASS: Final = 0  # this goes on to the client
KEEP: Final = 1  # this does not
RELEASE: Final = 2  # the head and what was held may leave, and this behind them
REPORT: Final = 3  # the answer tells of a failure and has been begun: this goes on, the log hears of it
SWALLOW: Final = 4  # the answer tells of a failure: it will be replaced
REPLACE: Final = 5  # an error object takes its place, now

# An answer that is replaced is read on, for the log, which keeps 16 KiB of it, and to spare its connection.
# Measured on loopback: 60 us to read it, 26 us for a new connection, which on a wire costs round trips too.
SWALLOWED_BYTES = 256 * 1024
# The client waits for its error object meanwhile: what leaves a user's flow of thought uninterrupted
# (J. Nielsen, Usability Engineering, 1993, chapter 5).
SWALLOWED_SECONDS = 1.0


class Aside:
    """Passes everything: what is common to the others."""

    __slots__ = ("head", "original")

    event: ClassVar[int] = HOLD  # what taking it aside is in the life of an exchange
    patience: ClassVar[float] = 0.0  # seconds that the rest of the answer has; 0: as any other

    def __init__(self, head: ResponseHead, original: Original | None = None) -> None:
        self.head = head
        self.original = original  # where the log may have to tell of it

    def feed(self, data: bytes) -> int:  # noqa: ARG002
        """A piece of the body has come."""
        return PASS

    def end(self) -> int:
        """The body is whole."""
        return PASS

    def take_held(self) -> bytes:
        """What was kept so far; it is the caller's from now on."""
        return b""


class Swallowed(Aside):
    """An answer that is replaced: read within bounds."""

    __slots__ = ()

    event = REDACT
    patience = SWALLOWED_SECONDS

    def __init__(self, original: Original) -> None:
        super().__init__(original.head, original)

    def feed(self, data: bytes) -> int:
        assert self.original is not None
        self.original.feed(data)
        return REPLACE if self.original.size > SWALLOWED_BYTES else KEEP

    def end(self) -> int:
        return REPLACE


class Watched(Aside):
    """An answer whose beginning is looked at while it passes."""

    __slots__ = ("_is_seen",)

    event = ANSWER

    def __init__(self, original: Original) -> None:
        super().__init__(original.head, original)
        self._is_seen = False

    def feed(self, data: bytes) -> int:
        assert self.original is not None
        if self._is_seen:
            return PASS
        self.original.feed(data)
        return self.end() if self.original.size >= EXAMINED_BYTES else PASS

    def end(self) -> int:
        assert self.original is not None
        if self._is_seen:
            return PASS
        self._is_seen = True
        return REPORT if self.original.examine() else PASS


class Examined(Aside):
    """An answer that is held until its beginning is known."""

    __slots__ = ("_held",)

    def __init__(self, original: Original) -> None:
        super().__init__(original.head, original)
        self._held = b""

    def feed(self, data: bytes) -> int:
        assert self.original is not None
        self.original.feed(data)
        if self.original.size < EXAMINED_BYTES:
            self._held += data
            return KEEP
        return SWALLOW if self.original.examine() else RELEASE

    def end(self) -> int:
        assert self.original is not None
        return REPLACE if self.original.examine() else RELEASE

    def take_held(self) -> bytes:
        held, self._held = self._held, b""
        return held
