"""Several servers as the one who runs Weir sees them: names that move, states in the metrics and in /status."""

from __future__ import annotations

from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.patience import until
from tests.support.ports import free_port

# A mount namespace in which files of ours lie over the system's, with no other way to find a name.
OWN_NAMES = 'mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/nsswitch" /etc/nsswitch.conf && exec "$@"'


def name(weir, *addresses):
    """Says which addresses app.example has."""
    (weir.folder / "hosts").write_text("".join(f"{address} app.example\n" for address in addresses))


def told(weir):
    return weir.admin("/status").json()["upstream"]


def events(weir, word):
    return [line for line in weir.log() if line["event"] == word]


async def bodies(ask, weir, times):
    return {(await ask(weir, get())).body for _ in range(times)}


async def test_name_that_moves_is_followed(new_weir, start_origin, ask):
    """All its addresses are used, new ones too; a lookup that fails changes nothing."""
    first = await start_origin(answering(answer(200, b"first")), host="127.0.0.2")
    await start_origin(answering(answer(200, b"second")), host="127.0.0.3", port=first.port)
    weir = new_weir({"upstream": {"servers": [f"http://app.example:{first.port}"], "resolve": "100ms"}})
    weir.inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", OWN_NAMES, str(weir.folder)]
    (weir.folder / "nsswitch").write_text("hosts: files\n")
    name(weir, "127.0.0.2")
    weir.start()

    def addresses():
        return [each["address"] for each in told(weir)]

    await until(lambda: addresses() == ["127.0.0.2"])
    assert await bodies(ask, weir, 5) == {b"first"}
    name(weir, "127.0.0.2", "127.0.0.3")
    await until(lambda: addresses() == ["127.0.0.2", "127.0.0.3"])
    assert await bodies(ask, weir, 40) == {b"first", b"second"}
    name(weir, "127.0.0.3")
    await until(lambda: addresses() == ["127.0.0.3"])
    assert await bodies(ask, weir, 10) == {b"second"}
    name(weir)
    await until(lambda: events(weir, "resolve_failed"))
    assert await bodies(ask, weir, 10) == {b"second"}
    many = [f"127.0.1.{number}" for number in range(100, 200)]
    name(weir, *reversed(many))
    await until(lambda: addresses() == many[:64], "the first of them, in an order that does not change")


async def test_states_are_told(start_weir, start_origin, ask):
    """By the metrics, /status and the log."""
    origin = await start_origin()
    dead = f"http://127.0.0.1:{free_port()}"
    weir = start_weir(
        {"upstream": {"servers": [dead, origin.url], "health": {"path": "/", "interval": "2s"}}}
    )
    assert {(await ask(weir, get())).status for _ in range(40)} == {200}

    metrics = weir.metrics()
    assert metrics.total("weir_upstream_ejections_total", server=dead) == 1
    assert metrics.total("weir_upstream_servers", server=dead, state="ejected") == 1
    assert metrics.total("weir_upstream_servers", server=origin.url, state="serving") == 1
    assert metrics.total("weir_upstream_waiting") == 0
    assert [each["state"] for each in told(weir)] == ["ejected", "serving"]
    (ejected,) = events(weir, "server_ejected")
    assert (ejected["server"], ejected["seconds"]) == (dead, 10.0)
    await until(lambda: events(weir, "server_unhealthy"), within=15)


async def test_tokens_of_what_no_server_took_go_back_to_redis(start_weir, connect, redis):
    """However many: what the service has not been asked costs nothing."""
    few = {"name": "few", "key": ["client-ip"], "rate": "2/h", "burst": 2}
    weir = start_weir({"store": {"url": redis.url}, "limits": [few]})
    wire = await connect(weir)
    seen = []
    for _ in range(5):
        await wire.send(get())
        response = await wire.response()
        seen.append((response.status, response.value("Retry-After"), b"r=2" in response.value("RateLimit")))

    assert seen == [(502, b"1", True)] * 5
