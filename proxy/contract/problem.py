"""Error objects: what a client gets where it does not get the service's own answer (RFC 9457, or a template).

Two answers of the same kind differ in the request id only, so a kind is rendered once, as the pieces between
the places of the id; an answer joins them: 0.5 us with its header lines. A request id consists of characters
that may stand in a URI; whatever else comes is escaped for JSON. Never given data of the request or of the
service, except members of its error object that the config lets through. Knows nothing of where an answer
goes.
"""

from __future__ import annotations

import json
import re
from html import escape
from typing import TYPE_CHECKING, NamedTuple, Protocol

from proxy.config.names import is_json
from proxy.config.template import json_mistake, parse_template
from proxy.http1.serialise import REASONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.config.sections.answers import ErrorSettings

PROBLEM_TYPE = "application/problem+json"
# The registered problem type of a used-up quota, with the names of the quotas (IETF draft ratelimit-headers).
QUOTA_EXCEEDED = "https://iana.org/assignments/http-problem-types#quota-exceeded"
ROWS_MAX = 512  # kinds of answers that are remembered: the fault table has 53, and each limit adds one

Scalar = str | int | float | bool | None

_ID = "{request_id}"
_WEIGHT = re.compile(rb"(?:^|;)\s*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*(?:;|\Z)")
_PLACEHOLDER = re.compile(r"\{(status|title|detail|request_id)\}")


# What an Accept field may name, and the form that it gets; JSON where nothing else is asked for.
_FORMS = {
    b"application/problem+json": "problem",
    b"application/*": "problem",
    b"*/*": "problem",
    b"application/json": "json",
    b"text/html": "html",
    b"application/xhtml+xml": "html",
    b"text/plain": "plain",
    b"text/*": "plain",
}
_IN_PLACE = ("problem", "json", "plain", "html")  # of a form that is refused though all are asked for


class Layout(Protocol):
    """What an error object looks like."""

    content_type: str
    is_object: bool  # JSON to which members can be added

    def text(self, status: int, title: str, detail: str | None, violated: Sequence[str]) -> str:
        """The body, with {request_id} where the id belongs."""


class Row(NamedTuple):
    """One kind of answer."""

    pieces: list[bytes]  # of the body, between the request ids
    fixed_bytes: int
    ids: int
    head: bytes  # all of the header lines, but for the number that ends them


class Problems:
    __slots__ = ("_layout", "_rows", "content_type")

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._rows: dict[tuple[int, str | None, tuple[str, ...]], Row] = {}
        self.content_type = layout.content_type.encode()

    @classmethod
    def from_settings(cls, errors: ErrorSettings) -> dict[str, Problems]:
        """One for each form that a client may ask for; a template has one, for all of them."""
        if not isinstance(errors.format, str):
            return {"problem": cls(TemplateLayout(errors.format.content_type, errors.format.body))}
        layouts: dict[str, Layout] = {
            "problem": ProblemLayout(),
            "json": ProblemLayout("application/json"),
            "html": PageLayout(),
            "plain": PlainLayout(),
        }
        return {form: cls(layout) for form, layout in layouts.items()}

    def pieces(
        self, status: int, detail: str | None, id_bytes: int, violated: tuple[str, ...] = ()
    ) -> tuple[bytes, list[bytes]]:
        """The header lines, and the body as the pieces between its request ids, each of `id_bytes`.

        `violated` names the limits that refused.
        """
        row = self._rows.get((status, detail, violated)) or self._row(status, detail, violated)
        return b"%b%d\r\n" % (row.head, row.fixed_bytes + row.ids * id_bytes), row.pieces

    def body(
        self,
        status: int,
        detail: str | None,
        request_id: str,
        *,
        members: Mapping[str, Scalar] | None = None,
    ) -> tuple[bytes, bytes]:
        """The Content-Type and the body.

        `members` are added to the object; its own are never replaced, but for the detail.
        """
        members = members if members and self._layout.is_object else {}
        told = members.get("detail")
        detail = told if isinstance(told, str) and _ID not in told else detail
        text = self._layout.text(status, title_of(status), detail, ()).replace(_ID, escaped(request_id))
        if members:
            taken = json.loads(text)
            text = _extended(text, {name: value for name, value in members.items() if name not in taken})
        return self.content_type, text.encode()

    def _row(self, status: int, detail: str | None, violated: tuple[str, ...]) -> Row:
        text = self._layout.text(status, title_of(status), detail, violated)
        pieces = [piece.encode() for piece in text.split(_ID)]
        head = b"Content-Type: %b\r\nCache-Control: no-store\r\nContent-Length: " % self.content_type
        row = Row(pieces, sum(map(len, pieces)), len(pieces) - 1, head)
        if len(self._rows) >= ROWS_MAX:
            self._rows.clear()
        self._rows[status, detail, violated] = row
        return row


def problem_head_lines(content_type: bytes, body: bytes) -> bytes:
    """The header lines that every answer of our own has."""
    return b"Content-Type: %b\r\nCache-Control: no-store\r\nContent-Length: %d\r\n" % (
        content_type,
        len(body),
    )


def form_of(accept: bytes) -> str:
    """The form that an Accept field gives the most weight, the first of equals (RFC 9110 section 12.5.1)."""
    wanted, most = "problem", 0.0
    refused = set()
    for member in accept.lower().split(b","):
        media_type, _, parameters = member.partition(b";")
        name = media_type.strip()
        form = _FORMS.get(name)
        weight = _weight(parameters)
        if form is None or form in refused:
            continue
        if weight == 0.0 and b"*" not in name:
            refused.add(form)
        if weight > most:
            wanted, most = form, weight
    return next((form for form in (wanted, *_IN_PLACE) if form not in refused), "problem")


def _weight(parameters: bytes) -> float:
    """1 where none is given, or none that can be read."""
    found = _WEIGHT.search(parameters)
    return float(found[1]) if found is not None else 1.0


class ProblemLayout:
    """RFC 9457, with the request id twice: as a URI of the occurrence, and plain, to be searched for."""

    def __init__(self, content_type: str = PROBLEM_TYPE) -> None:
        self.content_type = content_type

    is_object = True

    def text(self, status: int, title: str, detail: str | None, violated: Sequence[str]) -> str:
        members: dict[str, object] = {
            "type": QUOTA_EXCEEDED if status == 429 else "about:blank",
            "title": title,
            "status": status,
        }
        if detail is not None:
            members["detail"] = detail
        members |= {"instance": f"urn:weir:request:{_ID}", "requestId": _ID}
        if status == 429:
            members["violated-policies"] = list(violated)
        return json.dumps(members, separators=(",", ":"))


class PageLayout:
    """A small page for people, neutral: nothing of the service, nothing that is loaded."""

    content_type = "text/html; charset=utf-8"
    is_object = False

    def text(self, status: int, title: str, detail: str | None, violated: Sequence[str]) -> str:  # noqa: ARG002 - the problem layout's alone
        return (
            f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{status} {escape(title)}</title>'
            f"<h1>{escape(title)}</h1><p>{escape(detail or '')}</p>"
            f"<p>Request id: <code>{_ID}</code></p></html>\n"
        )


class PlainLayout:
    content_type = "text/plain; charset=utf-8"
    is_object = False

    def text(self, status: int, title: str, detail: str | None, violated: Sequence[str]) -> str:  # noqa: ARG002 - the problem layout's alone
        return f"{status} {title}\n{detail or ''}\nRequest id: {_ID}\n"


class TemplateLayout:
    """The service's own layout. Values are escaped for JSON strings, whatever the template is."""

    def __init__(self, content_type: str, template: str) -> None:
        """Raises ValueError for a template that would not always become JSON where it must."""
        self.content_type = content_type
        self.is_object = False
        template = parse_template(template).strip()
        self._pieces = _PLACEHOLDER.split(template)
        if is_json(content_type):
            self.is_object = isinstance(_json_of(template, self), dict)

    def text(self, status: int, title: str, detail: str | None, violated: Sequence[str]) -> str:  # noqa: ARG002 - the problem layout's alone
        values = {"status": str(status), "title": escaped(title), "detail": escaped(detail or "")}
        values["request_id"] = _ID
        # The literals stand at the even places, the names of placeholders between them.
        return "".join(piece if place % 2 == 0 else values[piece] for place, piece in enumerate(self._pieces))


def _json_of(template: str, layout: TemplateLayout) -> object:
    """What the template becomes; ValueError if that is no JSON, with the samples or with awkward values."""
    if (mistake := json_mistake(template)) is not None:
        raise ValueError(mistake)
    text = layout.text(503, 'a "title" \\', "\n", ()).replace(_ID, escaped('z"'))
    try:
        return json.loads(text)
    except ValueError:
        raise ValueError("does not become JSON with every value: a placeholder follows a backslash") from None


def title_of(status: int) -> str:
    """The standard reason phrase; for a status that has none, its class (RFC 9110 section 15)."""
    phrase = REASONS.get(status)
    return phrase.decode() if phrase else "Server Error" if status >= 500 else "Client Error"


def escaped(text: str) -> str:
    """Writes it as it stands within a JSON string."""
    return json.dumps(text)[1:-1]


def _extended(text: str, members: dict[str, Scalar]) -> str:
    """A JSON object with further members behind its own."""
    if not members:
        return text
    opening = text[:-1].rstrip()
    comma = "" if opening == "{" else ","
    return f"{opening}{comma}{json.dumps(members, separators=(',', ':'))[1:]}"
