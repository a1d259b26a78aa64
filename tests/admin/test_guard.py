"""Who is a stranger: without the token, from another site, by another name."""

from __future__ import annotations

import socket

import pytest

from proxy.admin.app import admin_app
from proxy.admin.guard import host_name, is_unregistrable
from proxy.config.sections.front import AdminSettings
from tests.admin.test_app import TOKEN, Now

BEARER = {"Authorization": f"Bearer {TOKEN}"}
OTHER_SITES = [
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
]


@pytest.fixture
def now():
    return Now()


@pytest.fixture
async def client(aiohttp_client, now):
    return await aiohttp_client(admin_app(now.sources()))


@pytest.fixture
async def guarded(aiohttp_client, now):
    return await aiohttp_client(admin_app(now.sources(TOKEN)))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:9901", "[::1]:9901", "localhost", "LOCALHOST:9901", "10.1.2.3", "weir", "weir:9901"]
    + [
        "weir.default.svc",
        "weir.default.svc.cluster.local:9901",
        "a.internal",
        "printer.local",
        "app.localhost.",
    ]
    + [socket.gethostname()],
)
async def test_names_that_no_stranger_can_register_are_ours(client, host):
    response = await client.get("/status", headers={"Host": host})

    assert response.status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example.com",
        "evil.example.com:9901",
        "127.0.0.1.nip.io",
        "2130706433",
        "a.localhost.evil.org",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/status", "/metrics", "/events", "/", "/unknown"])
async def test_other_names_are_sent_away(client, host, path):
    """A page whose own name leads here sees nothing: DNS rebinding."""
    response = await client.get(path, headers={"Host": host})

    assert response.status == 421
    assert "admin.hosts" in (await response.json())["detail"]


async def test_token_does_not_make_a_name_ours(guarded):
    response = await guarded.get("/status", headers={"Host": "evil.example.com"} | BEARER)

    assert response.status == 421


async def test_names_of_the_config_are_ours_also_after_a_reload(client, now):
    before = await client.get("/status", headers={"Host": "weir.example.com"})
    now.settings = AdminSettings(hosts=["weir.example.com"])
    after = await client.get("/status", headers={"Host": "Weir.Example.com:443"})

    assert (before.status, after.status) == (421, 200)


@pytest.mark.parametrize("told", ["weir.example.com", "Weir.Example.COM", "weir.example.com."])
@pytest.mark.parametrize("asked", ["weir.example.com", "WEIR.example.com:9901", "weir.example.com.:9901"])
async def test_name_is_the_same_however_it_is_written(client, now, told, asked):
    """In any case, with the root's dot or without it, on both sides."""
    now.settings = AdminSettings(hosts=[told])
    response = await client.get("/status", headers={"Host": asked})

    assert response.status == 200


async def test_probe_by_a_strange_name_says_yes_or_no_and_nothing_else(client):
    """Balancers ask by any name, and so may a page of anybody."""
    ready = await client.get("/readyz", headers={"Host": "evil.example.com"})
    healthy = await client.get("/healthz", headers={"Host": "evil.example.com"})

    assert await ready.json() == {"ready": True}
    assert await healthy.text() == "ok"


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer wrong"}])
async def test_probe_without_the_token_says_ready_and_nothing_else(guarded, headers):
    """Not the store's host, nor its user, nor how many keys there are."""
    response = await guarded.get("/readyz", headers=headers)

    assert (response.status, await response.json()) == (200, {"ready": True})


async def test_probe_with_the_token_says_why(guarded):
    response = await guarded.get("/readyz", headers=BEARER)

    assert await response.json() == {"ready": True, "draining": False, "store": {"up": True}}


@pytest.mark.parametrize("headers", OTHER_SITES)
@pytest.mark.parametrize("path", ["/status", "/metrics", "/events"])
async def test_page_of_another_site_gets_nothing(guarded, path, headers):
    response = await guarded.get(path, headers=BEARER | headers)

    assert response.status == 403


@pytest.mark.parametrize("headers", OTHER_SITES)
async def test_page_of_another_site_changes_nothing(guarded, headers):
    response = await guarded.post("/limits/per-user/reset", headers=BEARER | headers)

    assert response.status == 403


async def test_own_page_may_ask(guarded):
    own = str(guarded.make_url("/")).rstrip("/")
    same = await guarded.get("/status", headers=BEARER | {"Origin": own, "Sec-Fetch-Site": "same-origin"})
    typed = await guarded.get("/", headers={"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"})
    followed = await guarded.get("/", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"})
    embedded = await guarded.get(
        "/assets/weir.js", headers={"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
    )

    assert (same.status, typed.status, followed.status, embedded.status) == (200, 200, 200, 403)


async def test_token_is_changed_by_a_reload(guarded, now):
    """The old one opens nothing from then on."""
    now.settings = AdminSettings(token="another")
    old = await guarded.get("/status", headers=BEARER)
    new = await guarded.get("/status", headers={"Authorization": "Bearer another"})

    assert (old.status, new.status) == (401, 200)


@pytest.mark.parametrize(
    ("host", "name"),
    [("a:1", "a"), ("A.b", "a.b"), ("[::1]:1", "::1"), ("[::1]", "::1"), ("", ""), (":1", "")],
)
def test_name_of_a_host_field(host, name):
    assert host_name(host) == name


@pytest.mark.parametrize(
    "name", ["", ".", "1", "0x7f.1.evil.com", "svc.evil.com", "localhost.com", "internal.io"]
)
def test_what_a_stranger_can_register(name):
    assert not is_unregistrable(name)
