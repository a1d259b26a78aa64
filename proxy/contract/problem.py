"""Error objects: what a client is told when the answer is Weir's own (RFC 9457), or in the service's own shape.

Rendered from parts that are made once, since a refusal must cost less than an answer. Nothing of the request or of the
upstream goes into one but the request id and members that a setting allows. Knows nothing of sockets.
"""

from __future__ import annotations

import json
import re
from http import HTTPStatus
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.config.settings import ErrorSettings

# IANA HTTP Problem Types registry.
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
CAPACITY_REDUCED = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"

_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_TITLES = {status.value: status.phrase for status in HTTPStatus}
_ID = "\0"  # stands for the request id until it is known; no JSON text holds a NUL
_CACHED_MAX = (
    256  # distinct error objects: the fault table has fewer, templates with limits' names a few more
)


class Problems:
    """Renders error objects in one format."""

    def __init__(self, content_type: str = "application/problem+json", template: str | None = None) -> None:
        self._content_type = content_type.encode()
        self._template = template
        self._parts: dict[tuple[int, str, tuple[str, ...]], tuple[bytes, ...]] = {}

    @classmethod
    def from_settings(cls, settings: ErrorSettings) -> Problems:
        if settings.format == "problem":
            return cls()
        return cls(settings.format.content_type, settings.format.body)

    def body(self, status: int, detail: str, request_id: str, violated: tuple[str, ...] = ()) -> bytes:
        """The error object. `violated` names the limits that refused."""
        key = (status, detail, violated)
        parts = self._parts.get(key)
        if parts is None:
            parts = self._render(status, detail, violated, {})
            if len(self._parts) < _CACHED_MAX:
                self._parts[key] = parts
        return _escaped(request_id).encode().join(parts)

    def body_with(self, status: int, detail: str, request_id: str, members: Mapping[str, object]) -> bytes:
        """The error object with members of the original that may stay; a template has no place for them."""
        return _escaped(request_id).encode().join(self._render(status, detail, (), members))

    def lines(self, length: int) -> bytes:
        """The header lines that describe an error object of `length` bytes; no cache may keep it (RFC 6585 section 4)."""
        return b"Content-Type: %b\r\nContent-Length: %d\r\nCache-Control: no-store\r\n" % (
            self._content_type,
            length,
        )

    def _render(
        self, status: int, detail: str, violated: Sequence[str], members: Mapping[str, object]
    ) -> tuple[bytes, ...]:
        title = title_of(status)
        if self._template is not None:
            text = _filled(self._template, str(status), title, detail)
        else:
            text = json.dumps(
                _problem(status, title, detail, violated) | _allowed(members), ensure_ascii=False
            )
            text = text.replace("\\u0000", _ID)
        return tuple(part.encode("utf-8", "replace") for part in text.split(_ID))


def title_of(status: int) -> str:
    return _TITLES.get(status, "Error")


def _problem(status: int, title: str, detail: str, violated: Sequence[str]) -> dict[str, object]:
    """RFC 9457 section 3."""
    problem: dict[str, object] = {
        "type": QUOTA_EXCEEDED if violated else "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "instance": f"urn:weir:request:{_ID}",
        "requestId": _ID,
    }
    if not detail:
        del problem["detail"]
    if violated:
        problem["violated-policies"] = list(violated)
    return problem


def _allowed(members: Mapping[str, object]) -> dict[str, object]:
    """What may be merged: never a member of our own, never a NUL."""
    own = ("type", "title", "status", "detail", "instance", "requestId", "violated-policies")
    return {
        name: value.replace("\0", "") if isinstance(value, str) else value
        for name, value in members.items()
        if name not in own and "\0" not in name
    }


def _filled(template: str, status: str, title: str, detail: str) -> str:
    """One pass over the placeholders, so that a value cannot hold one."""
    values = {"status": status, "title": _escaped(title), "detail": _escaped(detail), "request_id": _ID}
    return _PLACEHOLDER.sub(lambda match: values.get(match[1], match[0]), template)


def _escaped(text: str) -> str:
    """As the inside of a JSON string."""
    return json.dumps(text, ensure_ascii=False)[1:-1]
