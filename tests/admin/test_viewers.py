"""/events over real sockets: worked out once for all, nothing for nobody, and no room for who does not read."""

from __future__ import annotations

import asyncio
import json
import socket

import pytest

from proxy.admin import viewers as module
from proxy.admin.app import admin_app
from proxy.config.sections.front import AdminSettings
from proxy.config.sections.limits import LimitSettings
from proxy.telemetry.sights import Sights
from tests.admin.test_app import TOKEN, Now
from tests.support.patience import until
from tests.telemetry.exchanges import exchange

BEARER = {"Authorization": f"Bearer {TOKEN}"}


class Watched(Now):
    """Counts how often its figures are asked for."""

    def __init__(self):
        super().__init__()
        self.looks = []
        self.more = {}
        self.limits = []

    def sources(self, token=TOKEN):
        async def look(since):
            self.looks.append(since)
            return Sights(asyncio.get_running_loop().time(), [], self.metrics.recent.since(since))

        made = super().sources(token)
        object.__setattr__(made, "look", look)
        object.__setattr__(made, "status", lambda: self.status | self.more)
        object.__setattr__(made, "limits", lambda: self.limits)
        return made


@pytest.fixture
def now(monkeypatch):
    monkeypatch.setattr(module, "TICK_SECONDS", 0.05)
    return Watched()


@pytest.fixture
async def client(aiohttp_client, now):
    return await aiohttp_client(admin_app(now.sources()))


async def messages(response, count):
    """The first messages by their names."""
    found = []
    while len(found) < count:
        text = (await response.content.readuntil(b"\n\n")).decode()
        name, data = text.removeprefix("event: ").split("\ndata: ")
        found.append((name, json.loads(data)))
    return found


async def test_says_hello_and_then_ticks(client, now):
    response = await client.get("/events", headers=BEARER)
    now.metrics.record(exchange())
    (first, hello), (second, tick), (third, _) = await messages(response, 3)
    response.close()

    assert response.content_type == "text/event-stream"
    assert response.headers["Cache-Control"] == "no-store"
    assert (first, second, third) == ("hello", "tick", "tick")
    assert hello["verbs"] == []
    assert tick["status"] == now.status


async def test_needs_the_token(client):
    response = await client.get("/events")

    assert response.status == 401


async def test_nobody_looks_and_nothing_is_worked_out(client, now):
    """It ends with the last viewer and begins anew with the next."""
    response = await client.get("/events", headers=BEARER)
    await messages(response, 3)
    response.close()
    await ended(now)
    looks = len(now.looks)
    await asyncio.sleep(4 * module.TICK_SECONDS)
    assert len(now.looks) == looks

    again = await client.get("/events", headers=BEARER)
    await messages(again, 3)
    again.close()
    assert now.looks[looks] == module.ALL


async def ended(now):
    """No more looks come."""
    seen = -1
    while seen != len(now.looks):
        seen = len(now.looks)
        await asyncio.sleep(4 * module.TICK_SECONDS)


async def test_fifty_viewers_cost_one_look_a_tick(client, now):
    responses = [await client.get("/events", headers=BEARER) for _ in range(50)]
    before = len(now.looks)
    shown = await asyncio.gather(*(messages(response, 6) for response in responses))
    looks = len(now.looks) - before
    for response in responses:
        response.close()

    ticks = {tick["point"][0] for found in shown for name, tick in found if name == "tick"}
    assert looks <= len(ticks) + 2
    assert len(shown) == 50


async def test_who_comes_later_has_the_history(client):
    first = await client.get("/events", headers=BEARER)
    await messages(first, 5)
    second = await client.get("/events", headers=BEARER)
    (_, hello), (name, _) = await messages(second, 2)
    first.close()
    second.close()

    assert len(hello["history"]) >= 3
    assert name == "tick"


async def test_viewer_that_does_not_read_is_dropped(aiohttp_client, now, dial, monkeypatch):
    """Its room is a few ticks; the others go on."""
    monkeypatch.setattr(module, "BEHIND_MAX", 2)
    now.more = {"padding": "x" * 300_000}
    client = await aiohttp_client(admin_app(now.sources()))
    good = await client.get("/events", headers=BEARER, read_bufsize=2**24)
    _, writer = await dial(client.server.port)
    deaf = writer.transport
    deaf.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    deaf.pause_reading()
    writer.write(f"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    open_before = len(client.server.runner.server.connections)
    names = [name for name, _ in await messages(good, 3)]
    await until(lambda: len(client.server.runner.server.connections) < max(open_before, 2), "it is dropped")
    names += [name for name, _ in await messages(good, 3)]
    good.close()

    assert names == ["hello", *["tick"] * 5]


async def test_token_that_changes_ends_the_show(client, now):
    response = await client.get("/events", headers=BEARER)
    await messages(response, 2)
    now.settings = AdminSettings(token="another")
    rest = await asyncio.wait_for(response.content.read(), 5)

    assert b"event: tick" not in rest[-20:]
    assert response.content.at_eof()


async def test_limits_of_a_reload_are_told_before_the_next_tick(client, now):
    """To who looks already: a tick names limits that only a hello describes."""
    response = await client.get("/events", headers=BEARER)
    await messages(response, 2)
    now.limits = [LimitSettings(name="per-user", rate="15/s")]
    found = await messages(response, 1)
    while found[-1][0] != "hello":
        found = await messages(response, 1)
    (after, _), (last, _) = await messages(response, 2)
    response.close()

    assert [each["name"] for each in found[-1][1]["limits"]] == ["per-user"]
    assert (after, last) == ("tick", "tick")


async def test_tick_that_fails_is_logged_and_the_next_one_comes(client, now, caplog):
    response = await client.get("/events", headers=BEARER)
    await messages(response, 2)
    good, now.status = now.status, None
    await until(lambda: any(record.getMessage() == "admin_failed" for record in caplog.records))
    now.status = good
    found = await messages(response, 2)
    response.close()

    assert {name for name, _ in found} == {"tick"}


async def test_names_from_the_config_cannot_break_a_message(client, now):
    """A line break is escaped in JSON: no message can be forged by a name."""
    now.status = {"file": "a\n\nevent: tick\ndata: {}\n\n"}
    response = await client.get("/events", headers=BEARER)
    (_, _), (_, tick) = await messages(response, 2)
    response.close()

    assert tick["status"]["file"] == "a\n\nevent: tick\ndata: {}\n\n"


async def test_old_clients_get_it_without_chunks(client, dial):
    reader, writer = await dial(client.server.port)
    writer.write(f"GET /events HTTP/1.0\r\nHost: a\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    hello = await reader.readuntil(b"\n\n")
    tick = await reader.readuntil(b"\n\n")

    assert b"chunked" not in head
    assert hello.startswith(b"event: hello\n")
    assert tick.startswith(b"event: tick\n")
