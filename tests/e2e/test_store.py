"""Weir with a real Redis: the settings of the store, seen by clients and operators."""

from __future__ import annotations

import pytest

from tests.e2e.test_reload import reloaded, replaced
from tests.support.messages import get
from tests.support.ports import free_port
from tests.support.redis_servers import Papers, Redis, running

PER_USER = {"name": "per-user", "key": ["header:X-Auth-Token"], "rate": "1/h", "burst": 2}
ADA = "X-Auth-Token: ada-4711"


@pytest.fixture(scope="module")
def papers(tmp_path_factory):
    return Papers(tmp_path_factory.mktemp("papers"))


@pytest.fixture
def redis(tmp_path):
    server = Redis(tmp_path)
    with running(server):
        yield server


def settings(url, **store):
    return {"store": {"url": url, "timeout": "1s", **store}, "limits": [PER_USER]}


async def statuses(ask, weir, *lines, count=3):
    return [(await ask(weir, get(*lines))).status for _ in range(count)]


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
