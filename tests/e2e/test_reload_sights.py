"""Settings that need no restart and take more than one answer to see: connections at rest, servers, stores, the log.

Each look is taken before a reload and after it, at the same Weir.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.test_reload import last_reload, reloaded, replaced
from tests.e2e.test_servers import OWN_NAMES, name
from tests.e2e.test_timeouts import fill_backlog
from tests.support.messages import answer, get
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.redis_servers import Redis, running, watched
from tests.support.wire import Broken

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.weir import Weir

A_WHILE = 1.5  # seconds in which what does not happen would have happened several times
SLOW = 0.3
UPGRADE = get("Connection: Upgrade", "Upgrade: chat")
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n"


@dataclass
class Place:
    """Where a look is taken."""

    weir: Weir
    connect: Callable[..., Awaitable[Any]]
    service: Service

    async def ask(self, *lines: str, target: str = "/", within: float = 10.0) -> Any:
        """On a connection of its own; None if there is no answer in time."""
        wire = await self.connect(self.weir)
        try:
            await wire.send(get(*lines, target=target))
            return await wire.response(within=within)
        except TimeoutError:
            return None
        finally:
            wire.close()

    async def statuses(self, *targets: str) -> list[int]:
        """Of requests that are sent at once."""
        answers = await asyncio.gather(*[self.ask(target=target) for target in targets])
        return sorted(each.status for each in answers)

    async def at_rest(self) -> None:
        """Until all clients have left."""
        await until(lambda: self.weir.metrics().total("weir_connections", side="downstream") == 0)

    def states(self) -> list[str]:
        return [each["state"] for each in self.weir.admin("/status").json()["upstream"]]

    def events(self, word: str) -> list[dict[str, Any]]:
        return [line for line in self.weir.log() if line["event"] == word]


class Service:
    """Slow, large or ill where it is asked to be; says its name else."""

    def __init__(self) -> None:
        self.is_well = True
        self.under_way = self.most_under_way = 0
        self.checks: list[bytes] = []  # targets of health checks

    def script(self, called: bytes) -> Callable[[Any], Awaitable[None]]:
        async def serve(visit: Any) -> None:
            while (request := await visit.request()) is not None:
                if request.value("Upgrade"):
                    await visit.send(SWITCH)
                    await visit.left(within=60)
                    return
                await self.reply(visit, request.target, called)

        return serve

    async def reply(self, visit: Any, target: bytes, called: bytes) -> None:
        if target.startswith(b"/health"):
            self.checks.append(target)
            await asyncio.sleep(SLOW if target.endswith(b"slow") else 0)
            await visit.send(answer(200 if self.is_well else 500, b""))
        elif target == b"/slow":
            self.under_way += 1
            self.most_under_way = max(self.most_under_way, self.under_way)
            await asyncio.sleep(SLOW)
            self.under_way -= 1
            await visit.send(answer(200, called))
        elif target == b"/large":
            await visit.send(answer(200, b"x" * (16 << 20)))
        else:
            await visit.send(answer(200, called))


async def comes(look: Callable[[], object]) -> bool:
    """Whether it comes true in a while."""
    try:
        await until(look, within=A_WHILE)
    except AssertionError:
        return False
    return True


async def ends(wire: Any) -> bool:
    """Whether Weir closes the connection in a while."""
    try:
        await wire.rest(within=A_WHILE)
    except TimeoutError:
        return False
    return True


# --- looks ---


async def client_at_rest_is_closed(place: Place) -> object:
    wire = await place.connect(place.weir)
    await wire.send(get())
    await wire.response()
    return await ends(wire)


async def half_closed_is_answered(place: Place) -> object:
    wire = await place.connect(place.weir)
    await wire.send(get(target="/slow"))
    wire.finish_sending()
    return (await wire.rest()).startswith(b"HTTP/1.1 200")


async def clients_that_do_not_read_are_cut(place: Place) -> object:
    for _ in range(4):
        await (await place.connect(place.weir, receive_bytes=4096)).send(get(target="/large"))
    return await comes(lambda: "crowded_out" in [line.get("fault") for line in place.weir.access_lines()])


async def silent_tunnel_ends(place: Place) -> object:
    wire = await place.connect(place.weir)
    await wire.send(UPGRADE)
    assert (await wire.response()).status == 101
    return await ends(wire)


async def second_connection(place: Place) -> object:
    """Its answer's status."""
    await place.at_rest()
    first, second = await place.connect(place.weir), await place.connect(place.weir)
    await first.send(get())
    assert (await first.response()).status == 200
    with suppress(ConnectionError):  # refused before it asks
        await second.send(get())
    found = (await second.response()).status
    first.close()
    second.close()
    return found


async def who_answers(place: Place) -> object:
    return (await place.ask()).body


async def both_get_much(place: Place) -> object:
    bodies = [(await place.ask()).body for _ in range(60)]
    return min(bodies.count(b"first"), bodies.count(b"second")) > 10


async def most_at_once(place: Place) -> object:
    place.service.most_under_way = 0
    assert await place.statuses("/slow", "/slow") == [200, 200]
    return place.service.most_under_way


async def two_at_once(place: Place) -> object:
    return await place.statuses("/slow", "/slow")


async def next_check(place: Place) -> object:
    place.service.checks.clear()
    await until(lambda: len(place.service.checks) > 2)
    return place.service.checks[-1]


async def is_checked_often(place: Place) -> object:
    place.service.checks.clear()
    return await comes(lambda: len(place.service.checks) > 4)


async def gets_unhealthy(place: Place) -> object:
    return await comes(lambda: "unhealthy" in place.states())


async def ill_server_gets_unhealthy(place: Place) -> object:
    place.service.is_well = False
    return await comes(lambda: "unhealthy" in place.states())


async def well_again(place: Place) -> object:
    """What becomes of a server that was unhealthy."""
    place.service.is_well = False
    await until(lambda: place.states()[0] == "unhealthy")
    place.service.is_well = True
    seen = "unhealthy"

    def is_another() -> bool:
        nonlocal seen
        seen = place.states()[0]
        return seen != "unhealthy"

    await comes(is_another)
    return seen


async def dead_server_is_ejected(place: Place) -> object:
    for _ in range(40):
        assert (await place.ask()).status == 200
    return "ejected" in place.states()


async def second_ejection(place: Place) -> object:
    """Its seconds; of a server that was not there before."""
    before = len(place.events("server_ejected"))
    while len(place.events("server_ejected")) < before + 2:
        await place.ask()
    return place.events("server_ejected")[before + 1]["seconds"]


async def pooled_connection_is_closed(place: Place) -> object:
    """One that has just served a request."""
    await place.ask()
    return await comes(lambda: place.weir.metrics().total("weir_connections", side="upstream") == 0)


async def unknown_keys(place: Place) -> object:
    """How many buckets are held after three hundred clients."""
    for number in range(300):
        await place.ask(f"X-Auth-Token: {number}")
    return place.weir.admin("/status").json()["store"]["keys"]["one"] > 100


async def broken_promises(place: Place) -> object:
    """The rules that one more answer breaks."""

    def counts() -> dict[str, float]:
        return {
            labels["rule"]: n for labels, n in place.weir.metrics().samples("weir_contract_violations_total")
        }

    before = counts()
    await place.ask()
    return {rule for rule, count in counts().items() if count > before.get(rule, 0)}


async def slow_request_is_told(place: Place) -> object:
    before = len(place.events("slow_request"))
    await place.ask(target="/slow")
    return await comes(lambda: len(place.events("slow_request")) > before)


# --- what changes ---


@dataclass(frozen=True)
class Sight:
    setting: str
    look: Callable[[Place], Awaitable[object]]
    changes: dict[str, Any]
    before: object
    after: object
    base: dict[str, Any] = field(default_factory=dict)
    servers: tuple[str, ...] = ("first",)  # "dead" is one that refuses, another one after the reload


def downstream(**more: object) -> dict[str, Any]:
    return {"downstream": more}


def upstream(**more: object) -> dict[str, Any]:
    return {"upstream": more}


def health(**more: object) -> dict[str, Any]:
    return upstream(
        health={"path": "/health", "interval": "50ms", "timeout": "50ms", **more}, slow_start="0s"
    )


def ejection(**more: object) -> dict[str, Any]:
    return upstream(ejection={"failures": 1, "first": "200ms", "longest": "1h", **more}, slow_start="0s")


def promised(**more: object) -> dict[str, Any]:
    return {"contract": {"rules": [{"status": 200, "headers": ["X-A"], **more}]}}


HOUR = "1h"
ONE_EACH = {"limits": [{"name": "one", "rate": "1/h", "key": ["header:X-Auth-Token"]}]}

SIGHTS = (
    Sight("downstream.timeouts.idle", client_at_rest_is_closed, downstream(timeouts={"idle": "100ms"}), False, True, downstream(timeouts={"idle": HOUR})),
    Sight("downstream.timeouts.tunnel", silent_tunnel_ends, downstream(timeouts={"tunnel": "100ms"}), False, True, downstream(timeouts={"tunnel": HOUR})),
    Sight("downstream.half_close", half_closed_is_answered, downstream(half_close="answer"), False, True, downstream(half_close="abort")),
    Sight("downstream.limits.buffers", clients_that_do_not_read_are_cut, downstream(limits={"buffers": "64KiB"}), False, True),
    Sight("downstream.limits.connections", second_connection, downstream(limits={"connections": 1}), 200, 503),
    Sight("downstream.limits.connections_per_address", second_connection, downstream(limits={"connections_per_address": 1}), 200, 503),
    Sight("upstream.servers", who_answers, upstream(servers=["second"]), b"first", b"second", servers=("first", "second")),
    Sight("upstream.servers[].weight", both_get_much, upstream(servers=[{"url": "first", "weight": 1}, {"url": "second", "weight": 1000}]), True, False, upstream(servers=[{"url": "first", "weight": 1}, {"url": "second", "weight": 1}]), servers=("first", "second")),
    Sight("upstream.timeouts.idle", pooled_connection_is_closed, upstream(timeouts={"idle": "100ms"}), False, True, upstream(timeouts={"idle": "50s"})),
    Sight("upstream.limits.connections", most_at_once, upstream(limits={"connections": 1}), 2, 1),
    Sight("upstream.limits.queue", two_at_once, upstream(limits={"queue": 0}), [200, 200], [200, 503], upstream(limits={"connections": 1})),
    Sight("upstream.limits.wait", two_at_once, upstream(limits={"wait": "50ms"}), [200, 200], [200, 503], upstream(limits={"connections": 1, "wait": HOUR})),
    Sight("upstream.health.path", next_check, health(path="/health/other"), b"/health", b"/health/other", health()),
    Sight("upstream.health.interval", is_checked_often, health(), False, True, health(interval=HOUR)),
    Sight("upstream.health.timeout", gets_unhealthy, health(path="/health/slow", interval="1s", fall=1), False, True, health(path="/health/slow", interval="1s", timeout="1s", fall=1)),
    Sight("upstream.health.fall", ill_server_gets_unhealthy, health(fall=1), False, True, health(fall=1000)),
    Sight("upstream.health.rise", well_again, health(fall=1, rise=1), "unhealthy", "serving", health(fall=1, rise=1000)),
    Sight("upstream.slow_start", well_again, upstream(slow_start=HOUR), "serving", "returning", health(fall=1, rise=1)),
    Sight("upstream.ejection.failures", dead_server_is_ejected, ejection(first=HOUR), False, True, ejection(failures=None), servers=("dead", "first")),
    Sight("upstream.ejection.first", second_ejection, ejection(first="100ms"), 0.4, 0.2, ejection(), servers=("dead", "first")),
    Sight("upstream.ejection.longest", second_ejection, ejection(longest="200ms"), 0.4, 0.2, ejection(), servers=("dead", "first")),
    Sight("store.max_keys", unknown_keys, {"store": {"max_keys": 100}}, True, False, ONE_EACH),
    Sight("contract.rules[].status", broken_promises, promised(status=201), {"missing_a"}, set(), promised()),
    Sight("contract.rules[].headers", broken_promises, promised(headers=["X-B"]), {"missing_a"}, {"missing_b"}, promised()),
    Sight("contract.rules[].media_types", broken_promises, promised(media_types=["text/*"]), {"missing_a"}, {"missing_a", "media_type"}, promised()),
    Sight("contract.rules[].body", broken_promises, promised(body="none"), {"missing_a"}, {"missing_a", "unexpected_body"}, promised(body="required")),
    Sight("log.level", slow_request_is_told, {"log": {"level": "error"}}, True, False, {"log": {"slow": "100ms"}}),
)  # fmt: skip


def written(changes: dict[str, Any], urls: dict[str, str]) -> dict[str, Any]:
    """With the servers' addresses in place of their names."""
    servers = changes.get("upstream", {}).get("servers")
    if servers is None:
        return changes
    found = [urls[s] if isinstance(s, str) else s | {"url": urls[s["url"]]} for s in servers]
    return changes | {"upstream": changes["upstream"] | {"servers": found}}


def afresh(sight: Sight, urls: dict[str, str]) -> dict[str, Any]:
    """The changes; a server that was ejected gives way to one that was not."""
    if "dead" not in sight.servers:
        return written(sight.changes, urls)
    again = urls | {"dead": f"http://127.0.0.1:{free_port()}"}
    return written(upstream(**sight.changes["upstream"], servers=list(sight.servers)), again)


@pytest.mark.measured
@pytest.mark.parametrize("sight", SIGHTS, ids=lambda sight: sight.setting)
async def test_reload_is_seen(sight, start_weir, start_origin, connect):
    service = Service()
    urls = {"dead": f"http://127.0.0.1:{free_port()}"}
    for called in sight.servers:
        if called != "dead":
            urls[called] = (await start_origin(service.script(called.encode()))).url
    base = sight.base
    if "servers" not in base.get("upstream", {}):
        first = list(sight.servers) if "dead" in sight.servers else ["first"]
        base = base | {"upstream": base.get("upstream", {}) | {"servers": first}}
    weir = start_weir(written(base, urls))
    place = Place(weir, connect, service)
    before = await sight.look(place)
    await reloaded(weir, replaced(weir, afresh(sight, urls)))
    assert last_reload(weir)[0] == 1, weir.log_text()
    after = await sight.look(place)

    assert (before, after) == (sight.before, sight.after)


# --- those that need surroundings of their own ---


async def test_connect_timeout_is_seen(start_weir, connect):
    """`upstream.timeouts.connect`, towards a server that neither accepts nor refuses."""
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        weir = start_weir(upstream(timeouts={"connect": HOUR}), upstream=url)
        callers = [fill_backlog(deaf) for _ in range(4)]
        place = Place(weir, connect, Service())
        before = await place.ask(within=A_WHILE)
        await reloaded(weir, replaced(weir, upstream(timeouts={"connect": "100ms"})))
        after = await place.ask()
        for caller in callers:
            caller.close()

    assert before is None
    assert after.status == 504


async def test_new_lookups_are_seen(new_weir, start_origin):
    """`upstream.resolve`: a name that moves is followed by and by."""
    origin = await start_origin(host="127.0.0.2")
    weir = new_weir(upstream(servers=[f"http://app.example:{origin.port}"], resolve=HOUR))
    weir.inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", OWN_NAMES, str(weir.folder)]
    (weir.folder / "nsswitch").write_text("hosts: files\n")
    name(weir, "127.0.0.2")
    weir.start()

    def is_at(address):
        return [each["address"] for each in weir.admin("/status").json()["upstream"]] == [address]

    await until(lambda: is_at("127.0.0.2"))
    name(weir, "127.0.0.3")
    before = await comes(lambda: is_at("127.0.0.3"))
    await reloaded(weir, replaced(weir, upstream(resolve="100ms")))
    await until(lambda: is_at("127.0.0.3"))
    name(weir, "127.0.0.4")

    assert not before
    assert await comes(lambda: is_at("127.0.0.4"))


PER_TOKEN = {"name": "one", "rate": "1/h", "key": ["header:X-Auth-Token"]}


async def test_store_timeout_is_seen(start_weir, start_origin, connect, redis):
    """`store.timeout`: for so long an answer of Redis is waited for."""
    weir = start_weir(
        {"store": {"url": redis.url, "timeout": "100s"}, "limits": [PER_TOKEN]}, upstream=await start_origin()
    )
    place = Place(weir, connect, Service())

    async def answered_while_frozen(token):
        await until(lambda: weir.metrics().total("weir_store_up") == 1)
        redis.freeze()
        try:
            return await place.ask(f"X-Auth-Token: {token}", within=A_WHILE) is not None
        finally:
            redis.thaw()

    before = await answered_while_frozen("a")
    await reloaded(weir, replaced(weir, {"store": {"timeout": "50ms"}}))
    after = await answered_while_frozen("b")

    assert (before, after) == (False, True)


@pytest.mark.parametrize("which", ["ca", "cert"])
async def test_store_certificates_are_seen(start_weir, start_origin, papers, strangers, tmp_path, which):
    """`store.tls`: Redis is believed by one authority, believes in another, and may be given others."""
    cert, key = papers.issue("DNS:localhost")
    port = free_port()
    server = Redis(tmp_path, tls_port=port, tls_cert_file=cert, tls_key_file=key, tls_ca_cert_file=papers.ca)
    good = {"ca": str(papers.ca), "cert": str(cert), "key": str(key)}
    theirs = strangers.issue("DNS:localhost")
    bad = {"ca": {"ca": str(strangers.ca)}, "cert": {"cert": str(theirs[0]), "key": str(theirs[1])}}[which]
    with running(server):
        store = {"url": f"rediss://localhost:{port}", "tls": good | bad}
        weir = start_weir({"store": store, "limits": [PER_TOKEN]}, upstream=await start_origin())

        def is_up():
            return weir.metrics().total("weir_store_up") == 1

        before = is_up()
        await reloaded(weir, replaced(weir, {"store": {"tls": good}}))
        after = await comes(is_up)

    assert (before, after) == (False, True)


@pytest.mark.parametrize("which", ["username", "password"])
async def test_word_to_a_sentinel_is_seen(start_weir, start_origin, tmp_path, which):
    """`store.sentinel`: who Weir is to the sentinels."""
    good = {"username": "watcher", "password": "watch-and-ward"}
    with watched(tmp_path, None, {"requirepass": "another"}) as (_, _, sentinel):
        sentinel.ask(
            "ACL", "SETUSER", "watcher", "on", ">watch-and-ward", "allkeys", "allchannels", "allcommands"
        )
        store = {
            "url": f"redis+sentinel://{sentinel.address}/mymaster",
            "sentinel": good | {which: "guessed"},
        }
        weir = start_weir({"store": store, "limits": [PER_TOKEN]}, upstream=await start_origin())

        def is_up():
            return weir.metrics().total("weir_store_up") == 1

        before = is_up()
        await reloaded(weir, replaced(weir, {"store": {"sentinel": good}}))
        after = await comes(is_up)

    assert (before, after) == (False, True)


async def test_drain_is_seen(start_weir, start_origin, connect):
    """`drain.delay` and `drain.timeout`: with those of the start it would last for an hour."""
    weir = start_weir(
        {"drain": {"delay": HOUR, "timeout": HOUR}}, upstream=await start_origin(Service().script(b""))
    )
    wire = await connect(weir)
    await wire.send(UPGRADE)
    await wire.response()
    await reloaded(weir, replaced(weir, {"drain": {"delay": "0s", "timeout": "200ms"}}))
    begun = time.monotonic()
    weir.signal(signal.SIGTERM)

    assert await asyncio.to_thread(weir.wait) == 0
    assert time.monotonic() - begun < 20
    with suppress(Broken):
        await wire.rest()
