"""A request of the simulation: what was sent, what became of it, and whether both ends saw the same."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.messages import get

if TYPE_CHECKING:
    from tests.support.wire import Response

SECRET = b"insert into customers"  # stands in answers that must not leave
REPEATABLE = ("GET", "HEAD", "PUT")  # RFC 9110 section 9.2.2
ATTEMPTS_MAX = 3


class Sent:
    """One request, numbered."""

    def __init__(self, number: int, method: str, user: str, body: bytes = b"", folder: str = "r") -> None:
        self.number = number
        self.method = method
        self.user = user
        self.body = body
        self.folder = folder
        self.decisions = 0
        self.is_admitted: bool | None = None
        self.records: list[tuple[Any, ...]] = []  # what the replica says became of it
        self.arrivals = 0  # at the service
        self.said: list[tuple[int, bytes]] = []  # the service's answers: status and body
        self.is_unmarked = (
            False  # its answer ends as its connection does: nobody sees that there should be more
        )
        self.excuse = ""  # why it may fail: what the service, its client or the world did to it
        self.is_answered = False
        self.begun = 0.0

    def head(self, *lines: str) -> bytes:
        target = f"/{self.folder}/{self.number}"
        return get(f"X-Auth-Token: {self.user}", *lines, target=target, method=self.method)

    def whole(self) -> bytes:
        if self.method in ("GET", "HEAD"):
            return self.head()
        return self.head(f"Content-Length: {len(self.body)}") + self.body

    def arrived(self) -> str:
        """At the service; what is wrong with that."""
        self.arrivals += 1
        if not self.is_admitted:
            return "it was not admitted"
        if self.arrivals > (ATTEMPTS_MAX if self.method in REPEATABLE else 1):
            return f"it came {self.arrivals} times"
        return ""

    def answered(self, response: Response, *, is_calm: bool) -> str:
        """By Weir; what is wrong with that. `is_calm`: nothing has happened that would excuse a failure."""
        self.is_answered = True
        status, body = response.status, response.body
        if SECRET in body:
            return "the service's secret has left"
        if response.values("X-Request-Id") == []:
            return "the answer has no X-Request-Id"
        if self.method == "HEAD" and status not in {said for said, _ in self.said}:
            return self._own(status, is_calm=is_calm)
        if (status, body) in self.said or self.method == "HEAD":
            return ""
        if self.is_unmarked and not is_calm and any(said.startswith(body) for _, said in self.said):
            return ""
        if status == 500 and any(said == 500 for said, _ in self.said):  # redacted
            return ""
        return self._own(status, is_calm=is_calm)

    def _own(self, status: int, *, is_calm: bool) -> str:
        """An answer that Weir gives by itself."""
        if status == 429:
            return "" if self.is_admitted is False else "429, and it was not refused"
        if status in (408, 413, 502, 503, 504) and (self.excuse or not is_calm):
            return ""
        return f"answered {status}, the service said {[(each, len(body)) for each, body in self.said]}"

    def __repr__(self) -> str:
        return f"{self.method} {self.number} of {self.user}"
