"""The dashboard in a real browser, in front of a real service under real load."""

from __future__ import annotations

import asyncio
import json
import random
import re
import time

import pytest

from tests.support.browser import browser
from tests.support.messages import answer, get
from tests.support.origin import Origin, answering
from tests.support.patience import until
from tests.support.programs import redis_server
from tests.support.weir import Weir
from tests.support.wire import Wire

pytestmark = pytest.mark.timeout(90)

TOKEN = "let-me-in"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
HOSTILE = "</script><img src=x onerror=alert(1)>"
LONG = "a-limit-whose-name-is-as-long-as-names-may-be-and-a-little-more"[:60]


def settings(**more):
    return {
        "admin": {"token": TOKEN},
        "limits": [
            {"name": "per-user", "key": ["header:X-Auth-Token", "client-ip"], "rate": "5/s"},
            {"name": LONG, "key": ["client-ip"], "rate": "900/s", "mode": "shadow"},
        ],
        "log": {"access": "off"},
    } | more


def service(request):
    """Fails when it is asked to."""
    return answer(500, b"Traceback: at db01") if b"/boom" in request.start else answer()


# The page's own clock says when the row is there: asking for it takes a while on a busy machine.
NOTE_FIRST_ROW = """
const note = () => {
  const rows = [...document.querySelectorAll("#keys tr")];
  if (!window.firstRowAt && rows.some((row) => row.textContent.includes("over"))) window.firstRowAt = Date.now();
};
new MutationObserver(note).observe(document.body, {subtree: true, childList: true, characterData: true});
"""


class Load:
    """Clients that never end, one of whom wants too much."""

    def __init__(self, weir):
        self._weir = weir
        self._tasks = []
        self._wires = []

    def start(self):
        for name, pause in (("greedy", 0.02), ("greedy", 0.02), ("calm", 0.5), ("near", 0.21)):
            self._tasks.append(asyncio.create_task(self._client(name, pause)))

    async def _client(self, name, pause):
        wire = await Wire.open(self._weir.port)
        self._wires.append(wire)
        while True:
            await wire.send(get(f"X-Auth-Token: {name}", target=f"/api/{random.randrange(99)}"))
            await wire.response()
            await asyncio.sleep(pause)

    async def stop(self):
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for wire in self._wires:
            wire.close()


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


@pytest.fixture
async def origin():
    made = Origin(answering(service))
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
async def loaded(start_weir, origin):
    """A Weir under load."""
    weir = start_weir(settings(), upstream=origin)
    load = Load(weir)
    load.start()
    yield weir
    await load.stop()


async def opened(page, weir):
    """The page with its token typed in, showing figures."""

    def enter():
        page.shown(width=1400)
        page.open(f"http://127.0.0.1:{weir.admin_port}/")
        page.driver.implicitly_wait(5)
        page.find("#token-dialog[open] #token-value").send_keys(TOKEN)
        page.find("#token-dialog .main").click()

    await asyncio.to_thread(enter)
    await shows(page, "#state", "Serving")


async def shows(page, selector, wanted, *, within=10.0):
    """Waits until one of the texts has `wanted` in it."""

    async def look():
        return [text for text in await asyncio.to_thread(page.texts, selector) if re.search(wanted, text)]

    deadline = time.monotonic() + within
    while not (found := await look()):
        assert time.monotonic() < deadline, (
            f"{selector} never showed {wanted}: {await asyncio.to_thread(page.texts, selector)}"
        )
        await asyncio.sleep(0.05)
    return found[0]


@pytest.mark.waits("a browser lays a page out anew")
async def test_figures_move_and_nothing_is_wrong_with_the_page(chromium, loaded, connect):
    """One page in all its clothes: the console says nothing, axe-core finds nothing, no width overflows."""
    page = chromium
    await opened(page, loaded)
    await shows(page, "#tile-requests .figure", r"[1-9]")
    before = await asyncio.to_thread(page.text, "#tile-requests .note")
    await until_other(page, "#tile-requests .note", before)
    await shows(page, "#outcomes-legend span", r"refused [1-9]")
    wire = await connect(loaded)
    await wire.send(
        get("X-Auth-Token: other", f"X-Request-Id: id-{time.time_ns()}", target="/boom?a=" + "x" * 60)
    )
    await wire.response()
    await shows(page, "#troubles tr", "/boom")

    for width, dark in ((1400, False), (1400, True), (390, True), (390, False)):
        await asyncio.to_thread(page.shown, width=width, dark=dark, is_phone=width < 500)
        await asyncio.sleep(0.3)  # the layout settles
        assert await asyncio.to_thread(page.run, "return document.documentElement.scrollWidth") <= width
        assert await asyncio.to_thread(page.barriers) == [], (width, dark)
        ground = await asyncio.to_thread(page.run, "return getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) is dark
    assert await asyncio.to_thread(page.complaints) == []


async def until_other(page, selector, before):
    deadline = time.monotonic() + 10
    while await asyncio.to_thread(page.text, selector) == before:
        assert time.monotonic() < deadline, f"{selector} stands still"
        await asyncio.sleep(0.1)


async def test_refused_key_appears_within_two_seconds_and_gets_its_tokens_back(
    chromium, start_weir, origin, connect
):
    """By its hash, never by its name; what the page does is audited."""
    page = chromium
    weir = start_weir(
        settings(limits=[{"name": "few", "key": ["header:X-Auth-Token"], "rate": "2/h"}]), upstream=origin
    )
    await opened(page, weir)
    await asyncio.to_thread(page.run, NOTE_FIRST_ROW)
    wire = await connect(weir)
    for _ in range(4):
        await wire.send(get("X-Auth-Token: s3cr3t-of-ana"))
        refused = await wire.response()
    refused_at = time.time()
    row = await shows(page, "#keys tr", "over")
    shown_at = await asyncio.to_thread(page.run, "return window.firstRowAt / 1000")
    key = re.match(r"[0-9a-f]{16}", row)[0]
    assert refused.status == 429
    assert shown_at - refused_at < 2.0

    await asyncio.to_thread(page.find("#keys button").click)
    await asyncio.to_thread(page.find('#key-verbs [value="reset"]').click)
    await asyncio.to_thread(page.find("#key-do").click)
    await shows(page, "#key-answer", "reset: 1")
    await wire.send(get("X-Auth-Token: s3cr3t-of-ana"))
    admitted = await wire.response()
    audit = await weir.logged(lambda line: line["event"] == "limit_reset")

    assert admitted.status == 200
    assert audit["key"].startswith(key)
    source = await asyncio.to_thread(lambda: page.driver.page_source)
    assert "s3cr3t-of-ana" not in source
    assert TOKEN not in source


@pytest.mark.waits("a token comes back")
async def test_client_is_blocked_and_released_from_the_page(chromium, start_weir, origin, connect):
    """A block says how long it lasts, to the operator and to the client; a release ends it at once."""
    page = chromium
    weir = start_weir(
        settings(limits=[{"name": "few", "key": ["header:X-Auth-Token"], "rate": "2/s"}]), upstream=origin
    )
    await opened(page, weir)
    wire = await connect(weir)

    async def asked():
        await wire.send(get("X-Auth-Token: ana"))
        return await wire.response()

    async def does(verb, told):
        await asyncio.to_thread(page.find(f'#key-verbs [value="{verb}"]').click)
        await asyncio.to_thread(page.find("#key-do").click)
        await shows(page, "#key-answer", told)

    while (await asked()).status != 429:
        pass
    await shows(page, "#keys tr", "over")
    await asyncio.to_thread(page.find("#keys button").click)
    await does("block", "until: ")
    blocked = await asked()
    await does("release", "released: 1")
    await until(lambda: weir.log_text().count("limit_release") == 1, "the audit")
    await asyncio.sleep(1.0)  # a token comes back
    admitted = await asked()

    assert blocked.status == 429
    assert 3500 < int(blocked.value("Retry-After")) <= 3600
    assert admitted.status == 200


async def test_request_is_found_by_its_id_and_names_are_only_text(chromium, loaded, connect):
    page = chromium
    await opened(page, loaded)
    wire = await connect(loaded)
    for number in range(3):
        request_id = f"find-{number}-{time.time_ns()}"
        target = "/boom/" + HOSTILE.replace(" ", "+")
        await wire.send(get(f"X-Auth-Token: t{number}", f"X-Request-Id: {request_id}", target=target))
        await wire.response()
    await asyncio.to_thread(page.find("#find").send_keys, request_id)
    row = await shows(page, "#troubles tr", request_id)
    rows = await asyncio.to_thread(page.texts, "#troubles tr")

    assert len(rows) == 1
    assert "redacted" in row
    assert "the service said 500" in row
    assert "onerror" in row  # as text
    assert (
        await asyncio.to_thread(page.run, "return document.querySelectorAll('main img, main script').length")
        == 0
    )


async def test_all_of_it_can_be_reached_by_keyboard(chromium, loaded):
    """Tab goes through every control once; Escape leaves a dialog."""
    page = chromium
    await opened(page, loaded)
    await shows(page, "#keys tr", "over")
    reached = await asyncio.to_thread(
        page.run,
        "return [...document.querySelectorAll('a[href], button, input, select, [tabindex=\"0\"]')]"
        ".filter((each) => each.offsetParent && !each.closest('dialog') && each.tabIndex < 0).length",
    )
    await asyncio.to_thread(page.find("#by-credential").send_keys, "\ue007")  # Enter
    inside = await asyncio.to_thread(page.run, "return document.activeElement.closest('dialog')?.id")
    await asyncio.to_thread(page.driver.switch_to.active_element.send_keys, "\ue00c")  # Escape
    outside = await asyncio.to_thread(page.run, "return document.activeElement.id")

    assert reached == 0
    assert inside == "key-dialog"
    assert outside == "by-credential"


ENTER, ESCAPE, TAB = "\ue007", "\ue00c", "\ue004"


def typed(page, *keys):
    """To whatever has the focus, as a keyboard does."""
    for each in keys:
        page.driver.switch_to.active_element.send_keys(each)


async def test_enter_does_what_the_dialog_is_for(chromium, start_weir, origin):
    """Never Cancel; Escape changes nothing, and no credential stays in the page."""
    page = chromium
    few = {"name": "few", "key": ["header:X-Auth-Token", "header:X-A+header:X-B"], "rate": "2/h"}
    weir = start_weir(settings(limits=[few]), upstream=origin)
    await asyncio.to_thread(page.open, f"http://127.0.0.1:{weir.admin_port}/")
    page.driver.implicitly_wait(5)
    await asyncio.to_thread(page.find, "#token-dialog[open]")
    await asyncio.to_thread(typed, page, TOKEN, ENTER)
    await shows(page, "#state", "Serving")
    await asyncio.to_thread(page.find("#token").send_keys, ENTER)
    await asyncio.to_thread(typed, page, "another", ESCAPE)
    await asyncio.to_thread(page.find("#by-credential").send_keys, ENTER)
    await asyncio.to_thread(page.find("#key-value-0").send_keys, "ana", ENTER)
    known = await shows(page, "#key-answer", "tokens: 2")  # the token is still the right one
    await asyncio.to_thread(typed, page, ESCAPE)
    typed_in = "return [...document.querySelectorAll('dialog input[type=password]')].map((each) => each.value).join('')"
    await until(lambda: page.run(typed_in) == "", "the credential is gone")
    await asyncio.to_thread(page.find("#by-credential").send_keys, ENTER)
    await asyncio.to_thread(page.find("#key-entry").send_keys, "header:X-A")
    for number, value in enumerate(("one", "two")):
        await asyncio.to_thread(page.find(f"#key-value-{number}").send_keys, value)
    await asyncio.to_thread(typed, page, ENTER)
    joined = await shows(page, "#key-answer", "tokens: 2")
    closed = await asyncio.to_thread(page.find, "#key-dialog .closes")
    await asyncio.to_thread(closed.click)
    is_open = await asyncio.to_thread(page.run, "return document.getElementById('key-dialog').open")

    assert "limit: few" in known
    assert "limit: few" in joined
    assert is_open is False


async def test_several_workers_are_one_page_and_a_store_that_is_down_is_said(
    chromium, new_weir, origin, tmp_path
):
    page = chromium
    with redis_server(tmp_path) as redis:
        weir = new_weir(settings(workers=2, store={"url": redis.url}), upstream=origin)
        weir.start()
        load = Load(weir)
        load.start()
        await opened(page, weir)
        facts = await shows(page, "#itself", "2 of 2 ready")
        await shows(page, "#keys tr", "over")
        redis.stop()
        alarm = await shows(page, "#alarms", "Store down")
        await load.stop()
        weir.stop()

    assert "Workers" in facts
    assert "store.url" in alarm


async def test_token_is_changed_by_a_reload(start_weir, origin):
    """Of a running Weir; what is open with the old one ends."""
    weir = start_weir(settings(), upstream=origin)
    reader, writer = await asyncio.open_connection("127.0.0.1", weir.admin_port)
    writer.write(f"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    await reader.readuntil(b"event: tick")
    weir.write_config({"admin": {"token": "another"}})
    await until(lambda: weir.admin("/status", headers={"Authorization": "Bearer another"}).status == 200)
    old = weir.admin("/status", headers=BEARER)
    rest = await asyncio.wait_for(reader.readuntil(b"0\r\n\r\n"), 10)
    writer.close()
    await writer.wait_closed()

    assert old.status == 401
    assert rest.endswith(b"0\r\n\r\n")


async def test_status_has_the_busy_keys_of_all_workers(new_weir, origin, redis):
    weir: Weir = new_weir(settings(workers=2, store={"url": redis.url}), upstream=origin)
    weir.start()
    load = Load(weir)
    load.start()

    def over():
        told = json.loads(weir.admin("/status", headers=BEARER).body)
        return [seen for seen in told["top_keys"] if seen["limit"] == "per-user" and seen["state"] == "over"]

    (seen, *_) = await until(over, "the greedy one is seen")
    await load.stop()

    assert len(seen["keys"]) == 1
    assert re.fullmatch("[0-9a-f]{32}", seen["keys"][0]["key"])
