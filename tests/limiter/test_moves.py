"""To another Redis or another password at a reload: buckets live on, and nobody is decided without Redis."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr

from proxy.config.sections.store import StoreSettings
from proxy.limiter.dialler import Login
from proxy.limiter.moves import Moves
from proxy.policy.slots import slots_of
from tests.limiter.asking import admitted, ask, ask_all, charge, limits_of, store_at
from tests.support.patience import until
from tests.support.redis_servers import Redis, cluster, running, watched

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from proxy.limiter.redis import RedisStore
    from proxy.policy.limits import Limits

pytestmark = pytest.mark.real

LIMITS = limits_of({"name": "per-user", "rate": "2/m"})
(LIMIT,) = LIMITS
SLOTS = limits_of({"name": "at-once", "concurrency": 2})
(AT_ONCE,) = SLOTS


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path, requirepass="first")
    with running(server):
        yield server


@pytest.fixture
def another(tmp_path: Path) -> Iterator[Redis]:
    server = Redis(tmp_path)
    with running(server):
        yield server


def adopt(store: RedisStore, url: str, limits: Limits = LIMITS) -> None:
    """What a reload does."""
    store.adopt(StoreSettings(url=url, timeout="2s"))
    store.configure(limits)


def by(server: Redis, password: str) -> str:
    return f"redis://:{password}@{server.address}"


def is_moving(store: RedisStore) -> bool:
    return "next" in store.status()


async def outcomes(store: RedisStore, count: int) -> list[tuple[bool, str]]:
    decisions = [await ask(store, charge(LIMIT)) for _ in range(count)]
    return [(decision.is_admitted, decision.via) for decision in decisions]


async def test_new_password_is_gone_over_to_when_redis_knows_it(guarded: Redis) -> None:
    """Until then the connection that is there serves, and /status says why the next one is not up."""
    async with store_at(by(guarded, "first"), LIMITS) as store:
        before = await outcomes(store, 1)
        adopt(store, by(guarded, "sesame-2"))
        await until(lambda: "does not accept" in str(store.status().get("next")), "the trouble is told")
        is_up = store.is_up
        guarded.ask("CONFIG", "SET", "requirepass", "sesame-2")
        guarded.log_in(password="sesame-2")
        await until(lambda: not is_moving(store), "moved")
        after = await outcomes(store, 2)
        await until(lambda: len(connections(guarded)) == 1, "the old connection is closed")
        await until(lambda: members(guarded) == 1, "it is still counted as a replica")

    assert is_up
    assert before + after == [(True, "store"), (True, "store"), (False, "denial_cache")]
    assert "sesame-2" not in str(store.status())


async def test_new_password_of_a_cluster_is_gone_over_to(tmp_path: Path) -> None:
    """Its nodes take it one after the other; every request is decided by Redis meanwhile."""
    with cluster(tmp_path, requirepass="first", masterauth="first") as nodes:
        seeds = ",".join(node.address for node in nodes)
        async with store_at(f"redis+cluster://:first@{seeds}", LIMITS) as store:
            users = range(30)
            decisions = await ask_all(store, [[charge(LIMIT, user)] for user in users])
            adopt(store, f"redis+cluster://:sesame-2@{seeds}")
            for node in nodes:
                node.ask("CONFIG", "SET", "requirepass", "sesame-2")
                node.log_in(password="sesame-2")
                decisions += await ask_all(store, [[charge(LIMIT, node.port)]])
            await until(lambda: not is_moving(store), "moved")
            decisions += await ask_all(store, [[charge(LIMIT, user)] for user in users] * 2)

    assert {decision.via for decision in decisions} <= {"store", "denial_cache"}
    assert admitted(decisions) == 2 * len(users) + len(nodes)


async def test_new_password_of_sentinels_is_gone_over_to(tmp_path: Path) -> None:
    """Theirs alone; a wrong one before it costs nobody anything, and is told."""
    theirs = {"sentinel_auth_pass": "mymaster at-redis", "requirepass": "first"}
    with watched(tmp_path, None, theirs, requirepass="at-redis", masterauth="at-redis") as (_, _, sentinel):
        url = f"redis+sentinel://:at-redis@{sentinel.address}/mymaster"

        def adopt_word(word: str) -> None:
            store.adopt(StoreSettings(url=url, timeout="2s", sentinel={"password": word}))
            store.configure(LIMITS)

        async with store_at(url, LIMITS, sentinel=Login(None, SecretStr("first"))) as store:
            before = await outcomes(store, 1)
            adopt_word("guessed-0")
            await until(lambda: "store.sentinel" in str(store.status().get("next")), "the trouble is told")
            sentinel.ask("ACL", "SETUSER", "default", "resetpass", ">sesame-2")
            sentinel.log_in(password="sesame-2")
            between = await outcomes(store, 1)
            adopt_word("sesame-2")
            await until(lambda: not is_moving(store), "moved")
            after = await outcomes(store, 1)
            status = str(store.status())

    assert before + between == [(True, "store")] * 2
    assert not after[0][0]
    assert after[0][1] != "local"
    assert not [word for word in ("first", "guessed-0", "sesame-2", "at-redis") if word in status]


async def test_slots_stay_held_by_a_new_password(guarded: Redis) -> None:
    """Another replica gets none of them at any moment; they come back when their requests end."""
    async with (
        store_at(by(guarded, "first"), SLOTS) as store,
        store_at(by(guarded, "first"), SLOTS) as beside,
    ):
        held = await ask_all(store, [[charge(AT_ONCE)]] * 2)
        guarded.ask("CONFIG", "SET", "requirepass", "sesame-2")
        guarded.log_in(password="sesame-2")
        adopt(store, by(guarded, "sesame-2"), SLOTS)
        beside._one_place.caches_denials = False
        let_in = 0
        while is_moving(store) or len(connections(guarded)) > 2:
            let_in += admitted(await ask_all(beside, [[charge(AT_ONCE)]] * 5))
        let_in += admitted(await ask_all(beside, [[charge(AT_ONCE)]] * 5))
        in_flight = store.status()["in_flight"]
        for decision in held:
            store.vacate(slots_of(decision))
        await until(lambda: not holders(guarded), "they came back", within=3.0)

    assert admitted(held) == 2
    assert let_in == 0
    assert in_flight == {"at-once": 2}


async def test_slots_go_along_to_another_server(redis: Redis, another: Redis) -> None:
    """There they are held until their requests end. The server before forgets them by itself."""
    async with store_at(redis.url, SLOTS) as store, store_at(another.url, SLOTS) as beside:
        held = await ask_all(store, [[charge(AT_ONCE)]] * 2)
        adopt(store, another.url, SLOTS)
        await until(lambda: not is_moving(store) and not connections(redis), "the one before is left")
        refused = await ask(beside, charge(AT_ONCE))
        in_flight = store.status()["in_flight"]
        for decision in held:
            store.vacate(slots_of(decision))
        await until(lambda: not holders(another), "they came back", within=3.0)

    assert not refused.is_admitted
    assert in_flight == {"at-once": 2}
    assert redis.ask("PTTL", *redis.ask("KEYS", "*/slots:*")) <= 12_000


async def test_slot_that_the_server_before_grants_at_last_goes_along(redis: Redis, another: Redis) -> None:
    """It was asked before the move and answers behind it."""
    async with store_at(redis.url, SLOTS, timeout=5.0) as store:
        redis.freeze()
        late = asyncio.create_task(ask(store, charge(AT_ONCE)))
        await asyncio.sleep(0)
        adopt(store, another.url, SLOTS)
        await until(lambda: not is_moving(store), "moved")
        redis.thaw()
        assert (await late).via == "store"
        await until(lambda: holders(another) == 1, "known when the one before is left", within=1.5)


async def test_slots_granted_meanwhile_are_known_there_before_anybody_asks(
    redis: Redis, tmp_path: Path
) -> None:
    """A part of the cluster was told of all that were held, and waited for the rest."""
    with cluster(tmp_path) as nodes:
        async with store_at(redis.url, SLOTS, timeout=5.0) as store:
            nodes[0].freeze()
            adopt(store, f"redis+cluster://{nodes[1].address}", SLOTS)
            await until(
                lambda: [link["state"] for link in next_servers(store)].count("up") == 2, "all but one"
            )
            await ask_all(store, [[charge(AT_ONCE, name)] for name in range(30)])
            redis.freeze()
            late = asyncio.create_task(ask(store, charge(AT_ONCE)))  # the one before cannot be left yet
            nodes[0].thaw()
            await until(lambda: not is_moving(store), "moved")
            await until(lambda: sum(map(holders, nodes)) == 30, "known", within=0.5)
            redis.thaw()
            await late


def next_servers(store: RedisStore) -> list[dict[str, Any]]:
    status: Any = store.status()
    return list(status["next"]["servers"].values())


def holders(server: Redis) -> int:
    return sum(server.ask("ZCARD", key) for key in server.ask("KEYS", "*/slots:*"))


def connections(server: Redis) -> list[Any]:
    """But for the one that asks."""
    return [each for each in server.client().client_list() if each["cmd"] != "client|list"]


def members(server: Redis) -> int:
    (key,) = [key for key in server.ask("KEYS", "weir:*") if key.endswith(b":replicas")]
    return int(server.ask("ZCARD", key))


async def test_debts_go_along_to_another_server(redis: Redis, tmp_path: Path) -> None:
    """Also to a cluster: what is known of buckets is restored there before the first request."""
    with cluster(tmp_path) as nodes:
        async with store_at(redis.url, LIMITS) as store:
            assert await outcomes(store, 2) == [(True, "store")] * 2
            adopt(store, f"redis+cluster://{nodes[0].address}")
            await until(lambda: not is_moving(store), "moved")
            store.configure(LIMITS)  # forgets what was refused
            refused = await outcomes(store, 1)
            status: Any = store.status()

    assert refused == [(False, "store")]
    assert (status["kind"], status["up"], status["replicas"]) == ("cluster", True, 1)
    assert set(status["servers"]) == {node.address for node in nodes}


async def test_requests_go_on_while_it_moves(redis: Redis) -> None:
    """Back and forth between two ways to one server: every request is decided, by Redis, and once."""
    ample = limits_of({"name": "ample", "rate": "24/d", "burst": 2000})
    (limit,) = ample
    other = redis.url.replace("127.0.0.1", "localhost")
    async with store_at(redis.url, ample) as store:
        asked: list[asyncio.Task[Any]] = []
        for number in range(200):
            if number % 20 == 0:
                store.adopt(StoreSettings(url=other if number % 40 == 0 else redis.url, timeout="2s"))
            asked += [asyncio.create_task(ask(store, charge(limit))) for _ in range(5)]
            await asyncio.sleep(0.002)
        decisions = await asyncio.gather(*asked)
        await until(lambda: not is_moving(store), "moved")
        last = await ask(store, charge(limit))

    assert {(decision.is_admitted, decision.via) for decision in decisions} == {(True, "store")}
    assert last.verdicts[0].remaining == 2000 - 1001


async def test_later_reload_gives_an_earlier_one_up(redis: Redis) -> None:
    """Back to where it is: the connection there is stays."""
    async with store_at(redis.url, LIMITS) as store:
        adopt(store, "redis://127.0.0.1:1")
        await until(lambda: "next" in store.status())
        adopt(store, redis.url)
        kept = await outcomes(store, 1)

        assert not is_moving(store)
        assert kept == [(True, "store")]
        assert len(connections(redis)) == 1
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_store_can_be_closed_while_it_moves(redis: Redis) -> None:
    async with store_at(redis.url, LIMITS) as store:
        adopt(store, "redis://127.0.0.1:1")

    await until(lambda: not connections(redis), "all are closed")
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_move_that_crashes_is_told_and_the_next_one_goes(caplog: pytest.LogCaptureFixture) -> None:
    """The place there is stays, until a later reload wants to go elsewhere."""
    closed = []

    class Place:
        links = ()

        def __init__(self, error: Exception | None = None) -> None:
            self._error = error

        async def start(self) -> None:
            if self._error is not None:
                raise self._error

        async def close(self) -> None:
            closed.append(self)

        def all(self) -> tuple[()]:
            return self.links

    here: Any = Place()
    broken, there = Place(ZeroDivisionError()), Place()
    left: list[bool] = []
    moves: Any = Moves(lambda move: here, lambda: left.append(True))
    moves.begin(None, broken)
    await until(lambda: not moves._going)
    moves.begin(None, there)
    await until(lambda: not moves._going)
    await moves.end()

    assert "ZeroDivisionError" in caplog.text
    assert closed == [broken, here]
    assert left == [True]


async def test_reload_that_wants_memory_stays_where_it_is(redis: Redis) -> None:
    """Other than Redis's, memory is chosen at the start."""
    async with store_at(redis.url, LIMITS) as store:
        adopt(store, "memory")

        assert not is_moving(store)
        assert await outcomes(store, 1) == [(True, "store")]
