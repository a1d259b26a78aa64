"""Answers that do not pass as they come: watched, held until more is known of them, or replaced.

Such an answer is taken aside by its head. From then on its aside has the data before the client does, and
says at each piece and at the end what comes next; the lane does it. Knows nothing of connections, of time, or
of how a replacement looks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.contract.leaks import EXAMINED_BYTES
from proxy.phases import ANSWER, HOLD, REDACT

if TYPE_CHECKING:
    from proxy.contract.etags import Tag
    from proxy.contract.redaction import Original
    from proxy.http1.head import ResponseHead

# What comes next: this goes on to the client ...
PASS: Final = 0
RELEASE: Final = 1  # ... behind the head and what was held
REPORT: Final = 2  # ... and the log hears that the answer tells of a failure
# ... or does not.
KEEP: Final = 3
SWALLOW: Final = 4  # the answer tells of a failure: it will be replaced
REPLACE: Final = 5  # an error object takes its place, now
UNCHANGED: Final = 6  # the client has the answer already: 304

# An answer that is replaced is read on, for the log, which keeps 16 KiB of it, and to spare its connection.
# Measured on loopback: 60 us to read it, 26 us for a new connection, which on a wire costs round trips too.
SWALLOWED_BYTES = 256 * 1024
# The client waits meanwhile: what leaves a user's flow of thought uninterrupted (J. Nielsen, Usability
# Engineering, 1993, chapter 5).
SWALLOWED_SECONDS = 1.0
TAGGED_SECONDS = 1.0


class BodyFilter:
    """Passes everything: what is common to the others."""

    __slots__ = ("event", "head", "original", "patience")

    def __init__(self, head: ResponseHead, original: Original | None, event: int, patience: float) -> None:
        self.head = head
        self.original = original  # where the log may have to tell of it
        self.event = event  # what it is in the life of an exchange
        self.patience = patience  # seconds until it is `late`; 0: however long the rest of the answer takes

    def feed(self, data: bytes) -> int:  # noqa: ARG002 - for those that look
        """A piece of the body has come."""
        return PASS

    def end(self) -> int:
        """The body is whole."""
        return PASS

    def late(self) -> int:
        """The body is not whole in time."""
        return PASS

    def take_held(self) -> bytes:
        """What was kept so far; whoever takes it says `drop` when it is nobody's any more."""
        return b""

    def drop(self) -> None:
        """What was held is of no more use: its room is free."""


class ReplaceFilter(BodyFilter):
    """An answer that is replaced: read within bounds."""

    __slots__ = ()

    def __init__(self, original: Original) -> None:
        super().__init__(original.head, original, REDACT, SWALLOWED_SECONDS)

    def feed(self, data: bytes) -> int:
        assert self.original is not None
        self.original.feed(data)
        return REPLACE if self.original.size > SWALLOWED_BYTES else KEEP

    def end(self) -> int:
        return REPLACE


class WatchFilter(BodyFilter):
    """An answer whose beginning is looked at while it passes."""

    __slots__ = ("_is_seen",)

    def __init__(self, original: Original) -> None:
        super().__init__(original.head, original, ANSWER, 0.0)
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


class HoldFilter(BodyFilter):
    """An answer that is held: until its beginning is known, if there is an `original`, and until its tag is.

    What tells of a failure gets none.
    """

    __slots__ = ("_has_tag", "_held", "_is_unseen", "_redacts", "_tag")

    def __init__(
        self, head: ResponseHead, original: Original | None, tag: Tag | None, *, redacts: bool
    ) -> None:
        """`redacts`: what tells of a failure is replaced, else it is reported."""
        super().__init__(head, original, HOLD, TAGGED_SECONDS if tag is not None else 0.0)
        self._held = bytearray()
        self._tag = tag
        self._has_tag = tag is not None  # and may still get it
        self._is_unseen = original is not None
        self._redacts = redacts

    def feed(self, data: bytes) -> int:
        original = self.original
        if self._is_unseen and original is not None:
            original.feed(data)
            if original.size >= EXAMINED_BYTES and self._tells_of_failure():
                return SWALLOW if self._redacts else REPORT
        if self._has_tag and self._tag is not None and not self._tag.feed(data):
            self._has_tag = False
        if not self._has_tag and not self._is_unseen:
            return RELEASE
        self._held += data
        return KEEP

    def end(self) -> int:
        if self._is_unseen and self._tells_of_failure():
            return REPLACE if self._redacts else REPORT
        if not self._has_tag or self._tag is None:
            return RELEASE
        self.head.add(b"ETag", self._tag.value)
        return UNCHANGED if self._tag.is_known else RELEASE

    def late(self) -> int:
        """There will be no tag."""
        self._has_tag = False
        return KEEP if self._is_unseen else RELEASE

    def take_held(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held

    def drop(self) -> None:
        self._held = bytearray()
        if self._tag is not None:
            self._tag.drop()

    def _tells_of_failure(self) -> bool:
        assert self.original is not None
        self._is_unseen = False
        return self.original.examine()
