"""The model of Redis says what a real one says: to the commands that scripts call, and to the scripts themselves."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.limiter.override_notes import SCRIPT as OVERRIDES
from proxy.limiter.proven import SHARING
from proxy.limiter.records import Names
from proxy.limiter.scripts import key_prefix
from proxy.policy.keys import KEY_BYTES
from tests.simulation import fleet, simulation, slots, world
from tests.simulation.mirrors import Mirrored, Server
from tests.simulation.redis_model import commands
from tests.support.redis_servers import Redis, running

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from proxy.limiter.scripts import Script

pytestmark = pytest.mark.unmeasured

NOW_US = 1_800_000_000_000_000
KEYS = (b"one", b"two")
MEMBERS = (b"a", b"b", b"c", b"d", b"e")
SCORES = (b"0", b"1", b"2.5", b"-3", b"1800000000000000", b"4")
LOWS = (b"-inf", b"0", b"1", b"(1", b"2.5", b"(2.5", b"1800000000000000", b"(1800000000000000")
HIGHS = (b"+inf", b"0", b"1", b"2.5", b"4", b"1800000000000000")
RANKS = (b"0", b"1", b"2", b"-1", b"-2", b"-3", b"-6", b"-100")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    redis = Redis(tmp_path_factory.mktemp("redis"))
    with running(redis):
        server = Server(redis)
        yield server
        server.close()


def _words(*parts: bytes | tuple[bytes, ...]) -> st.SearchStrategy[list[bytes]]:
    """Of each tuple one."""
    return st.tuples(
        *(st.just(part) if isinstance(part, bytes) else st.sampled_from(part) for part in parts)
    ).map(list)


COMMANDS = st.one_of(
    _words(b"GET", KEYS),
    _words(b"SET", KEYS, MEMBERS, b"PX", b"600000"),
    _words(b"DEL", KEYS),
    _words(b"DEL", *[KEYS] * 2),
    _words(b"ZCARD", KEYS),
    _words(b"ZADD", KEYS, SCORES, MEMBERS),
    _words(b"ZADD", KEYS, SCORES, MEMBERS),
    _words(b"ZREM", KEYS, MEMBERS),
    _words(b"ZREMRANGEBYSCORE", KEYS, LOWS, HIGHS),
    _words(b"ZREMRANGEBYRANK", KEYS, RANKS, RANKS),
    _words(b"ZRANGEBYSCORE", KEYS, LOWS, HIGHS),
    _words(b"ZRANGEBYSCORE", KEYS, LOWS, HIGHS, b"LIMIT", (b"0", b"1"), (b"1", b"3")),
    _words(b"ZRANGEBYSCORE", KEYS, LOWS, HIGHS, b"WITHSCORES"),
    _words(b"ZRANGEBYSCORE", KEYS, LOWS, HIGHS, b"WITHSCORES", b"LIMIT", b"0", (b"1", b"3")),
    _words(b"PEXPIRE", KEYS, b"600000"),
)

# How a script hands on what a command says, also in pieces, and as an error.
PASSED_ON = (
    b"return redis.call(unpack(ARGV))",
    b"return {redis.call(unpack(ARGV)), 7}",
    b"local found = redis.pcall(unpack(ARGV)) return type(found) == 'table' and found.err and 1 or 0",
)


@settings(max_examples=150, deadline=None)
@given(calls=st.lists(COMMANDS, min_size=1, max_size=30))
def test_commands_are_answered_as_by_redis(calls: list[list[bytes]], server: Server) -> None:
    model = Mirrored(lambda: NOW_US, server)
    for words in calls:
        model.run(words)
    model.compare()


@settings(max_examples=60, deadline=None)
@given(calls=st.lists(st.tuples(st.sampled_from(PASSED_ON), COMMANDS), min_size=1, max_size=15))
def test_commands_are_answered_in_scripts_as_by_redis(
    calls: list[tuple[bytes, list[bytes]]], server: Server
) -> None:
    model = Mirrored(lambda: NOW_US, server)
    for source, words in calls:
        server_words = [b"EVAL", source.replace(b"ARGV", b"KEYS"), b"%d" % len(words), *words, b""]
        model.run(server_words)
    model.compare()


@pytest.mark.parametrize(
    "source",
    [
        b"return {1.9, -1.9, 3, 'x', nil, 5}",
        b"return {1, {2, {3}}, {}}",
        b"return {true, 1}",
        b"return true",
        b"return false",
        b"return nil",
        b"return 2.99",
        b"return {9007199254740992, -9007199254740992}",
        b"return redis.call('GET', 'nothing')",
        b"return string.format('%.0f', 1800000000000000)",
        b"return struct.pack('<I7I7I5I4I5', 1800000000000000, 5, 66667, 1000, 65537)",
        b"return {struct.unpack('<I2I1I1d', struct.pack('<I2I1I1d', 515, 4, 255, 0.1))}",
        b"return struct.pack('<dddddI1', 1, 2.5, 2^53, -1, 0, 6)",
    ],
)
def test_values_of_scripts_are_told_as_by_redis(source: bytes, server: Server) -> None:
    Mirrored(lambda: NOW_US, server).run([b"EVAL", source, b"0", b""])


@pytest.mark.parametrize(("run", "seeds"), [(simulation.run, 12), (slots.run, 3), (fleet.run, 4)])
def test_all_that_the_simulation_asks_is_answered_as_by_redis(
    run: Callable[[int], list[str]], seeds: int, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All scripts, as stores call them while things go wrong."""
    models: list[Mirrored] = []

    def mirrored(now_us: Callable[[], int]) -> Mirrored:
        models.append(Mirrored(now_us, server))
        return models[-1]

    monkeypatch.setattr(world, "Model", mirrored)
    for seed in range(seeds):
        run(seed)
        models[-1].compare()

    assert sum(model.calls for model in models) > 100 * seeds


def _call(model: Mirrored, script: Script, key: bytes, argument: bytes) -> None:
    reader = commands()
    reader.feed(script.full_call([key_prefix(key, 0)], argument))
    model.run(reader.gets())


@pytest.mark.parametrize("seed", range(20))
def test_what_is_shared_is_told_as_by_redis(seed: int, server: Server) -> None:
    """Proven credentials and overrides, also with a clock that goes back."""
    random, moment = Random(seed), [NOW_US]
    model = Mirrored(lambda: moment[0], server)
    names = Names("weir")
    for _ in range(60):
        moment[0] += random.choice([0, 1, 1000, 500_000, 3_000_000, -2_000_000])
        key = bytes([random.randrange(8)]) * KEY_BYTES
        if random.random() < 0.5:
            news = b"".join([key, bytes(KEY_BYTES)][: random.randrange(3)])
            since = moment[0] - random.choice([0, 1000, 5_000_000, -10, moment[0]])
            _call(
                model,
                SHARING,
                names.proven(0),
                b"%d 600000 %d %b" % (random.choice([1, 3, 100]), since, news),
            )
        else:
            place = b"own:" + key
            lifetime = random.choice([0, 1_000_000, 5_000_000])
            change = b"%d %d %bblock" % (lifetime, len(place), place)
            _call(model, OVERRIDES, names.overrides(0), random.choice([change, b"0 0 "]))
    model.compare()
