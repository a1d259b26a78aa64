"""What the tour stands on: requests by a client that changes nothing, and a console that shows them as curl
lines.

Whatever is expected is said, kept or not; `is_good` tells at the end whether all of it came true.
"""

from __future__ import annotations

import asyncio
import json
import shlex
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import aiohttp
from rich.console import Group
from rich.json import JSON
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

    from rich.console import Console, RenderableType
    from rich.panel import Panel

TIMEOUT_SECONDS = 20.0
INDENT = 3
SHOWN_CHARS = 2000  # of a body
LINE_CHARS = 76  # of JSON that needs no more than a line
WIDE_CHARS = 120  # for two panels side by side
COLOURS = {2: "green", 3: "cyan", 4: "yellow", 5: "red"}


@dataclass(slots=True)
class Answer:
    status: int
    reason: str
    headers: Mapping[str, str]
    head: str  # its lines as they came
    raw: bytes

    @property
    def text(self) -> str:
        return self.raw.decode("utf-8", "replace")

    @property
    def members(self) -> dict[str, object]:
        """What the body holds, if it is a JSON object."""
        try:
            value = json.loads(self.raw)
        except ValueError:
            return {}
        return value if isinstance(value, dict) else {}


@dataclass(slots=True)
class Request:
    """A request, as one would type it."""

    method: str
    target: str
    token: str = ""
    body: dict[str, object] | None = None
    if_none_match: str = ""

    def headers(self) -> dict[str, str]:
        headers = {"X-Auth-Token": self.token, "If-None-Match": self.if_none_match}
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        return {name: value for name, value in headers.items() if value}

    def data(self) -> bytes | None:
        return None if self.body is None else json.dumps(self.body).encode()

    def curl(self, base_url: str, *options: str) -> str:
        words = ["curl", *(options or ("-i",))]
        if self.method != ("GET" if self.body is None else "POST"):
            words += ["-X", self.method]
        for name, value in self.headers().items():
            words += ["-H", f"{name}: {value}"]
        if self.body is not None:
            words += ["-d", json.dumps(self.body)]
        return shlex.join([*words, base_url + self.target])


class Stage:
    def __init__(self, base_url: str, console: Console) -> None:
        self.base_url = base_url
        self.is_good = True
        self._console = console
        self._session: aiohttp.ClientSession | None = None
        self._steps = 0

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=TIMEOUT_SECONDS),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._session is not None
        await self._session.close()

    # --- requests ---

    async def ask(self, request: Request) -> Answer:
        async with self._request(request) as response:
            raw = await response.read()
            lines = (f"{name.decode()}: {value.decode('latin-1')}" for name, value in response.raw_headers)
            return Answer(response.status, response.reason or "", response.headers, "\n".join(lines), raw)

    async def ask_all(self, requests: list[Request]) -> tuple[list[Answer], float]:
        """All at once; the answers in the order of the requests, and the seconds it took."""
        started = time.monotonic()
        answers = await asyncio.gather(*map(self.ask, requests))
        return answers, time.monotonic() - started

    async def lines(self, request: Request) -> AsyncIterator[tuple[float, str]]:
        """The lines of a streamed answer, each with the second at which it came."""
        started = time.monotonic()
        async with self._request(request) as response:
            async for line in response.content:
                yield time.monotonic() - started, line.decode("utf-8", "replace").rstrip()

    def _request(self, request: Request) -> aiohttp.client._RequestContextManager:
        assert self._session is not None
        return self._session.request(
            request.method,
            self.base_url + request.target,
            headers=request.headers(),
            data=request.data(),
            allow_redirects=False,
        )

    # --- the show ---

    def step(self, title: str, *sentences: str) -> None:
        self._steps += 1
        self._console.print(f"\n[bold]{self._steps}  {title}[/bold]")
        for sentence in sentences:
            self.say(sentence)

    def say(self, text: str, style: str = "") -> None:
        self.show(Text(text, style=style))

    def show(self, what: RenderableType) -> None:
        """A piece of the show; whatever braces or brackets are in a text stay what they are."""
        self._console.print(Padding(what, (0, 0, 0, INDENT), expand=False))

    def curl(self, line: str) -> None:
        """Shows it on one line, however long, so that it can be copied."""
        text = Text.assemble((" " * INDENT + "$ ", "dim"), (line, "cyan"))
        self._console.print(text, soft_wrap=True, highlight=False)

    def answer(self, answer: Answer, *names: str, body: bool = True) -> None:
        """Its status, the header fields of these names, its body."""
        shown = Text.assemble(
            (f"{answer.status} {answer.reason}", f"bold {COLOURS.get(answer.status // 100, '')}")
        )
        for name in names:
            shown.append(f"\n{name}: ", "dim")
            shown.append(answer.headers.get(name, "(missing)"))
        self.show(shown)
        if body and answer.raw:
            self.show(readable(answer))

    def side_by_side(self, *panels: Panel) -> None:
        """Puts them beside each other, or one above the other where the terminal is narrow."""
        if self._console.width < WIDE_CHARS:
            self.show(Group(*panels))
        else:
            grid = Table.grid(expand=True)
            grid.add_row(*panels)
            self.show(grid)

    def expect(self, is_so: bool, what: str) -> None:  # noqa: FBT001 - a claim and its words
        """Says whether it came as it should; the tour fails if not."""
        if is_so:
            self.say(f"✓ {what}", "green")
        else:
            self.is_good = False
            self.say(f"✗ should be: {what}", "bold red")


def readable(answer: Answer) -> RenderableType:
    """The body; JSON that is long is laid out."""
    if not answer.members or not LINE_CHARS < len(answer.text) <= SHOWN_CHARS:
        return Text(answer.text[:SHOWN_CHARS])
    shown = JSON(answer.text).text
    shown.no_wrap = False
    return shown
