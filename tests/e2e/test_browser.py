"""A real browser behind Weir: a page, a WebSocket with compression and large frames, an event stream."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from contextlib import suppress

import pytest
from aiohttp import WSMsgType, web

from tests.support.programs import program

FRAME_BYTES = 1_000_000
# Says what it saw by a POST of its own, since a headless browser shows nothing.
PAGE = """<!doctype html><title>weir</title><script>
const report = {events: []}
const opened = performance.now()
function socket() {
  return new Promise((resolve) => {
    const ws = new WebSocket(`ws://${location.host}/socket`)
    ws.onopen = () => { report.extensions = ws.extensions; ws.send("hello"); ws.send("x".repeat(FRAME)) }
    ws.onmessage = (message) => {
      if (message.data === "bye") return
      report[message.data.length < 9 ? "short" : "long"] = message.data.length
      if (report.short && report.long) ws.send("close")
    }
    ws.onclose = (event) => { report.close = [event.code, event.reason, event.wasClean]; resolve() }
    ws.onerror = () => { report.failed = "socket" }
  })
}
function events() {
  return new Promise((resolve) => {
    const stream = new EventSource("/events")
    stream.onmessage = (event) => {
      report.events.push([event.lastEventId, event.data, performance.now() - opened])
      if (report.events.length === 5) { stream.close(); resolve() }
    }
  })
}
Promise.all([socket(), events()])
  .then(() => fetch("/report", {method: "POST", body: JSON.stringify(report)}))
</script>""".replace("FRAME", str(FRAME_BYTES))
# Nothing that calls home, nothing that needs a screen or a user.
OPTIONS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage --remote-debugging-port=0"
)


class Service:
    """The page's own service, which remembers what the browser said and how its socket ended."""

    def __init__(self):
        self.reports = asyncio.Queue()
        self.socket_ends = []

    def app(self):
        app = web.Application()
        app.router.add_get("/", self.page)
        app.router.add_get("/socket", self.socket)
        app.router.add_get("/events", self.events)
        app.router.add_post("/report", self.report)
        return app

    async def page(self, _):
        return web.Response(text=PAGE, content_type="text/html")

    async def socket(self, request):
        ws = web.WebSocketResponse(compress=True, max_msg_size=2 * FRAME_BYTES)
        await ws.prepare(request)
        async for message in ws:
            if message.type is WSMsgType.TEXT and message.data == "close":
                await ws.send_str("bye")
                await ws.close(code=4001, message=b"as asked")
            else:
                await ws.send_str(message.data)
        self.socket_ends.append(ws.close_code)
        return ws

    async def events(self, request):
        """Each is written some time after the one before."""
        stream = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await stream.prepare(request)
        for number in range(5):
            await stream.write(f"id: {number}\ndata: event {number}\n\n".encode())
            await asyncio.sleep(0.2)
        return stream

    async def report(self, request):
        self.reports.put_nowait(await request.json())
        return web.Response(status=204)


@pytest.fixture
def browse(tmp_path):
    """Opens a page in Chromium; the whole group of its processes ends with the test."""
    opened = []

    def open_page(url):
        log = (tmp_path / "chromium.log").open("wb")
        command = [program("chromium"), *OPTIONS.split(), f"--user-data-dir={tmp_path / 'profile'}", url]
        opened.append((subprocess.Popen(command, stdout=log, stderr=log, process_group=0), log))

    yield open_page
    for process, log in opened:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # the browser alone would leave its children behind
        process.wait()
        log.close()


async def test_browser_gets_a_page_a_websocket_and_an_event_stream(start_weir, aiohttp_server, browse):
    """permessage-deflate is the browser's and the service's own affair; events arrive one by one."""
    service = Service()
    server = await aiohttp_server(service.app())
    weir = start_weir(upstream=f"http://127.0.0.1:{server.port}")
    browse(weir.url)
    async with asyncio.timeout(25):
        report = await service.reports.get()
    moments = [moment for *_, moment in report["events"]]
    tunnel = await weir.access_line(status=101)

    assert report["extensions"] == "permessage-deflate"
    assert (report["short"], report["long"]) == (5, FRAME_BYTES)
    assert report["close"] == [4001, "as asked", True]
    assert service.socket_ends == [4001]
    assert [event[:2] for event in report["events"]] == [[str(n), f"event {n}"] for n in range(5)]
    assert moments[-1] - moments[0] > 400  # ms: not gathered
    assert tunnel["outcome"] == "tunnelled"
