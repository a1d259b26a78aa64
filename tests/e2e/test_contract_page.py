"""docs/contract.md shows for each row of the contract what a client sees: made here, from running exchanges.

WEIR_WRITE_DOCS=1 python -m pytest tests/e2e/test_contract_page.py      writes the page anew
"""

from __future__ import annotations

import os
import re

import pytest

from tests.e2e.contract_cases import CASES, TOKEN, Case
from tests.support.messages import chunked, get
from tests.support.weir import ROOT

PAGE = ROOT / "docs" / "contract.md"
# The default limit, but each row has a bucket of its own.
LIMITED = {"limits": [{"name": "per-user", "key": ["header:X-Row"], "rate": "15/s"}]}
INTRODUCTION = """\
# The contract, as a client sees it

For each status code: the request, and every byte of the answer but for its request id and its date. The answers are
those of a running Weir with its default limit, 15 requests a second for each user; a test compares this page with
them. `weir demo` serves most of them to try by hand.

"""
CLOSING = """\
## What answers must have

`weir check FILE` shows what is asked of the service's answers by status; `contract.rules` changes it (docs/configuration.md). An answer that
breaks it passes, is counted in `weir_contract_violations_total`, and logged once an hour for each status and rule.

A 429 of the service itself passes too; with `on_upstream_429: drain` Weir refuses the client until its Retry-After is over (docs/limits.md).

## What else Weir answers by itself

408, 413, 417, 421, 431, 501, 502, 503 and 504 have the same shape; docs/supported-http.md and the fault table in
`proxy/faults.py` say when. `errors.format` gives error objects the shape of the service's own.
"""


def ids(case: Case) -> str:
    return case.title


def raw(case: Case, framing: str = "length") -> bytes:
    """What the service says, framed in a way of its choice."""
    assert case.said is not None
    lines, body = [*case.said], case.body
    if case.status in (204, 304):
        pass
    elif framing == "length":
        lines.append(b"Content-Length: %d" % len(body))
    elif framing == "chunked":
        lines.append(b"Transfer-Encoding: chunked")
        body = chunked(body[:7], body[7:]) if body else chunked()
    else:
        lines.append(b"Connection: close")
    return b"\r\n".join([*lines, b"", body])


def asks(case: Case, framing: str = "length", version: str = "HTTP/1.1") -> bytes:
    lines = [TOKEN, *case.headers]
    body = case.sent
    if body and framing == "chunked":
        lines.append("Transfer-Encoding: chunked")
        body = chunked(body)
    elif body:
        lines.append(f"Content-Length: {len(body)}")
    return get(*lines, target=case.target, method=case.method, version=version) + body


def row(number: int, request: bytes) -> bytes:
    """The request, marked as that of a row."""
    return request.replace(b"\r\n", b"\r\nX-Row: %d\r\n" % number, 1)


def rows_of(cases, framing: str = "length"):
    """A service that says what the row says."""

    async def script(visit):
        while (request := await visit.request()) is not None:
            case = cases[int(request.value("X-Row"))]
            said = raw(case, framing) if case.said is not None else b"HTTP/1.1 204 No\r\n\r\n"
            await visit.send(said)
            if b"Connection: close" in said:
                return

    return script


def shown(case: Case, head: bytes, body: bytes) -> str:
    """The row as the page has it."""
    text = head.rstrip(b"\r\n") + b"\r\n\r\n" + body
    if found := re.search(rb"X-Request-Id: (\S+)", text):
        text = text.replace(found[1], b"0af7651916cd43dd8448eb211c80319c")
    text = re.sub(rb"Date: [^\r]*", b"Date: Mon, 23 Nov 2026 09:00:00 GMT", text)
    words = ["curl -i", *(["-X", case.method] if case.method != "GET" else [])]
    for header in (TOKEN, *case.headers):
        words.append(f"-H '{header}'")
    if case.sent:
        words.append(f"-d '{case.sent.decode()}'")
    target = case.target if len(case.target) < 100 else f"/$(printf 'x%.0s' $(seq {len(case.target) - 1}))"
    repeated = f"{case.times} times: " if case.times > 1 else ""
    request = f'{repeated}`{" ".join(words)} "https://api.example{target}"`'
    answer = text.decode().replace("\r\n", "\n").rstrip()
    return f"## {case.status}: {case.title}\n\n{case.says}\n\n{request}\n\n```http\n{answer}\n```\n\n"


async def test_page_shows_what_a_client_sees(start_weir, start_origin, connect):
    """To the byte, for every row."""
    page = INTRODUCTION
    origin = await start_origin(rows_of(CASES))
    weir = start_weir(LIMITED, upstream=origin)
    weir.tolerates_complaints = True  # the details of a failure are in its log
    for number, case in enumerate(CASES):
        wire = await connect(weir)
        await wire.send(row(number, asks(case)) * case.times)
        for _ in range(case.times):
            response = await wire.response(case.method)
        assert response.status == case.status
        page += shown(case, response.raw_head, response.body)
        wire.close()
    page += CLOSING
    if os.environ.get("WEIR_WRITE_DOCS"):
        PAGE.write_text(page)

    assert PAGE.read_text() == page


@pytest.mark.parametrize("answered", ["length", "chunked", "close"])
@pytest.mark.parametrize(
    ("version", "asked"), [("HTTP/1.1", "length"), ("HTTP/1.1", "chunked"), ("HTTP/1.0", "length")]
)
@pytest.mark.parametrize("case", [case for case in CASES if case.said is not None], ids=ids)
async def test_row_holds_in_every_framing(weir, origin, ask, case, version, asked, answered):
    """Whatever the service's framing and the client's: status and body are the same, or the details are gone.

    HTTP/1.0 has no chunked coding.
    """
    weir.tolerates_complaints = True
    origin.script = rows_of([case], answered)
    response = await ask(weir, row(0, asks(case, asked, version)))

    assert response.status == case.status
    if case.is_own:
        assert response.json()["status"] == case.status
        assert b"SqlException" not in response.body
        assert response.value("Server") is None
    else:
        assert response.body == case.body
    if case.said and case.status < 500:
        for line in case.said[1:]:
            name, value = line.split(b": ", 1)
            assert case.status == 204 or response.value(name) == value


async def test_connection_is_usable_after_every_row(weir, origin, connect):
    """One connection goes through all of them."""
    weir.tolerates_complaints = True
    rows = [case for case in CASES if case.said is not None]

    origin.script = rows_of(rows)
    wire = await connect(weir)
    statuses = []
    for number, case in enumerate(rows):
        await wire.send(row(number, asks(case)))
        statuses.append((await wire.response(case.method)).status)

    assert statuses == [case.status for case in rows]
