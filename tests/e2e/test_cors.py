"""Browser apps of other origins: what they may read of Weir's own answers, and their preflights."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import web

from tests.support.browser import browser
from tests.support.messages import answer, get
from tests.support.origin import answering

APP = "https://app.example.com"
PREFLIGHT = [f"Origin: {APP}", "Access-Control-Request-Method: GET"]
LIMIT = {"name": "one", "key": ["header:X-Auth-Token", "client-ip"], "rate": "1/m"}
SETTINGS = {"limits": [LIMIT], "cors": {"origins": [APP]}, "contract": {"allow_methods": ["GET", "OPTIONS"]}}


async def test_app_may_read_a_refusal(start_weir, start_origin, ask):
    """With the fields that say when to come again."""
    weir = start_weir(SETTINGS, upstream=await start_origin())
    await ask(weir, get("X-Auth-Token: a"))
    refused = await ask(weir, get("X-Auth-Token: a", f"Origin: {APP}"))

    assert refused.status == 429
    assert refused.value("Access-Control-Allow-Origin") == APP.encode()
    assert refused.value("Access-Control-Allow-Credentials") == b"true"
    assert refused.value("Vary") == b"Origin"
    exposed = refused.value("Access-Control-Expose-Headers").split(b", ")
    assert exposed == [b"Retry-After", b"RateLimit", b"RateLimit-Policy", b"X-Request-Id"]


async def test_page_that_is_kept_is_not_given_to_another_origin(start_weir, start_origin, ask):
    """The same refusal, one after the other: with each origin's own fields."""
    weir = start_weir(SETTINGS, upstream=await start_origin())
    seen = [
        (await ask(weir, get(*lines, method="DELETE"))).value("Access-Control-Allow-Origin")
        for lines in ([f"Origin: {APP}"], ["Origin: https://evil.example"], [], [f"Origin: {APP}"])
    ]

    assert seen == [APP.encode(), None, None, APP.encode()]


@pytest.mark.parametrize(
    ("status", "line", "lines"),
    [
        (414, f"GET /{'a' * 300} HTTP/1.1", []),
        (431, "GET / HTTP/1.1", [f"X-{number}: a" for number in range(20)]),
        (501, "FROB / HTTP/1.1", []),
        (417, "GET / HTTP/1.1", ["Expect: more"]),
        (413, "POST / HTTP/1.1", ["Content-Length: 900"]),
        (400, "GET / HTTP/1.1", ["Content-Length: x"]),
    ],
)
@pytest.mark.measured
async def test_app_may_read_a_refusal_at_the_door(start_weir, start_origin, connect, status, line, lines):
    """Whatever is wrong with its request; and nobody reads the one of another's behind it."""
    bounds = {"headers": 10, "request_line": "200B", "body": "10B"}
    weir = start_weir(
        SETTINGS | {"downstream": {"limits": bounds}, "contract": {}}, upstream=await start_origin()
    )
    seen = []
    for first in (f"Origin: {APP}", "Origin: https://evil.example", "Accept: */*"):
        wire = await connect(weir)
        head = "\r\n".join([line, "Host: a", *lines, first, "", ""])
        await wire.send(f"{head}GET / HTTP/1.1\r\nHost: a\r\nOrigin: {APP}\r\n\r\n".encode())
        response = await wire.response()
        seen.append((response.status, response.value("Access-Control-Allow-Origin")))

    assert seen == [(status, APP.encode()), (status, None), (status, None)]


async def test_preflights_of_an_app_cost_nothing(start_weir, start_origin, ask):
    """They reach the service, and the tokens of the address stay."""
    origin = await start_origin()
    weir = start_weir(SETTINGS, upstream=origin)
    statuses = [(await ask(weir, get(*PREFLIGHT, method="OPTIONS"))).status for _ in range(5)]
    first, second = [(await ask(weir, get(f"Origin: {APP}"))).status for _ in range(2)]

    assert statuses == [200] * 5
    assert (first, second) == (200, 429)


@pytest.mark.measured
async def test_preflight_cannot_hide_from_the_service_that_it_is_one(start_weir, start_origin, ask):
    """What is not charged must be one there too."""
    origin = await start_origin()
    weir = start_weir(SETTINGS, upstream=origin)
    named = "Access-Control-Request-Method, Access-Control-Request-Headers, Origin"
    lines = [*PREFLIGHT, "Access-Control-Request-Headers: X-A", f"Connection: {named}"]
    response = await ask(weir, get(*lines, method="OPTIONS"))
    (seen,) = origin.requests

    assert response.status == 200
    assert seen.value("Access-Control-Request-Method") == b"GET"
    assert seen.value("Access-Control-Request-Headers") == b"X-A"
    assert seen.value("Origin") == APP.encode()


@pytest.mark.parametrize(
    "lines",
    [
        ["Origin: https://evil.example", "Access-Control-Request-Method: GET"],
        [f"Origin: {APP}"],
        [*PREFLIGHT, "Authorization: Bearer x"],
        [f"Origin: {APP}", "Access-Control-Request-Method: "],
    ],
)
async def test_other_requests_cost_what_they_cost(start_weir, start_origin, ask, lines):
    weir = start_weir(SETTINGS, upstream=await start_origin())

    assert [(await ask(weir, get(*lines, method="OPTIONS"))).status for _ in range(2)] == [200, 429]


async def test_fields_of_the_service_pass_untouched(start_weir, start_origin, ask):
    """Also in what stands for its failures, and without any of ours beside them."""
    own = "Access-Control-Allow-Origin: https://other.example"
    origin = await start_origin(
        answering(lambda request: answer(500 if b"/boom" in request.target else 200, b"", own, "Vary: X"))
    )
    weir = start_weir({"cors": {"origins": [APP]}}, upstream=origin)

    for target in ("/", "/boom"):
        response = await ask(weir, get(f"Origin: {APP}", target=target))
        assert response.values("Access-Control-Allow-Origin") == [b"https://other.example"]
        assert response.values("Access-Control-Expose-Headers") == []


async def test_failure_without_such_fields_can_be_read(start_weir, start_origin, ask):
    origin = await start_origin(answering(answer(500, b"boom")))
    weir = start_weir({"cors": {"origins": [APP]}}, upstream=origin)
    response = await ask(weir, get(f"Origin: {APP}"))

    assert response.status == 500
    assert response.value("Access-Control-Allow-Origin") == APP.encode()


PAGE = """<!doctype html><title>app</title><script>
const ask = (url) => fetch(url, {headers: {"X-Auth-Token": "a"}})
async function run(url) {
  await ask(url)
  const response = await ask(url)
  return [response.status, response.headers.get("Retry-After"), (await response.json()).title]
}
</script>"""


async def page_of_the_app(_):
    return web.Response(text=PAGE, content_type="text/html")


@pytest.mark.parametrize("is_listed", [True, False])
async def test_browser_shows_a_refusal_to_the_apps_of_the_list(
    start_weir, start_origin, tmp_path, unused_tcp_port, is_listed
):
    """For others it is a network error, as without the setting."""
    allowed = b"Access-Control-Allow-Origin: *\r\nAccess-Control-Allow-Headers: X-Auth-Token"
    origin = await start_origin(answering(answer(200, b"ok", allowed)))
    app = web.Application()
    app.router.add_get("/", page_of_the_app)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", unused_tcp_port).start()
    page = f"http://127.0.0.1:{unused_tcp_port}"
    weir = start_weir({"limits": [LIMIT], "cors": {"origins": [page if is_listed else APP]}}, upstream=origin)

    def seen():
        with browser(tmp_path) as chromium:
            chromium.open(page)
            script = "return run(arguments[0]).catch((error) => [error.name])"
            return chromium.run(script, weir.url)

    result = await asyncio.to_thread(seen)
    await runner.cleanup()

    assert result == ([429, "60", "Too Many Requests"] if is_listed else ["TypeError"])
