"""Redaction: which answers of the service are replaced, what of them may stay, and what the log keeps.

The body is replaced before a byte of it has left; the original is kept, bounded, for one line of the log.
Knows nothing of how the replacement looks (problem.py) or of connections.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.names import is_json
from proxy.contract.capture import CAPTURE_BYTES, captured, decoded
from proxy.contract.kept_fields import hints, kept_headers, logged_headers, may_stay
from proxy.contract.leaks import leak_in
from proxy.contract.masking import masked
from proxy.contract.members import kept_members
from proxy.http1.headers import RESPONSE_DROPS, named_by

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable

    from proxy.config.sections.answers import ErrorSettings
    from proxy.contract.problem import Scalar
    from proxy.http1.head import ResponseHead

REASON_CHARS = 256

# What the client is told instead of the details.
WITHHELD = "The service failed. Its operator finds the reason by the request id."


class Redaction:
    __slots__ = ("_keep", "_keep_headers", "covers")

    def __init__(
        self,
        ranges: Iterable[tuple[int, int]],
        keep_members: Iterable[str] = (),
        keep_headers: Iterable[str] = (),
    ) -> None:
        statuses = frozenset(status for low, high in ranges for status in range(low, high + 1))
        self.covers: Callable[[int], bool] = statuses.__contains__  # whether answers of a status are replaced
        self._keep = tuple(keep_members)
        self._keep_headers = frozenset(name.lower().encode() for name in keep_headers)

    @classmethod
    def from_settings(cls, errors: ErrorSettings) -> Redaction:
        return cls(errors.redact, errors.keep_members, errors.keep_headers)

    def interim_lines(self, head: ResponseHead) -> bytes:
        """The header lines of an interim answer as it goes on, whatever the final one will be."""
        of_this_hop = RESPONSE_DROPS | named_by(head.lowered.get(b"connection", b"")) | {b"content-length"}
        kept = hints(head, self._keep_headers)
        return b"".join([b"%b: %b\r\n" % field for field in kept if field[0].lower() not in of_this_hop])

    def original(self, head: ResponseHead) -> Original:
        return Original(head, self._keep, self._keep_headers)


class Original:
    """An answer that is being replaced, or may have to be."""

    __slots__ = ("_data", "_keep", "_keep_headers", "head", "leak", "size", "status")

    def __init__(
        self, head: ResponseHead, keep: tuple[str, ...] = (), keep_headers: frozenset[bytes] = frozenset()
    ) -> None:
        self.status = head.status
        self.size = 0  # bytes of the body so far
        self.leak = ""  # the signature that the body shows, where the status alone was no reason
        self.head = head
        self._keep = keep
        self._keep_headers = keep_headers
        self._data = b""  # the beginning of the body

    def feed(self, data: bytes) -> None:
        room = CAPTURE_BYTES - self.size
        if room > 0:
            self._data += data[:room]
        self.size += len(data)

    @property
    def shown_status(self) -> int:
        """What the client is told: a success that tells of a failure is one."""
        return self.status if self.status >= 400 else 500

    def examine(self) -> bool:
        """Whether what came of the body tells of a failure."""
        self.leak = leak_in(self._data, self.head.fields.get(b"content-encoding", b""))
        return bool(self.leak)

    def kept_lines(self, drops: Container[bytes] = ()) -> bytes:
        """The header lines that go to the client as they came; `drops` names more that do not."""
        lowered = self.head.lowered
        if self._keep_headers.isdisjoint(lowered) and not may_stay(tuple(lowered)):
            return b""
        of_this_hop = RESPONSE_DROPS | named_by(lowered.get(b"connection", b""))
        return b"".join(
            [
                b"%b: %b\r\n" % (name, value)
                for name, value in kept_headers(self.head.headers, self._keep_headers)
                if (lower := name.lower()) not in drops and lower not in of_this_hop
            ]
        )

    def members(self) -> dict[str, Scalar]:
        """Members of the service's error object that may stay."""
        if not self._keep or self.size > CAPTURE_BYTES:
            return {}
        fields = self.head.fields
        if not is_json(fields.get(b"content-type", b"").decode("latin-1")):
            return {}
        data = decoded(self._data, fields.get(b"content-encoding", b""))
        return kept_members(data, self._keep) if data else {}

    def for_log(self) -> dict[str, object]:
        fields = self.head.fields
        body = captured(self._data, fields.get(b"content-encoding", b""), fields.get(b"content-type", b""))
        return ({"leak": self.leak} if self.leak else {}) | {
            "status": self.status,
            "reason": masked(self.head.reason.decode("latin-1")[:REASON_CHARS]),
            "headers": logged_headers(self.head.headers),
            "body": body,
            "body_bytes": self.size,
        }
