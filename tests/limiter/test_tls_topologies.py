"""Sentinel and Cluster by TLS, and a password of the sentinels' own: with real servers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from proxy.limiter.dialler import Login, TlsFiles
from tests.limiter.asking import admitted, ask, ask_all, charge, limits_of, store_at
from tests.support.papers import Papers
from tests.support.patience import until
from tests.support.redis_servers import Redis, cluster, tls_options, watched

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


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [getattr(record, "fields", {}).get("detail") for record in caplog.records]
    return [line for line in found if line is not None]


@pytest.mark.parametrize(
    ("scheme", "port", "login", "expected"),
    [
        ("rediss", "tls_port", None, "does not accept the user name and password of store.sentinel"),
        ("rediss", "tls_port", "guessed", "does not accept the user name and password of store.sentinel"),
        ("redis", "port", AT_SENTINEL, ""),
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
