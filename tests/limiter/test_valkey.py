"""Valkey in place of Redis: limits to the token, an outage, a reset, a cluster."""

from __future__ import annotations

import logging
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from proxy.policy.gcra import US
from tests.limiter.asking import admitted, ask, ask_all, bucket, charge, limits_of, store_at
from tests.support.once import once
from tests.support.patience import until
from tests.support.redis_servers import Redis, cluster, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

pytestmark = [pytest.mark.real, pytest.mark.timeout(180)]  # of which making it takes 10, once for a checkout

ROOT = Path(__file__).parents[2]
LIMITS = limits_of({"name": "per-user", "rate": "2/m"}, {"name": "all", "rate": "100/m"})
PER_USER, ALL = LIMITS


@pytest.fixture(scope="session")
def command(tmp_path_factory: pytest.TempPathFactory) -> Sequence[str]:
    """Starts Debian trixie's, by the loader and the libraries that belong to it."""
    root = ROOT / ".cache" / "valkey"
    once(
        tmp_path_factory,
        "valkey",
        lambda _: subprocess.run(["sh", "tests/valkey.sh", root], cwd=ROOT, check=True),
    )
    (loader,) = root.glob("usr/lib/*/ld-linux-*.so.*")
    return [str(loader), "--library-path", str(loader.parent), str(root / "usr" / "bin" / "valkey-server")]


@pytest.fixture
def valkey(tmp_path: Path, command: Sequence[str]) -> Iterator[Redis]:
    server = Redis(tmp_path, command=command)
    with running(server):
        yield server


async def test_limits_are_exact_across_an_outage(valkey: Redis) -> None:
    """Alone and together, cut off and restarted empty: the burst is given once."""
    both = [charge(PER_USER), charge(ALL, "all")]
    async with store_at(valkey.url, LIMITS, caches_denials=False) as store:
        decisions = [await ask(store, *both) for _ in range(3)]
        valkey.client().client_kill_filter(_type="normal", skipme=True)
        decisions += [await ask(store, charge(PER_USER))]
        valkey.kill()
        await until(lambda: not store.is_up, "the loss is noticed")
        local = await ask(store, charge(PER_USER, "bob"))
        valkey.start()
        await until(lambda: store.is_up, "it is back")
        decisions += [await ask(store, charge(PER_USER)), await ask(store, charge(PER_USER, "bob"))]
        left = decisions[-1].verdicts[0].remaining
        version = valkey.client().info("server")["server_name"]
        lifetime_ms = valkey.ask("PTTL", next(key for key in valkey.keys() if key.endswith(bucket("bob"))))

    assert version == "valkey"
    assert [decision.is_admitted for decision in decisions] == [True, True, False, False, False, True]
    assert {decision.via for decision in decisions} == {"store"}
    assert (local.is_admitted, local.via, left) == (True, "local", 0)
    assert 0 < lifetime_ms <= 60 * US // 1000 + 2


async def test_reset_gives_a_client_its_tokens_back(valkey: Redis) -> None:
    async with store_at(valkey.url, LIMITS) as store:
        assert admitted(await ask_all(store, [[charge(PER_USER)]] * 3)) == 2
        assert await store.keys.reset(PER_USER, bucket("ada")) == 1
        assert await store.keys.reset(ALL, b"") == 0
        again = admitted(await ask_all(store, [[charge(PER_USER)]] * 3))

    assert again == 2


async def test_user_with_too_few_rights_is_named(valkey: Redis, caplog: pytest.LogCaptureFixture) -> None:
    """In a script Valkey words it in its own way, as Redis 7.2 does."""
    caplog.set_level(logging.INFO, "weir")
    valkey.client().acl_setuser(
        "reader", enabled=True, passwords=["+word"], keys=["*"], commands=["+@all", "-set"]
    )
    async with store_at(f"redis://reader:word@{valkey.address}", LIMITS) as store:
        decision = await ask(store, charge(PER_USER))

    told = [record.fields.get("detail", "") for record in caplog.records if hasattr(record, "fields")]
    assert decision.via == "local"
    assert any("does not let the user of store.url do what Weir needs" in each for each in told)


async def test_cluster_of_valkeys(tmp_path: Path, command: Sequence[str]) -> None:
    with cluster(tmp_path, command=command) as nodes:
        async with store_at(f"redis+cluster://{nodes[0].address}", LIMITS) as store:
            decisions = await ask_all(store, [[charge(PER_USER, n % 30)] for n in range(90)])

        assert admitted(decisions) == 60
        assert {decision.via for decision in decisions} == {"store"}
        assert all([key for key in node.keys() if b":per-user:" in key] for node in nodes)
