"""Sentinel and Cluster by TLS, and a password of the sentinels' own: with real servers."""

from __future__ import annotations

import logging
import re
import socket
import ssl
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from proxy.limiter.dialler import Login, TlsFiles
from tests.limiter.asking import admitted, ask, ask_all, charge, limits_of, store_at
from tests.support.innocent import innocent
from tests.support.papers import Papers
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.redis_servers import Redis, cluster, running, tls_options, watched

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.real

LIMITS = limits_of({"name": "per-user", "rate": "2/m"})
(LIMIT,) = LIMITS
AT_REDIS, AT_SENTINEL = "open-sesame-4711", "watch-and-ward-0815"


@pytest.fixture(scope="module")
def papers(tmp_path_factory: pytest.TempPathFactory) -> Papers:
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture(scope="module")
def tls(papers: Papers) -> dict[str, object]:
    return tls_options(*papers.issue("IP:127.0.0.1"), papers.ca)


@pytest.fixture(scope="module")
def group(
    tmp_path_factory: pytest.TempPathFactory, tls: dict[str, object]
) -> Iterator[tuple[Redis, Redis, Redis]]:
    """A master and a replica with one password, a sentinel with another."""
    folder = tmp_path_factory.mktemp("group")
    theirs = {"sentinel_auth_pass": f"mymaster {AT_REDIS}", "requirepass": AT_SENTINEL}
    with watched(folder, tls, theirs, requirepass=AT_REDIS, masterauth=AT_REDIS) as servers:
        yield servers


async def test_cluster_by_tls(
    tmp_path_factory: pytest.TempPathFactory, papers: Papers, tls: dict[str, object]
) -> None:
    """Every node is spoken to by TLS only: also those that the first one names."""
    with cluster(tmp_path_factory.mktemp("cluster"), tls=tls) as nodes:
        url = f"rediss+cluster://127.0.0.1:{nodes[0].tls_port}"
        # Three nodes shake hands with everybody at once: how soon is not the subject.
        async with store_at(url, LIMITS, timeout=5.0, tls=TlsFiles(ca=str(papers.ca))) as store:
            decisions = await ask_all(store, [[charge(LIMIT, n % 30)] for n in range(90)])
            status: Any = store.status()

        assert admitted(decisions) == 60
        assert {decision.via for decision in decisions} == {"store"}
        assert set(status["servers"]) == {f"127.0.0.1:{node.tls_port}" for node in nodes}


async def test_sentinel_by_tls_and_failover(group: tuple[Redis, Redis, Redis], papers: Papers) -> None:
    """The sentinels have a password of their own; the master that they name speaks TLS too."""
    master, _, sentinel = group
    url = f"rediss+sentinel://:{AT_REDIS}@127.0.0.1:{sentinel.tls_port}/mymaster"
    ways = {"tls": TlsFiles(ca=str(papers.ca)), "sentinel": Login(None, SecretStr(AT_SENTINEL))}
    async with store_at(url, LIMITS, **ways) as store:
        decision = await ask(store, charge(LIMIT))
        is_up = store.is_up
        master.kill()
        await until(lambda: not store.is_up, "the loss is noticed")
        await until(lambda: store.is_up, "the sentinel has named another", within=15.0)
        after = await ask(store, charge(LIMIT))

    assert is_up
    assert (decision.is_admitted, decision.via) == (True, "store")
    assert (after.is_admitted, after.via, after.verdicts[0].remaining) == (True, "store", 0)


# --- certificates of both sides, and names ---


@pytest.fixture(scope="module")
def names(papers: Papers) -> dict[str, object]:
    """Of servers that are known by a name, by no address, and want a certificate of who comes."""
    return {**tls_options(*papers.issue("DNS:localhost"), papers.ca), "tls_auth_clients": "yes"}


@pytest.fixture(scope="module")
def ours(papers: Papers) -> TlsFiles:
    return TlsFiles(str(papers.ca), *map(str, papers.issue("DNS:weir")))


async def test_cluster_whose_nodes_have_names_and_want_a_certificate(
    tmp_path_factory: pytest.TempPathFactory,
    names: dict[str, object],
    ours: TlsFiles,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Each node is spoken to by the name that the first one gives, and its certificate is held to that."""
    by_name = {"cluster_announce_hostname": "localhost", "cluster_preferred_endpoint_type": "hostname"}
    with cluster(tmp_path_factory.mktemp("cluster"), tls=names, **by_name) as nodes:
        await until(lambda: all(_names_all(node) for node in nodes), "all have heard of the names")
        url = f"rediss+cluster://localhost:{nodes[0].tls_port}"
        async with store_at(url, LIMITS, timeout=5.0, tls=ours) as store:
            decisions = await ask_all(store, [[charge(LIMIT, n % 30)] for n in range(90)])
            status: Any = store.status()
        caplog.set_level(logging.INFO, "weir")
        async with store_at(url, LIMITS, tls=TlsFiles(ca=ours.ca)) as store:
            without = await ask(store, charge(LIMIT, "bob"))

        assert admitted(decisions) == 60
        assert {decision.via for decision in decisions} == {"store"}
        assert set(status["servers"]) == {f"localhost:{node.tls_port}" for node in nodes}
        assert without.via == "local"
        # Which of them it is depends on how busy the machine is: test_client_certificates.py.
        assert re.search(
            "(wants|may want) a client certificate.* store.tls.cert and key", " ".join(told(caplog))
        )


def _names_all(node: Redis) -> bool:
    return all(primary[0] == b"localhost" for _, _, primary, *_ in node.ask("CLUSTER", "SLOTS"))


@pytest.fixture(scope="module")
def named_group(
    tmp_path_factory: pytest.TempPathFactory, names: dict[str, object]
) -> Iterator[tuple[Redis, Redis, Redis]]:
    """A sentinel with a user of its own watches servers that it knows by name."""
    theirs = {
        "sentinel_auth_pass": f"mymaster {AT_REDIS}",
        "requirepass": "nobody-is-told",
        "user": f"watcher on >{AT_SENTINEL} &* +@all",
    }
    folder = tmp_path_factory.mktemp("named")
    with watched(folder, names, theirs, "localhost", requirepass=AT_REDIS, masterauth=AT_REDIS) as servers:
        yield servers


async def test_group_known_by_name_fails_over(
    named_group: tuple[Redis, Redis, Redis], ours: TlsFiles
) -> None:
    """Certificates of both sides, a user of the sentinels' own, and the next master by its name too."""
    master, replica, sentinel = named_group
    url = f"rediss+sentinel://:{AT_REDIS}@localhost:{sentinel.tls_port}/mymaster"
    ways = {"tls": ours, "sentinel": Login("watcher", SecretStr(AT_SENTINEL))}
    async with store_at(url, LIMITS, timeout=0.5, **ways) as store:
        decision = await ask(store, charge(LIMIT))
        master.kill()
        await until(lambda: not store.is_up, "the loss is noticed")
        await until(lambda: store.is_up, "the sentinel has named another", within=15.0)
        after = await ask(store, charge(LIMIT))
        clients = replica.ask("CLIENT", "LIST").count(b"name=")

    assert (decision.is_admitted, decision.via) == (True, "store")
    assert (after.is_admitted, after.via, after.verdicts[0].remaining) == (True, "store", 0)
    assert clients


@pytest.mark.parametrize(
    ("name", "authority", "why"),
    [
        ("DNS:elsewhere", "ours", "mismatch"),
        ("IP:127.0.0.1", "another", "self-signed certificate in certificate chain"),
    ],
)
async def test_server_that_is_another_is_not_believed(
    tmp_path_factory: pytest.TempPathFactory,
    papers: Papers,
    caplog: pytest.LogCaptureFixture,
    name: str,
    authority: str,
    why: str,
) -> None:
    """In a cluster too: by its name, or by who vouches for it."""
    caplog.set_level(logging.INFO, "weir")
    folder = tmp_path_factory.mktemp("other")
    by = papers if authority == "ours" else Papers(folder, "another authority")
    options = {"cluster_enabled": "yes", "cluster_port": free_port()}
    server = Redis(folder, **tls_options(*by.issue(name), by.ca), **options)
    server._options["tls_port"] = free_port()
    url = f"rediss+cluster://127.0.0.1:{server.tls_port}"
    with running(server):
        async with store_at(url, LIMITS, tls=TlsFiles(ca=str(papers.ca))) as store:
            decision = await ask(store, charge(LIMIT))

    assert decision.via == "local"
    assert re.search(f"is not accepted: .*({why})", " ".join(told(caplog)))


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [getattr(record, "fields", {}).get("detail") for record in caplog.records]
    return [line for line in found if line is not None]


@pytest.mark.parametrize(
    ("scheme", "port", "login", "expected"),
    [
        ("rediss", "tls_port", None, "does not accept the user name and password of store.sentinel"),
        ("rediss", "tls_port", "guessed", "does not accept the user name and password of store.sentinel"),
        ("redis", "port", AT_SENTINEL, "no connection to 127.0.0.1:"),
    ],
)
async def test_wrong_word_to_a_sentinel_is_named(
    scheme: str,
    port: str,
    login: str | None,
    expected: str,
    group: tuple[Redis, Redis, Redis],
    papers: Papers,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The line says whose password it is. Without TLS the master's port is one that speaks TLS only."""
    caplog.set_level(logging.INFO, "weir")
    url = f"{scheme}+sentinel://:{AT_REDIS}@127.0.0.1:{getattr(group[2], port)}/mymaster"
    sentinel = Login(None, SecretStr(login)) if login else None
    async with store_at(url, LIMITS, tls=TlsFiles(ca=str(papers.ca)), sentinel=sentinel) as store:
        decision = await ask(store, charge(LIMIT))
        status = str(store.status())

    (line,) = told(caplog)
    assert decision.via == "local"
    assert expected in line
    for password in (AT_REDIS, AT_SENTINEL, "guessed"):
        assert password not in line + status


# --- records of one byte ---


def say_in_tiny_records(sock: socket.socket, context: ssl.SSLContext, said: bytes) -> None:
    """To whatever is asked first."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)

    def repeat(step: Any) -> Any:
        while True:
            try:
                return step()
            except ssl.SSLWantReadError:
                sock.sendall(outgoing.read())
                data = sock.recv(65536)
                if not data:
                    raise ConnectionError from None
                incoming.write(data)

    repeat(tls.do_handshake)
    sock.sendall(outgoing.read())
    repeat(lambda: tls.read(65536))
    for at in range(len(said)):
        tls.write(said[at : at + 1])
    sock.sendall(outgoing.read())
    while sock.recv(65536):
        pass


@pytest.mark.unmeasured
async def test_server_that_says_much_in_records_of_one_byte_keeps_nobody_waiting(papers: Papers) -> None:
    """A quarter of a megabyte of TLS for what is no answer."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*papers.issue("IP:127.0.0.1"))
    listener = socket.create_server(("127.0.0.1", 0))
    answered = []

    def serve() -> None:
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:  # the end of the test
                return
            with sock, suppress(OSError, ssl.SSLError):
                answered.append(sock)
                say_in_tiny_records(sock, context, b"+" + b"x" * 12_000)

    serving = threading.Thread(target=serve)
    serving.start()
    url = f"rediss://127.0.0.1:{listener.getsockname()[1]}"
    async with innocent(), store_at(url, LIMITS, timeout=0.5, tls=TlsFiles(str(papers.ca))) as store:
        await until(lambda: len(answered) > 2, "it was tried again")
        decision = await ask(store, charge(LIMIT))
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    serving.join(10)

    assert (decision.is_admitted, decision.via) == (True, "local")
