"""Getting to Redis: by every kind of URL; and what is said when it does not work."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import re
import socket
import ssl
import subprocess
import sys
import threading
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

import pytest
from redis.exceptions import ConnectionError, RedisError  # noqa: A004 - redis-py's

from proxy.config.addresses import parse_store
from proxy.limiter.dialler import STEP_TIMEOUT, Dialler, TlsFiles, _BoundedStream
from proxy.limiter.overrides import Override
from proxy.policy.slots import slots_of
from proxy.reach import reach
from tests.limiter.asking import ask, bucket, charge, limits_of, store_at
from tests.support.papers import Papers
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.redis_servers import Redis, cluster, running
from tests.support.weir import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.real

PASSWORD = "open-sesame-4711"
_SAID = re.search(r"ACL SETUSER weir on >password (.*)", (ROOT / "docs/limits.md").read_text())
assert _SAID is not None
RIGHTS = _SAID[1]  # of a user of Redis, all that it needs
LIMITS = limits_of({"name": "per-user", "rate": "15/s"})
(LIMIT,) = LIMITS


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, papers: Papers) -> Iterator[Guarded]:
    """Redis with TLS beside plain TCP, a Unix socket, a user with the rights it needs and one without."""
    folder = tmp_path_factory.mktemp("guarded")
    cert, key = papers.issue("IP:127.0.0.1")
    server = Guarded(
        folder,
        tls_port=free_port(),
        tls_cert_file=cert,
        tls_key_file=key,
        tls_ca_cert_file=papers.ca,
        tls_auth_clients="no",
        requirepass=PASSWORD,
        unixsocket=folder / "redis.sock",
        user=[
            f"weir on >{PASSWORD} {RIGHTS}",
            f"reader on >{PASSWORD} ~weir:* +get +time +eval",
            *(f"no-{word} on >{PASSWORD} {RIGHTS} -{word}" for word in ("evalsha", "get", "set", "del")),
        ],
    ).log_in(password=PASSWORD)
    with running(server):
        yield server


class Guarded(Redis):
    def secure(self, user: str = "weir", password: str = PASSWORD, host: str = "127.0.0.1") -> str:
        return f"rediss://{user}:{password}@{host}:{self._options['tls_port']}"

    def plain(self, user: str = "weir", password: str = PASSWORD) -> str:
        return f"redis://{user}:{password}@127.0.0.1:{self.port}"

    @property
    def socket(self) -> str:
        return f"redis+unix://weir:{PASSWORD}@{self._options['unixsocket']}"


async def is_exact(url: str, **options: object) -> bool:
    async with store_at(url, LIMITS, **options) as store:
        decision = await ask(store, charge(LIMIT, url))
        return store.is_up and decision.is_admitted and decision.via == "store"


async def test_tls_with_a_user_of_few_rights(guarded: Guarded, papers: Papers) -> None:
    """These rights are enough, and a certificate of one's own authority is accepted."""
    assert await is_exact(guarded.secure(), tls=TlsFiles(ca=str(papers.ca)))


def test_rights_of_the_docs_are_those_that_the_scripts_need() -> None:
    """Redis refuses a script at the first command that its user may not call, however seldom that comes."""
    scripts = [path.read_text() for path in (ROOT / "proxy/limiter").glob("*.lua")]
    called = {f"+{name.lower()}" for text in scripts for name in re.findall(r"call\('([A-Z]+)'", text)}

    assert called - set(RIGHTS.split()) == set()
    assert len(called) > 5


async def test_user_of_few_rights_may_do_what_only_some_limits_need(guarded: Guarded) -> None:
    """Slots, credentials that are proven, buckets that are emptied; and what an operator does to a key."""
    ways = {"unproven": {"rate": "9/h"}, "on_upstream_429": "drain"}
    settings = {"name": "new", "rate": "5/h", "key": ["header:X-Auth-Token", "client-ip"]}
    limits = limits_of(settings | ways, {"name": "at-once", "concurrency": 2})
    new, at_once = limits
    key, place = bucket("ada"), ("new", bucket("bob"))
    async with store_at(guarded.plain(), limits) as store:
        decision = await ask(store, charge(new), charge(at_once))
        store.vacate(slots_of(decision))
        store.give_back([charge(new)])
        store.empty([(charge(new), new.terms.burst_units)])
        store.proven.add(key)
        await store.keys.put_override(place, Override(0), 60)
        debt, under_way = await store.keys.debt(new.terms, key), await store.keys.under_way(at_once, key)
        done = await store.keys.release(place), await store.keys.reset(new, key)
        store._dispatcher.links[0].beat_now()
        await until(lambda: not store.proven.news(), "others have been told")

        assert decision.is_admitted
        assert 0.99 < debt / new.terms.burst_units <= 1
        assert under_way == 0
        assert done == (True, 1)
        assert store.is_up
        assert store.figures.errors == {}


async def test_password_without_tls(guarded: Guarded) -> None:
    assert await is_exact(guarded.plain())


async def test_unix_socket(guarded: Guarded) -> None:
    assert await is_exact(guarded.socket)


async def test_database_of_the_url_is_used(redis: Redis) -> None:
    assert await is_exact(f"{redis.url}/3")
    assert [key for key in redis.client(db=3).keys() if b":per-user:" in key]


MISTAKES = {
    "nobody listens": (lambda g: "redis://127.0.0.1:1", "store.url: no connection to 127.0.0.1:1"),
    "no such host": (
        lambda g: "redis://no-such-host.invalid:6379",
        "store.url: no connection to no-such-host.invalid",
    ),
    "wrong password": (
        lambda g: g.plain(password="guessed-0815"),
        "does not accept the user name and password",
    ),
    "no password": (lambda g: g.url, "asks for a password, and store.url has none"),
    "too few rights": (lambda g: g.plain("reader"), "does not let the user of store.url do what Weir needs"),
    "no EVALSHA": (lambda g: g.plain("no-evalsha"), "does not let the user of store.url do what Weir needs"),
    "no GET": (lambda g: g.plain("no-get"), "does not let the user of store.url do what Weir needs"),
    "no SET": (lambda g: g.plain("no-set"), "does not let the user of store.url do what Weir needs"),
    "no DEL": (lambda g: g.plain("no-del"), "does not let the user of store.url do what Weir needs"),
    "stranger's certificate": (lambda g: g.secure(), "is not accepted: self-signed certificate"),
    "TLS to a plain port": (
        lambda g: g.plain().replace("redis:", "rediss:"),
        "or not the way of redis:// or rediss://",
    ),
    "no TLS to a TLS port": (lambda g: g.secure().replace("rediss:", "redis:"), "store.url:"),
    "cluster that is none": (
        lambda g: g.plain("").replace("redis:", "redis+cluster:"),
        "is not part of a cluster: write redis:// in store.url",
    ),
    "no such socket": (
        lambda g: "redis+unix:///nowhere/redis.sock",
        "store.url: no connection to /nowhere/redis.sock",
    ),
    "sentinel that is none": (lambda g: f"redis+sentinel://{g.address}/mymaster", "store.url"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_mistake_is_named_in_one_line(
    mistake: str, guarded: Guarded, caplog: pytest.LogCaptureFixture
) -> None:
    """The line names the setting, never the password, and limits work locally meanwhile."""
    caplog.set_level(logging.INFO, "weir")
    url, expected = MISTAKES[mistake]
    async with store_at(url(guarded), LIMITS) as store:
        decision = await ask(store, charge(LIMIT, mistake))
        status = str(store.status())

    lines = [
        record.fields["detail"]
        for record in caplog.records
        if hasattr(record, "fields") and "detail" in record.fields
    ]
    assert not store.is_up
    assert "store up" not in caplog.text, "it would be up and down by turns"
    assert (decision.is_admitted, decision.via) == (True, "local")
    assert len(lines) == 1
    assert expected in lines[0]
    assert "store.url" in lines[0]
    assert "\n" not in lines[0]
    for told in (lines[0], status):
        assert PASSWORD not in told
        assert "guessed" not in told


async def test_name_in_the_certificate_must_be_the_hosts(
    guarded: Guarded, papers: Papers, caplog: pytest.LogCaptureFixture
) -> None:
    def told() -> str:
        return str([vars(record)["fields"] for record in caplog.records])

    async with store_at(guarded.secure(host="localhost"), LIMITS, tls=TlsFiles(ca=str(papers.ca))) as store:
        await until(lambda: "is not accepted: Hostname mismatch" in told(), "it is told")
        assert not store.is_up


async def test_node_of_a_cluster_is_no_lone_server(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with cluster(tmp_path) as nodes:
        async with store_at(nodes[0].url, LIMITS) as store:
            await ask(store, *[charge(LIMIT, "x")])

            assert not store.is_up
    assert "write redis+cluster:// in store.url" in str([vars(record)["fields"] for record in caplog.records])


@pytest.mark.parametrize("way", ["redis://127.0.0.1:{0.port}", "redis+unix://{0.folder}/redis.sock"])
async def test_server_that_takes_no_more_clients_says_so(way: str, tmp_path: Path) -> None:
    """It hangs up under our first words; what it said before is heard all the same."""
    server = Redis(tmp_path, maxclients=2, unixsocket="redis.sock")  # in its folder
    with running(server), server.client() as first, server.client() as second:
        first.ping()
        second.ping()
        for _ in range(10):
            async with store_at(way.format(server), LIMITS) as store:
                assert "max number of clients reached" in str(store.status())
                assert set(store.figures.errors) == {"max_clients"}


async def test_server_that_refuses_by_tls_is_left_at_once(papers: Papers) -> None:
    """It says no, and never that it has heard the end: nothing waits for that, and no socket stays behind."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*papers.issue("IP:127.0.0.1"))
    ended = threading.Event()

    def serve() -> None:
        sock, _ = listener.accept()
        with context.wrap_socket(sock, server_side=True) as tls, suppress(ConnectionResetError):
            tls.recv(65536)
            tls.sendall(b"-ERR not you\r\n" * 3)
            while os.read(tls.fileno(), 65536):
                pass
        ended.set()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        begun = monotonic()
        url = f"rediss://:{PASSWORD}@127.0.0.1"
        with pytest.raises(RedisError):
            await Dialler(parse_store(url), TlsFiles(str(papers.ca))).connect(listener.getsockname())
        seconds = monotonic() - begun
        await until(ended.is_set, "the end", within=5.0)
        serving.join(10)

    assert seconds < STEP_TIMEOUT


async def test_refused_connection_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked for a greeting who took no connection, not even where Redis comes back in that moment.

    It would say nothing to who asks nothing, and the link would be down beside a server that is there.
    """
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.setblocking(False)
        address = server.getsockname()

        async def back_when_refused(host: str, port: int) -> socket.socket:
            try:
                return await reach(host, port)
            finally:
                server.listen()

        monkeypatch.setattr("proxy.limiter.dialler.reach", back_when_refused)
        with pytest.raises(ConnectionError, match=str(errno.ECONNREFUSED)):
            await Dialler(parse_store("redis://127.0.0.1")).connect(address)

        with pytest.raises(BlockingIOError):
            server.accept()


# In a process that has names of its own: one address of Redis's name swallows everything, without a word.
TWO = """
import asyncio, socket, sys, uvloop
from tests.limiter.asking import ask, charge, limits_of, store_at

async def main(port):
    dead = socket.create_server(("::1", port), family=socket.AF_INET6, backlog=0)
    full = []
    for _ in range(4):
        sock = socket.socket(socket.AF_INET6)
        sock.setblocking(False)
        sock.connect_ex(("::1", port))
        full.append(sock)
    limits = limits_of({"name": "a", "rate": "9/s"})
    async with store_at(f"redis://two.example:{port}", limits) as store:
        decision = await ask(store, charge(next(iter(limits))))
        print(decision.via, store.is_up)

uvloop.run(main(int(sys.argv[1])))
"""


@pytest.mark.measured
def test_address_that_swallows_everything_is_raced(redis: Redis, tmp_path: Path) -> None:
    """The one that comes first, whatever their order is in the file (RFC 6724 section 2.1)."""
    (tmp_path / "hosts").write_text("127.0.0.1 two.example\n::1 two.example\n")
    (tmp_path / "nsswitch").write_text("hosts: files\n")
    own_names = (
        'mount --bind "$0/hosts" /etc/hosts && mount --bind "$0/nsswitch" /etc/nsswitch.conf && exec "$@"'
    )
    inside = ["unshare", "--map-root-user", "--mount", "sh", "-c", own_names, str(tmp_path)]
    done = subprocess.run(
        [*inside, sys.executable, "-c", TWO, str(redis.port)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == "store True\n", done.stderr


async def test_end_of_what_is_read_is_that_of_the_stream() -> None:
    """redis-py asks it of a connection that has rested."""
    stream = asyncio.StreamReader()
    bounded = _BoundedStream(stream)
    before = bounded.at_eof()
    stream.feed_eof()

    assert (before, bounded.at_eof()) == (False, True)
