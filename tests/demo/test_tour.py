from __future__ import annotations

import io
import shlex

import pytest
from aiohttp import web
from rich.console import Console
from rich.panel import Panel

from proxy.demo.service import FAILURE, sample_service
from proxy.demo.stage import Request, Stage
from proxy.demo.tour import tour


@pytest.fixture
def console():
    return Console(file=io.StringIO(), width=100)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


async def test_without_a_gateway_the_tour_says_so(aiohttp_server, console):
    """The bare service refuses nobody and tells everything: each of it is said, and the result is 1."""
    service = await aiohttp_server(sample_service())
    result = await tour(str(service.make_url("/"))[:-1], console)

    assert result == 1
    wrong = [line.strip() for line in printed(console).splitlines() if "✗" in line]
    assert any("of ana's pass and the others get 429" in line for line in wrong)
    assert any("nothing of it leaves: SqlException" in line for line in wrong)
    assert any("500 with a request id" in line for line in wrong)
    assert not any("204" in line or "304" in line or "201" in line for line in wrong)


async def test_a_service_that_breaks_its_promises_is_seen(aiohttp_server, console):
    """Without Location, ETag, error objects or tokens that count: nothing passes for good."""
    app = web.Application()

    async def anything(request):
        return web.json_response({"token": request.path})

    app.router.add_route("*", "/{any:.*}", anything)
    service = await aiohttp_server(app)
    result = await tour(str(service.make_url("/"))[:-1], console, lambda _: None)

    assert result == 1
    assert printed(console).count("✗") >= 8


async def test_without_tokens_the_tour_ends(aiohttp_server, console):
    """There is nobody to show anything with."""
    app = web.Application()
    service = await aiohttp_server(app)
    result = await tour(str(service.make_url("/"))[:-1], console)

    assert result == 1
    assert "✗ should be: 200 with a token for each" in printed(console)
    assert "Ana creates" not in printed(console)


async def test_a_gateway_that_is_not_there_is_no_traceback(unused_tcp_port, console):
    """One line says what the client said."""
    result = await tour(f"http://127.0.0.1:{unused_tcp_port}", console)

    assert result == 1
    assert "✗ should be: an answer, but the client says: Cannot connect" in printed(console)


async def test_text_of_a_service_is_never_markup(console):
    """What looks like rich's markup is shown as it is."""
    async with Stage("http://x", console) as stage:
        stage.say("[bold]a[/bold] [/]")
        stage.expect(is_so=True, what="[red]")

    assert "[bold]a[/bold] [/]" in printed(console)
    assert "✓ [red]" in printed(console)


@pytest.mark.parametrize(("width", "is_beside"), [(120, True), (119, False)])
async def test_panels_stand_beside_each_other_where_there_is_room(width, is_beside):
    console = Console(file=io.StringIO(), width=width)
    async with Stage("http://x", console) as stage:
        stage.side_by_side(Panel("what the log has"), Panel("what the client gets"))

    together = [line for line in printed(console).splitlines() if "log has" in line and "gets" in line]
    assert len(together) == is_beside


async def test_the_lines_can_be_copied(aiohttp_server, console):
    """What is printed for a shell does what the tour did."""
    service = await aiohttp_server(sample_service())
    base_url = str(service.make_url("/"))[:-1]
    request = Request("PUT", "/echo?a=1&b='", "ana-1", {"name": "it's"}, if_none_match='"x"')
    async with Stage(base_url, console) as stage:
        stage.curl(request.curl(base_url, "-s"))
        answer = await stage.ask(request)
    line = printed(console).strip().removeprefix("$ ")

    words = shlex.split(line)
    assert words[0] == "curl"
    assert words[words.index("-d") + 1] == '{"name": "it\'s"}'
    assert words[-1] == base_url + request.target
    assert '"body": "{\\"name\\": \\"it\'s\\"}"' in answer.text
    assert "If-None-Match" in answer.text


def test_a_plain_get_needs_no_options():
    """The shortest line that does it."""
    assert Request("GET", "/a").curl("http://h") == "curl -i http://h/a"
    assert Request("POST", "/a", body={}).curl("http://h").count("-X") == 0
    assert "-X DELETE" in Request("DELETE", "/a").curl("http://h")


def test_the_failure_of_the_service_tells_what_the_tour_looks_for():
    """Else the tour would prove nothing."""
    from proxy.demo.tour import PASSWORD, TELLING

    assert PASSWORD in FAILURE
    assert all(word in FAILURE or word in ("Kestrel", "ASP.NET") for word in TELLING)
