"""What is said of records and keys in one place, and that the scripts are told the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from proxy.limiter.batch import SCRIPT
from proxy.limiter.records import (
    KEY_BYTES,
    SHARDS,
    Names,
    lua_constants,
    pack_count,
    pack_operation,
    packer,
    shard_of,
    shard_tag,
)
from proxy.limiter.resets import RESET
from proxy.limiter.settling import SETTLE

if TYPE_CHECKING:
    from tests.support.redis_servers import Redis

RECORDS = {
    "HEAD": (1.7e15, 2.0**40 - 1, 1.7e15, 1),
    "RUN": (512, 2, 3),
    "CHARGE": (200_000.0, 3.0, 200_000.0, 3e6, 4e6, 1),
    "SETTLED": (200_000.0, 3.0, 3e6, 4e6, 7.0, 9.0, 5.0, 2.0**40 - 1, 1.7e15),
}


@pytest.mark.parametrize("name", RECORDS)
def test_lua_reads_what_python_packs(name: str, shared_redis: Redis) -> None:
    values = RECORDS[name]
    record = packer(name)
    lua = (
        lua_constants()
        + f"local read = {{struct.unpack({name}, ARGV[1])}} "
        + ("for i, value in ipairs(read) do read[i] = string.format('%.17g', value) end return read")
    )
    *read, after = shared_redis.client().eval(lua, 0, record.pack(*values))

    assert tuple(float(each) for each in read) == values
    assert int(after) == record.size + 1


def test_run_is_packed_in_two_pieces() -> None:
    assert pack_count(512) + pack_operation(2, 3) == packer("RUN").pack(512, 2, 3)


def test_no_script_has_a_layout_of_its_own() -> None:
    """A format in a script would be a second owner."""
    for script in (SCRIPT, SETTLE, RESET):
        lua = script.source.decode().removeprefix(lua_constants())

        assert "'<" not in lua
        assert '"<' not in lua


def test_names_of_a_prefix_are_its_own() -> None:
    """Whatever it is, and for all that is kept."""
    key = bytes(range(KEY_BYTES))

    def all_of(prefix: str) -> set[bytes]:
        names = Names(prefix)
        rest = {each(3) for each in (names.replicas, names.resets, names.rehearsal)}
        return rest | {names.bucket(limit, 3, key) for limit in ("a", "replicas", "resets")}

    one, other = all_of("weir"), all_of("weir-2")

    assert len(one) == len(other) == 6
    assert not one & other
    assert all(name.startswith(b"weir:") and shard_tag(3) in name for name in one)


def test_every_key_has_one_of_the_shards() -> None:
    assert {shard_of(bytes([first]) * KEY_BYTES) for first in range(256)} == set(range(SHARDS))
