"""Weir with a real Redis: the settings of the store, seen by clients and operators."""

from __future__ import annotations

import pytest

from tests.e2e.test_reload import reloaded, replaced
from tests.support.messages import get
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.redis_servers import Redis, running

PER_USER = {"name": "per-user", "key": ["header:X-Auth-Token"], "rate": "1/h", "burst": 2}
ADA = "X-Auth-Token: ada-4711"


def settings(url, **store):
    return {"store": {"url": url, "timeout": "1s", **store}, "limits": [PER_USER]}


TOKEN = "s3cret-t0ken"


def resetting(weir, body="", path="/limits/per-user/reset", token=TOKEN):
    return weir.admin(path, "POST", {"Authorization": f"Bearer {token}"}, body=body)


async def statuses(ask, weir, *lines, count=3):
    return [(await ask(weir, get(*lines))).status for _ in range(count)]


@pytest.mark.measured
async def test_redis_that_wants_a_client_certificate(start_weir, start_origin, ask, papers, tmp_path):
    """`store.tls`: one's own authority, and a certificate to show."""
    cert, key = papers.issue("DNS:localhost")
    port = free_port()
    server = Redis(tmp_path, tls_port=port, tls_cert_file=cert, tls_key_file=key, tls_ca_cert_file=papers.ca)
    tls = {"ca": str(papers.ca), "cert": str(cert), "key": str(key)}
    with running(server):
        weir = start_weir(settings(f"rediss://localhost:{port}", tls=tls), upstream=await start_origin())
        seen = await statuses(ask, weir, ADA)
        is_up = weir.metrics().total("weir_store_up")

        assert seen == [200, 200, 429]
        assert is_up == 1
        assert server.keys()


@pytest.mark.measured
@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_file_that_cannot_be_read_ends_the_start(new_weir, papers, name, tmp_path):
    """One line, which names the setting and the path: else it would look like an outage."""
    cert, key = papers.issue("DNS:localhost")
    tls = {"ca": str(papers.ca), "cert": str(cert), "key": str(key)} | {name: str(tmp_path / "nowhere.pem")}
    weir = new_weir(settings("rediss://localhost:1", tls=tls))
    weir.launch()
    code = weir.wait()
    (line,) = weir.log_text().strip().splitlines()

    assert code != 0
    assert f"store.tls.{name}: cannot read {tmp_path}/nowhere.pem" in line


@pytest.mark.measured
def test_key_of_another_certificate_ends_the_start(new_weir, papers):
    cert, _ = papers.issue("DNS:localhost")
    _, key = papers.issue("DNS:elsewhere")
    weir = new_weir(settings("rediss://localhost:1", tls={"cert": str(cert), "key": str(key)}))
    weir.launch()

    assert weir.wait() != 0
    assert "are no certificate with its key" in weir.log_text()


async def test_denial_cache_follows_its_setting(start_weir, start_origin, ask, redis):
    """Who decided stands in the metrics; what the client is told is the same."""
    asking = settings(redis.url, denial_cache=False)
    weir = start_weir(asking, upstream=await start_origin())
    await statuses(ask, weir, ADA)

    def refused(via):
        name = "weir_limit_decisions_total"
        return weir.metrics().total(name, limit="per-user", decision="refused", via=via)

    by_redis = refused("store"), refused("denial_cache")
    await reloaded(weir, replaced(weir, settings(redis.url, denial_cache=True)))
    seen = await statuses(ask, weir, ADA)

    assert by_redis == (1, 0)
    assert seen == [429] * 3
    assert (refused("store"), refused("denial_cache")) == (2, 2)


async def test_leased_tokens_serve_a_busy_client(start_weir, start_origin, connect, redis):
    """The access log and the metrics say which requests they were; a reload begins and ends it."""
    plain = settings(redis.url) | {"limits": [PER_USER | {"burst": 1000}]}
    weir = start_weir(plain, upstream=await start_origin())
    wire = await connect(weir)

    async def leased():
        for _ in range(100):
            await wire.send(get(ADA))
            assert (await wire.response()).status == 200
        return weir.metrics().total("weir_limit_decisions_total", limit="per-user", via="lease")

    assert await leased() == 0
    await reloaded(weir, replaced(weir, {"limits": [PER_USER | {"burst": 1000, "lease": 10}]}))
    assert await leased() > 20
    await weir.logged(lambda line: line["event"] == "reloaded")
    await until(lambda: "lease" in {line["via"] for line in weir.access_lines()}, "the access log says so")


# --- resets ---


@pytest.fixture(params=["memory", "redis"])
async def guarded(request, start_weir, start_origin, redis):
    url = redis.url if request.param == "redis" else "memory"
    return start_weir(settings(url) | {"admin": {"token": TOKEN}}, upstream=await start_origin())


@pytest.mark.parametrize("whom", ["", '{"header:X-Auth-Token": "ada-4711"}', '{"key": "%s"}'])
async def test_operator_frees_a_client(guarded, ask, whom):
    """All of a limit, or one client by what it shows or by its hash. The log says that it was done, and no credential."""
    name = resetting(guarded, '{"header:X-Auth-Token": "ada-4711"}').json()["key"]
    before = await statuses(ask, guarded, ADA) + await statuses(ask, guarded, "X-Auth-Token: bob")
    reply = resetting(guarded, whom.replace("%s", name))
    ada, bob = await statuses(ask, guarded, ADA), await statuses(ask, guarded, "X-Auth-Token: bob")

    assert before == [200, 200, 429] * 2
    assert (reply.status, reply.json()) == (
        200,
        {"limit": "per-user", "key": name if whom else None, "reset": 1 if whom else 2},
    )
    assert ada == [200, 200, 429]
    assert bob == ([429] * 3 if whom else [200, 200, 429])
    resets = await until(lambda: [line for line in guarded.log() if line["event"] == "limit_reset"][1:])
    assert [line["limit"] for line in resets] == ["per-user"]
    assert "ada-4711" not in guarded.log_text()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/limits/per-usr/reset", "", 404),
        ("/limits/per-user/reset", "{", 400),
        ("/limits/per-user/reset", "[]", 400),
        ("/limits/per-user/reset", "{}", 400),
        ("/limits/per-user/reset", '{"client-ip": "127.0.0.1"}', 400),
        ("/limits/per-user/reset", '{"header:X-Auth-Token": ""}', 400),
        ("/limits/per-user/reset", '{"key": "4711"}', 400),
        ("/limits/per-user/reset", '{"key": "xyz"}', 400),
    ],
)
@pytest.mark.measured
async def test_mistake_resets_nothing(start_weir, start_origin, ask, path, body, status):
    """And the answer says how it is written."""
    weir = start_weir(settings("memory") | {"admin": {"token": TOKEN}}, upstream=await start_origin())
    await statuses(ask, weir, ADA)
    reply = resetting(weir, body, path)

    assert reply.status == status
    assert ("per-usr" if status == 404 else '{"header:X-Auth-Token": "..."}') in reply.json()["detail"]
    assert await statuses(ask, weir, ADA, count=1) == [429]


def events(weir):
    return [line["event"] for line in weir.log()]


def rewritten(folder, word):
    (folder / "password").write_text(word)


def renamed(folder, word):
    (folder / "fresh").write_text(word)
    (folder / "fresh").rename(folder / "password")


def swapped(folder, word):
    """As Kubernetes does it with a Secret: a link through `..data`, which is swapped for another folder."""
    (folder / f"..{word}").mkdir()
    (folder / f"..{word}" / "password").write_text(word)
    (folder / "..new").symlink_to(f"..{word}")
    (folder / "..new").rename(folder / "..data")
    if not (folder / "password").is_symlink():
        (folder / "password").symlink_to("..data/password")


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("put", [rewritten, renamed, swapped])
async def test_password_is_rotated_without_a_restart(new_weir, start_origin, ask, tmp_path, put, workers):
    """`file:` in `store.url`: the new one is taken when its file changes, and the bucket is the same.

    A wrong one before it changes nothing.
    """
    server = Redis(tmp_path, requirepass="first")
    with running(server):
        weir = new_weir(
            settings("redis://:${file:secrets/password}@" + server.address) | {"workers": workers},
            upstream=await start_origin(),
        )
        secrets = weir.folder / "secrets"
        secrets.mkdir()
        put(secrets, "first")
        weir.write_config()
        weir.launch()
        await weir.logged(lambda line: line["event"] == ("supervising" if workers > 1 else "serving"))
        before = await statuses(ask, weir, ADA, count=1)
        put(secrets, "guessed")
        await until(lambda: "does not accept the user name" in weir.log_text(), "it is tried, and told")
        server.ask("CONFIG", "SET", "requirepass", "second")
        server.log_in(password="second")
        put(secrets, "second")
        await until(lambda: events(weir).count("next store up") == workers, "it is there")
        await until(
            lambda: len(server.client().client_list()) == workers + 1, "the connection before is left"
        )
        server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        after = await statuses(ask, weir, ADA, count=2)
        is_up, errors = (
            weir.metrics().total("weir_store_up"),
            weir.metrics().total("weir_store_outages_total"),
        )
        told = events(weir)  # before Redis ends

    assert before + after == [200, 200, 429]
    assert (is_up, errors) == (1, 0)
    assert "next store down" in told
    assert "store down" not in told, weir.log_text()


async def test_reset_wants_the_token(start_weir, start_origin, ask):
    """Also where nothing else does, since a page in a browser could ask for it."""
    origin = await start_origin()
    guarded = start_weir(settings("memory") | {"admin": {"token": TOKEN}}, upstream=origin)
    bare = start_weir(settings("memory"), upstream=origin)

    assert resetting(guarded, token="guessed").status == 401
    assert resetting(bare).status == 403
    assert "admin.token" in resetting(bare).json()["detail"]


async def test_reset_without_redis_says_so(start_weir, redis):
    weir = start_weir(settings(redis.url) | {"admin": {"token": TOKEN}})
    redis.kill()
    own = {"Authorization": f"Bearer {TOKEN}"}
    await until(lambda: not weir.admin("/readyz", headers=own).json()["store"]["up"], "the loss is noticed")
    reply = resetting(weir)

    assert reply.status == 503
    assert "store.url" in reply.json()["detail"]


async def test_limit_that_refuses_when_redis_is_gone(start_weir, start_origin, ask):
    """`on_store_error: deny`: 503 and an error object, nothing forwarded, the cause in the access log."""
    origin = await start_origin()
    denying = settings(f"redis://127.0.0.1:{free_port()}") | {
        "limits": [PER_USER | {"on_store_error": "deny", "rate": "1/d"}]
    }
    weir = start_weir(denying, upstream=origin)
    reply = await ask(weir, get(ADA, target="/denied"))
    line = await weir.access_line(target="/denied")

    assert reply.status == reply.json()["status"] == 503
    assert reply.value("Cache-Control") == b"no-store"
    assert reply.value("Retry-After") == b"1"  # nothing is known of a limit of one a day
    assert reply.value("RateLimit") is None
    assert "violated-policies" not in reply.json()
    assert (line["fault"], line["outcome"]) == ("store_down", "refused")
    assert origin.requests == []
    metrics = weir.metrics()
    assert metrics.total("weir_store_up") == 0
    assert metrics.total("weir_requests_total", status="503", source="weir") == 1


async def test_what_is_not_known_is_not_told(start_weir, start_origin, ask):
    """`on_store_error: allow` admits without a look at the bucket; a limit beside it that counts here tells its own."""
    origin = await start_origin()
    allowing = settings(f"redis://127.0.0.1:{free_port()}") | {
        "limits": [
            PER_USER | {"on_store_error": "allow"},
            {"name": "counted", "rate": "20/m", "key": ["const"], "match": {"paths": ["/both"]}},
        ]
    }
    weir = start_weir(allowing, upstream=origin)
    alone, both = [await ask(weir, get(ADA, target=target)) for target in ("/alone", "/both")]

    assert (alone.status, both.status) == (200, 200)
    assert alone.value("RateLimit") is None
    assert alone.value("RateLimit-Policy") is None
    assert both.value("RateLimit") == b'"counted";r=19;t=3'
