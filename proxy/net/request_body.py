"""A request's body on its way from the client's connection to the server's, without anybody in between.

Knows nothing of limits or of what the answer means.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy import faults
from proxy.http1.body import BodyReader

if TYPE_CHECKING:
    from proxy.faults import Fault
    from proxy.net.upstream import UpstreamConnection

# Of a refused request's body, read and dropped to keep the connection (nginx: lingering).
DISCARD_BYTES: Final = 64 * 1024


class RequestBody(BodyReader):
    """The body of the current request; in a tunnel, all that the client sends."""

    __slots__ = ("receiver", "size")

    def __init__(self, length: int) -> None:
        super().__init__(length)
        self.receiver: UpstreamConnection | None = None  # who takes it; None while nobody does
        self.size = 0  # bytes that were passed on

    @property
    def can_discard(self) -> bool:
        """What is left of it is known to be small enough to be read and dropped."""
        return self.has_length and self.left <= DISCARD_BYTES

    def fault(self, more: int, most: int | None) -> Fault | None:
        """What is wrong with a chunked body that is so many bytes longer now, and may have `most`."""
        if self.is_malformed:
            return faults.MALFORMED_CHUNK
        return faults.BODY_TOO_LARGE if most is not None and self.size + more > most else None

    def pass_on(self, receiver: UpstreamConnection, content: bytes) -> None:
        """The next piece; behind the last one, the end."""
        if content:
            self.size += len(content)
            receiver.send_body(content)
        if self.is_over:
            receiver.end_body(self.trailers)
