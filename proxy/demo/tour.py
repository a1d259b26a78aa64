"""The tour of `weir demo`: what passes, what streams, who is refused, what a failure looks like from outside.

Each step shows a line to copy and what came of it; what did not come as it should is said, and the tour
returns 1.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import aiohttp
from rich.console import Group
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from proxy.demo.stage import Answer, Request, Stage, readable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

    Originals = Callable[[str], Mapping[str, object] | None]  # by request id, what Weir's log says of it

RATE = 15  # a second, and at once: the default limit
BURST_CALLS = 40
BEN_CALLS = 5
# Of the sample service's failure: what must be in the log, and in no byte for the client.
TELLING = ("SqlException", "EntityReader", "SELECT", "db01", "Kestrel", "ASP.NET", "Password")
PASSWORD = "Tr0ub4dor"  # noqa: S105 - of a database that does not exist; must not even be in the log


async def tour(base_url: str, console: Console, originals: Originals | None = None) -> int:
    """0 if everything came as it should, else 1."""
    async with Stage(base_url, console) as stage:
        try:
            await _steps(stage, originals)
        except (aiohttp.ClientError, TimeoutError) as error:
            what = str(error) or type(error).__name__
            stage.expect(is_so=False, what=f"an answer, but the client says: {what}")
    return 0 if stage.is_good else 1


async def _steps(stage: Stage, originals: Originals | None) -> None:
    ana, ben = await _sign_in(stage)
    if not (ana and ben):
        return
    target = await _create(stage, ana)
    await _read(stage, ana, target)
    await _change(stage, ana, target)
    await _miss(stage, ana)
    await _stream(stage, ana)
    refused = await _burst(stage, ana, ben)
    if refused is not None:
        await _come_back(stage, ana, refused)
    await _fail(stage, ben, originals)


async def _sign_in(stage: Stage) -> tuple[str, str]:
    """The tokens of two users: limits count by them."""
    stage.step("Two users sign in", "The answers are the service's own; Weir only stands in between.")
    tokens = []
    for user in ("ana", "ben"):
        request = Request("POST", "/api/authenticate", body={"user_name": user, "password": "demo"})
        stage.curl(request.curl(stage.base_url))
        answer = await stage.ask(request)
        stage.answer(answer)
        tokens.append(str(answer.members.get("token", "")))
    stage.expect(all(tokens), "200 with a token for each")
    return tokens[0], tokens[1]


async def _create(stage: Stage, token: str) -> str:
    """The target of a new entity."""
    stage.step("Ana creates an entity")
    request = Request(
        "POST", "/api/entitydefinitions/Asset/entities", token, {"name": "poster", "colour": "red"}
    )
    stage.curl(request.curl(stage.base_url))
    answer = await stage.ask(request)
    stage.answer(answer, "Location", "X-Global-Identifier")
    location = answer.headers.get("Location", "")
    is_whole = answer.status == 201 and bool(location) and "X-Global-Identifier" in answer.headers
    stage.expect(is_whole, "201 with Location and X-Global-Identifier")
    return "/" + location.split("/", 3)[-1]


async def _read(stage: Stage, token: str, target: str) -> None:
    stage.step("She reads it, and reads it again", "The second time she has a copy, and says so by its ETag.")
    request = Request("GET", target, token)
    stage.curl(request.curl(stage.base_url))
    answer = await stage.ask(request)
    stage.answer(answer, "ETag", "RateLimit")
    stage.expect(answer.status == 200 and "ETag" in answer.headers, "200 with an ETag, exactly as written")
    again = Request("GET", target, token, if_none_match=answer.headers.get("ETag", '""'))
    stage.curl(again.curl(stage.base_url))
    answer = await stage.ask(again)
    stage.answer(answer)
    stage.expect(answer.status == 304 and not answer.raw, "304 without a body")


async def _change(stage: Stage, token: str, target: str) -> None:
    stage.step("She changes it, then deletes it")
    statuses = []
    for request in (
        Request("PUT", target, token, {"name": "poster", "colour": "blue"}),
        Request("DELETE", target, token),
    ):
        stage.curl(request.curl(stage.base_url))
        answer = await stage.ask(request)
        stage.answer(answer)
        statuses.append((answer.status, answer.raw, answer.headers.get("Content-Length")))
    stage.expect(statuses == [(204, b"", None)] * 2, "204 twice: no body, not even a length")


async def _miss(stage: Stage, token: str) -> None:
    stage.step("She asks for what is not there", "The service's error objects for 4xx pass untouched.")
    request = Request("GET", "/api/entities/1", token)
    stage.curl(request.curl(stage.base_url))
    answer = await stage.ask(request)
    stage.answer(answer)
    stage.expect(
        answer.status == 404 and "errorCode" in answer.members, "404 with the service's error object"
    )


async def _stream(stage: Stage, token: str) -> None:
    stage.step(
        "An answer that takes its time", "Nothing is held back: each line arrives when it was written."
    )
    request = Request("GET", "/slow?lines=6&seconds=0.2", token)
    stage.curl(request.curl(stage.base_url, "-N"))
    moments = []
    async for second, line in stage.lines(request):
        moments.append(second)
        stage.show(Text.assemble((f"{second:5.2f} s  ", "dim"), line))
    is_streamed = len(moments) == 6 and moments[-1] - moments[0] > 0.5
    stage.expect(is_streamed, "six lines, a fifth of a second apart")


async def _burst(stage: Stage, ana: str, ben: str) -> Answer | None:
    """One of the refused answers."""
    stage.step(
        f"Ana sends {BURST_CALLS} requests at once, Ben {BEN_CALLS}",
        f"Each user may send {RATE} a second, and {RATE} at once.",
    )
    requests = [Request("GET", "/api/entities", ana) for _ in range(BURST_CALLS)]
    requests[4:4] = [Request("GET", "/api/entities", ben) for _ in range(BEN_CALLS)]
    probe = requests[0].curl(stage.base_url, "-s", "-o", "/dev/null", "-w", r"%{http_code}\n")
    stage.curl(f"seq {BURST_CALLS} | xargs -P {BURST_CALLS} -I+ {probe} | sort | uniq -c")
    answers, seconds = await stage.ask_all(requests)
    of_ana = [answer for request, answer in zip(requests, answers, strict=True) if request.token == ana]
    of_ben = [answer for request, answer in zip(requests, answers, strict=True) if request.token == ben]
    stage.show(_scores(("ana", of_ana), ("ben", of_ben)))
    passed, refused = _of_status(of_ana, 200), _of_status(of_ana, 429)
    # While the burst lasts, tokens come back: one in each fifteenth of a second.
    most = RATE + int(seconds * RATE) + 1
    said = (
        f"{len(passed)} of ana's {BURST_CALLS} pass, {len(refused)} get 429; it took {seconds * 1000:.0f} ms"
    )
    is_exact = RATE <= len(passed) <= most and len(passed) + len(refused) == BURST_CALLS
    stage.expect(
        is_exact, said if is_exact else f"{RATE} to {most} of ana's pass and the others get 429; {said}"
    )
    stage.expect(len(_of_status(of_ben, 200)) == BEN_CALLS, "Ben does not notice: all of his pass")
    return refused[-1] if refused else None


def _of_status(answers: list[Answer], status: int) -> list[Answer]:
    return [answer for answer in answers if answer.status == status]


def _scores(*users: tuple[str, list[Answer]]) -> Table:
    table = Table("user", "sent", "passed", "refused", "in order of sending")
    for name, answers in users:
        marks = Text()
        for answer in answers:
            is_passed = answer.status == 200
            marks.append("■" if is_passed else "□", "green" if is_passed else "red")
        passed, refused = len(_of_status(answers, 200)), len(_of_status(answers, 429))
        table.add_row(name, str(len(answers)), str(passed), str(refused), marks)
    return table


async def _come_back(stage: Stage, token: str, refused: Answer) -> None:
    stage.step(
        "What a refused client sees", "The service never heard of it. When to come back is in the answer:"
    )
    stage.answer(refused, "Retry-After", "RateLimit", "RateLimit-Policy", "Cache-Control")
    stage.expect(refused.headers.get("Retry-After") == "1", "Retry-After: 1, and an error object")
    wait = refused.headers.get("Retry-After", "1")
    stage.say(f"... waiting {wait} s, as it says", "dim")
    await asyncio.sleep(float(wait) if wait.isdecimal() else 1.0)
    request = Request("GET", "/api/entities", token)
    stage.curl(request.curl(stage.base_url))
    answer = await stage.ask(request)
    stage.answer(answer, "RateLimit", body=False)
    stage.expect(answer.status == 200, "the next one passes")


async def _fail(stage: Stage, token: str, originals: Originals | None) -> None:
    stage.step(
        "The service fails", "Its answer names files, a statement, a password, and what it is made of."
    )
    request = Request("GET", "/boom", token)
    stage.curl(request.curl(stage.base_url))
    answer = await stage.ask(request)
    request_id = answer.headers.get("X-Request-Id", "")
    original = originals(request_id) if originals is not None else None
    _compare(stage, original, answer)
    is_named = answer.status == 500 and answer.members.get("requestId") == request_id != ""
    stage.expect(is_named, "500 with a request id")
    leaked = [word for word in (*TELLING, PASSWORD) if word in answer.head + answer.text]
    stage.expect(not leaked, f"nothing of it leaves{': ' + ', '.join(leaked) if leaked else ''}")
    if originals is not None:
        kept = str(original)
        is_kept = all(word in kept for word in TELLING) and PASSWORD not in kept
        stage.expect(is_kept, "the log has all of it by that id, but for the password")


def _compare(stage: Stage, original: Mapping[str, object] | None, answer: Answer) -> None:
    """What the service said, as Weir's log has it, and what the client saw."""
    head = Text(f"{answer.status} {answer.reason}\n{answer.head}\n")
    panels = [Panel(Group(head, readable(answer)), title="what the client saw")]
    if original is not None:
        headers = original.get("headers")
        lines = [
            f"request id {original.get('request_id')}",
            f"{original.get('status')} {original.get('reason')}",
        ]
        lines += (*(headers if isinstance(headers, list) else ()), "", str(original.get("body")).rstrip())
        panels.insert(0, Panel(Text("\n".join(lines)), title="what the service said: only in Weir's log"))
    stage.side_by_side(*panels)
