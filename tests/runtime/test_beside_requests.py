"""A reload, however large: a client beside it is served within 20 ms, whatever thread does the work."""

from __future__ import annotations

import asyncio
import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import yaml

from proxy.config.mistakes import MISTAKES_MAX
from proxy.limiter.store import NOBODY
from proxy.net.credentials import PEM_BYTES_MAX
from proxy.policy.decision import Charge
from proxy.runtime.following import Follower, Source
from proxy.runtime.worker import Worker
from tests.support.innocent import ALL_THREADS, innocent
from tests.support.papers import Papers
from tests.support.patience import until
from tests.support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.policy.limits import Limit
    from proxy.runtime.listener_tls import Certificates

pytestmark = pytest.mark.unmeasured

LIMIT: dict[str, Any] = {"key": ["header:X-Auth-Token", "client-ip"], "rate": "15/s"}


def paths(number: int) -> list[str]:
    return [f"/api/v{each % 7}/things-{each:x}/*/parts/**" for each in range(number)]


LARGE: dict[str, dict[str, Any]] = {
    "known paths": {"contract": {"known_paths": paths(15_000)}},
    "paths of a limit": {"limits": [LIMIT | {"name": "a", "match": {"paths": paths(15_000)}}]},
    "exemptions": {"limits": [LIMIT | {"name": "a", "exempt": {"paths": paths(15_000)}}]},
    "networks": {"forwarded": {"trust": [f"10.{n // 250}.{n % 250}.0/24" for n in range(15_000)]}},
    "servers": {"upstream": {"servers": [f"https://127.0.0.1:{n}" for n in range(1000, 1300)]}},
    "limits": {
        "limits": [LIMIT | {"name": f"limit-{n}", "match": {"paths": [f"/{n}/**"]}} for n in range(500)]
    },
    "limits with plans": {
        "plans": [{"name": f"plan-{n}", "rate": f"{n + 20}/s"} for n in range(8)],
        "limits": [
            LIMIT
            | {
                "name": f"limit-{n}",
                "plans": [f"plan-{p}" for p in range(8)],
                "match": {"paths": [f"/{n}/**"]},
            }
            for n in range(500)
        ],
    },
}
KEYS = 100_000
MEMORY_BYTES = 128 << 20
PLAN = {"name": "paid", "rate": "30/s"}


@pytest.fixture(autouse=True)
def _log_as_it_was():
    """A worker that reloads sets up the log of its process."""
    root, ours = logging.getLogger(), logging.getLogger("weir")
    handlers, levels = root.handlers[:], (root.level, ours.level)
    yield
    for handler in root.handlers[:]:
        if handler not in handlers:
            root.removeHandler(handler)
            handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])
    logging.captureWarnings(capture=False)


@pytest.fixture(scope="module", autouse=True)
def _memory():
    """Held for all that is made here: on some hosts the first use of a page takes longer than what is done with it."""
    taken = [bytes(400) for _ in range(MEMORY_BYTES // 400)]
    kept = taken[:: 1 << 10]  # a few in each piece that Python takes and gives back as a whole
    del taken
    yield kept


@pytest.fixture
def base(tmp_path):
    """The settings of a worker, and how to write them: with other ones on top."""
    settings = {
        "listen": f"127.0.0.1:{free_port()}",
        "admin": {"listen": f"127.0.0.1:{free_port()}"},
        "upstream": {"servers": ["http://127.0.0.1:1"]},
        "store": {"key_secret": "k" * 40, "max_keys": 4 * KEYS},
        "log": {"access": "off"},
    }
    path = tmp_path / "weir.yaml"

    def write(changes: dict[str, Any]) -> str:
        path.write_text(yaml.safe_dump(settings | changes, default_flow_style=True, width=10**9))
        return str(path)

    return write


async def nothing(_: Worker) -> None:
    """Nobody has been here."""


async def reloaded(
    path: str,
    write: Any,
    know: Callable[[Worker], Awaitable[None]] = nothing,
    look: Callable[[Worker], Any] = id,
) -> Any:
    """What a `look` finds at a worker whose file has become another, beside an innocent client; it may `know` much."""
    source = Source.read(path)
    worker = Worker(source.reading.settings, path)
    await worker.start()
    before = worker.status()["config"]
    try:
        follower = Follower(worker, source)
        await know(worker)
        write()
        async with innocent(ALL_THREADS):
            await follower._reread()
        after: Any = worker.status()["config"]
        assert after["last_reload"]["error"] is None
        assert after != before
        return look(worker)
    finally:
        await worker.stop()


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", LARGE)
async def test_large_config_is_taken_beside_requests(base, kind):
    """Read, judged, compiled and swapped in."""
    await reloaded(base({}), lambda: base(LARGE[kind]))


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["limits", "limits with plans"])
async def test_large_config_is_taken_beside_requests_that_redis_decides(base, kind, redis):
    store = {"store": {"url": redis.url, "key_secret": "k" * 40, "max_keys": 4 * KEYS}}
    await reloaded(base(store), lambda: base(store | LARGE[kind]))


@pytest.mark.timeout(120)
async def test_many_keys_of_a_plan_are_taken_beside_requests(base, tmp_path):
    """In a file of their own, all of them others than before."""
    file = tmp_path / "keys"
    plan = {"plans": [PLAN | {"keys_file": str(file)}], "limits": [LIMIT | {"name": "a", "plans": ["paid"]}]}

    def write(first: int) -> None:
        file.write_text("".join([f"sha256:{number:064x}\n" for number in range(first, first + KEYS)]))

    write(0)
    await reloaded(base(plan), lambda: write(KEYS))


RATES = [{"limits": [LIMIT | {"name": "a", "rate": rate}]} for rate in ("15/h", "30/h")]


def spent(number: int, limit: Limit) -> list[Charge]:
    return [Charge(limit.terms, number.to_bytes(16, "little"))]


async def spend(worker: Worker) -> None:
    """A token of each of so many keys."""
    (limit,) = worker.parts.shared.rules.limits
    for number in range(KEYS):
        assert worker.parts.store.take(spent(number, limit), NOBODY).is_admitted


def left(worker: Worker, number: int = 7) -> int:
    (limit,) = worker.parts.shared.rules.limits
    return worker.parts.store.take(spent(number, limit), NOBODY).verdicts[0].remaining


@pytest.mark.timeout(120)
async def test_rate_changes_beside_requests(base):
    """Of a hundred thousand keys."""
    assert await reloaded(base(RATES[0]), lambda: base(RATES[1]), spend, left) == 30 - 1 - 1


@pytest.mark.timeout(120)
async def test_rate_changes_beside_requests_in_an_outage(base, redis):
    store = {"store": {"url": redis.url, "key_secret": "k" * 40, "max_keys": 4 * KEYS}}
    redis.stop()
    change = lambda: base(store | RATES[1])  # noqa: E731 - short

    assert await reloaded(base(store | RATES[0]), change, spend, left) == 30 - 1 - 1


@pytest.mark.timeout(120)
async def test_authorities_are_renewed_beside_requests(base, tmp_path):
    """Of clients, as many as a file may hold. OpenSSL reads them while the loop goes on; the last ones go with it."""
    papers = Papers(tmp_path / "papers")
    cert, key = papers.issue("DNS:localhost")
    authority = Papers(tmp_path / "other", "authority 00000")
    der = ssl.PEM_cert_to_DER_cert(authority.ca.read_text())

    def write(first: int) -> None:
        """Authorities of different names, whose signatures nobody looks at."""
        many = [
            ssl.DER_cert_to_PEM_cert(der.replace(b"authority 00000", b"authority %05d" % number))
            for number in range(first, first + PEM_BYTES_MAX // len(authority.ca.read_bytes()) - 1)
        ]
        papers.ca.write_text("".join(many))

    write(1)
    tls = {"cert": str(cert), "key": str(key), "client_ca": str(papers.ca)}
    settings = yaml.safe_load(Path(base({})).read_text())
    path = base({"listen": [{"address": settings["listen"], "tls": tls}]})
    worker = Worker(Source.read(path).reading.settings, path)
    await worker.start()
    try:
        (listener,) = worker._listeners
        assert listener is not None
        before: Certificates | None = listener.credentials.now
        write(50_000)
        async with innocent():
            worker.reopen_logs()
            await until(lambda: listener.credentials.now is not before, within=30.0)
            before = None  # and so is freed
            await asyncio.sleep(0.1)
        assert listener.credentials.problem is None
    finally:
        await worker.stop()


@pytest.mark.timeout(120)
async def test_large_config_that_is_bad_is_refused_beside_requests(base):
    """Fifteen thousand mistakes, the first of which are told."""
    path = base({})
    source = Source.read(path)
    worker = Worker(source.reading.settings, path)
    await worker.start()
    try:
        follower = Follower(worker, source)
        base({"contract": {"known_paths": [f"no slash \u202e{number}" for number in range(15_000)]}})
        async with innocent(ALL_THREADS):
            await follower._reread()
            for _ in range(20):
                msgspec.json.encode(worker.status(), enc_hook=str)
                await asyncio.sleep(0)
        told: Any = worker.status()["config"]
    finally:
        await worker.stop()
    lines = told["last_reload"]["error"].splitlines()

    assert told["last_reload"]["successful"] is False
    assert len(lines) == MISTAKES_MAX + 1
    assert "more mistakes" in lines[-1]
