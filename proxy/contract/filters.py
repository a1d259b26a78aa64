"""Answers that do not pass as they come: watched, held until more is known of them, or replaced.

Such an answer gets its filter by its head. From then on the filter has the data before the client does, and
says at each piece and at the end two things: what the exchange does next, and what goes on to the client now.
Knows nothing of connections, of time, or of how a replacement looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.contract.leaks import EXAMINED_BYTES
from proxy.phases import ANSWER, HOLD, REDACT

if TYPE_CHECKING:
    from proxy.contract.etags import Tag
    from proxy.contract.redaction import Original

# What the exchange does next.
CONTINUE: Final = 0  # nothing but pass on what it was given; the filter goes on
RELEASE: Final = 1  # the same behind the answer's head, if that was held; the filter is over
REPORT: Final = 2  # ... and the log hears that the answer tells of a failure
SWALLOW: Final = 3  # the answer tells of a failure: what still comes is read, and then it is replaced
REPLACE: Final = 4  # an error object takes its place, now
UNCHANGED: Final = 5  # the client has the answer already: 304

# An answer that is replaced is read on, for the log, which keeps 16 KiB of it, and to spare its connection.
# Measured on loopback: 60 us to read it, 26 us for a new connection, which on a wire costs round trips too.
SWALLOWED_BYTES = 256 * 1024
# The client waits meanwhile: what leaves a user's flow of thought uninterrupted (J. Nielsen, Usability
# Engineering, 1993, chapter 5).
SWALLOWED_SECONDS = 1.0
TAGGED_SECONDS = 1.0


class BodyFilter:
    """Passes everything: what is common to the others."""

    __slots__ = ("event", "original", "patience")

    def __init__(self, original: Original, event: int, patience: float) -> None:
        self.original = original  # the answer, as far as the log may have to tell of it
        self.event = event  # what it is in the life of an exchange
        self.patience = patience  # seconds until it is `late`; 0: however long the rest of the answer takes

    def feed(self, data: bytes) -> tuple[int, bytes]:
        """A piece of the body has come."""
        return CONTINUE, data

    def end(self) -> tuple[int, bytes]:
        """The body is whole."""
        return CONTINUE, b""

    def late(self) -> tuple[int, bytes]:
        """The body is not whole in time."""
        return CONTINUE, b""

    def drop(self) -> None:
        """What was held is nobody's any more: its room is free."""


class ReplaceFilter(BodyFilter):
    """An answer that is replaced: read within bounds."""

    __slots__ = ()

    def __init__(self, original: Original) -> None:
        super().__init__(original, REDACT, SWALLOWED_SECONDS)

    def feed(self, data: bytes) -> tuple[int, bytes]:
        self.original.feed(data)
        return (REPLACE if self.original.size > SWALLOWED_BYTES else CONTINUE), b""

    def end(self) -> tuple[int, bytes]:
        return REPLACE, b""


class WatchFilter(BodyFilter):
    """An answer whose beginning is looked at while it passes."""

    __slots__ = ()

    def __init__(self, original: Original) -> None:
        super().__init__(original, ANSWER, 0.0)

    def feed(self, data: bytes) -> tuple[int, bytes]:
        self.original.feed(data)
        return (self._seen() if self.original.size >= EXAMINED_BYTES else CONTINUE), data

    def end(self) -> tuple[int, bytes]:
        return self._seen(), b""

    def _seen(self) -> int:
        return REPORT if self.original.examine() else RELEASE


class HoldFilter(BodyFilter):
    """An answer that is held: until its beginning has been examined, and until its tag is known.

    What tells of a failure gets none.
    """

    __slots__ = ("_examines", "_held", "_redacts", "_tag", "_tags")

    def __init__(self, original: Original, tag: Tag | None, *, examines: bool, redacts: bool) -> None:
        """`redacts`: what tells of a failure is replaced, else it is reported."""
        super().__init__(original, HOLD, TAGGED_SECONDS if tag is not None else 0.0)
        self._held = bytearray()
        self._tag = tag
        self._tags = tag is not None  # it may still get one
        self._examines = examines  # its beginning has not been looked at
        self._redacts = redacts

    def feed(self, data: bytes) -> tuple[int, bytes]:
        original = self.original
        if self._examines:
            original.feed(data)
            if original.size >= EXAMINED_BYTES and self._tells_of_failure():
                return (SWALLOW, b"") if self._redacts else (REPORT, self._taken() + data)
        if self._tags and self._tag is not None and not self._tag.feed(data):
            self._tags = False
        if not self._tags and not self._examines:
            return RELEASE, self._taken() + data
        self._held += data
        return CONTINUE, b""

    def end(self) -> tuple[int, bytes]:
        if self._examines and self._tells_of_failure():
            return (REPLACE, b"") if self._redacts else (REPORT, self._taken())
        if not self._tags or self._tag is None:
            return RELEASE, self._taken()
        self.original.head.add(b"ETag", self._tag.value)
        return (UNCHANGED, b"") if self._tag.is_known else (RELEASE, self._taken())

    def late(self) -> tuple[int, bytes]:
        """There will be no tag."""
        self._tags = False
        return (CONTINUE, b"") if self._examines else (RELEASE, self._taken())

    def drop(self) -> None:
        self._held = bytearray()
        if self._tag is not None:
            self._tag.drop()

    def _taken(self) -> bytes:
        """What was held so far."""
        held, self._held = bytes(self._held), bytearray()
        return held

    def _tells_of_failure(self) -> bool:
        self._examines = False
        return self.original.examine()
