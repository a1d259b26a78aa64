"""What is said of records and keys in one place, and that the scripts are told the same."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import proxy
from proxy.config.units import Rate
from proxy.limiter.overrides import Override
from proxy.limiter.records import (
    SHARDS,
    Names,
    debt_in,
    lua_constants,
    pack_announcement,
    pack_change,
    pack_count,
    pack_note,
    pack_operation,
    pack_override,
    pack_replica,
    pack_reset,
    pack_shared,
    packer,
    read_note,
    read_override,
    shard_of,
    shard_tag,
)
from proxy.policy.keys import KEY_BYTES
from tests.limiter.asking import limit_of

if TYPE_CHECKING:
    from tests.support.redis_servers import Redis

SCRIPTS = Path(proxy.__file__).parent / "limiter"
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


KEY = b":: " + bytes(range(13))
REPLICA = pack_replica(b"0123456789abcdef", b"none")
NOTE = pack_note("per-user", KEY)
BLOCK = pack_override(("per-user", KEY), Override(0))
WORDS = {
    "REPLICA": (REPLICA, [b"0123456789abcdef", b"none"]),
    "ANNOUNCEMENT": (pack_announcement(5_000_000, 17, REPLICA), [b"5000000", b"17", REPLICA]),
    "RESET": (pack_reset(3_600_000, NOTE), [b"3600000", NOTE]),
    "CHANGE": (pack_change(9, len(NOTE), BLOCK), [b"9", b"%d" % len(NOTE), BLOCK]),
    "SHARED": (pack_shared(500, 86_400, 0, KEY + KEY), [b"500", b"86400", b"0", KEY + KEY]),
}


@pytest.mark.parametrize("name", WORDS)
def test_lua_takes_apart_what_python_puts_together(name: str, shared_redis: Redis) -> None:
    words, parts = WORDS[name]
    lua = lua_constants() + f"return {{ARGV[1]:match({name})}}"

    assert shared_redis.client().eval(lua, 0, words) == parts


@pytest.mark.parametrize("key", [b"", KEY])
def test_note_is_read_as_it_was_packed(key: bytes) -> None:
    assert read_note(pack_note("per-user", key)) == ("per-user", key)


@pytest.mark.parametrize(
    "override", [Override(7), Override(7, Rate(5, 60_000_000), 9)], ids=["block", "grant"]
)
def test_override_is_read_as_it_was_packed(override: Override) -> None:
    assert read_override(pack_override(("per-user", KEY), override), 7) == (("per-user", KEY), override)


@pytest.mark.parametrize(
    "words",
    [
        b"",
        b"grant",
        b"grant 1/1000000",
        b"grant 0/1000000 5",
        b"grant 5/0 5",
        b"grant 5/17 5",
        b"grant 1/1000000 0",
    ]
    + [b"grant 9999999999/1000000 5", b"grant 1/86400000000 1000000000", b"grant -1/1000000 5", b"block\n"],
)
def test_override_that_no_weir_wrote_is_none(words: bytes) -> None:
    assert read_override(b"per-user:" + KEY + words, 1) is None


def test_override_of_a_key_with_a_colon_is_read() -> None:
    key = b":" * 16

    assert read_override(b"a:" + key + b"block", 5) == (("a", key), Override(5))


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.lua")), ids=lambda path: path.name)
def test_no_script_has_a_layout_of_its_own(script: Path) -> None:
    """A format, a pattern or a member in a script would be a second owner."""
    lua = script.read_text()

    assert not re.search(r"""['"][<^]""", lua)
    assert "'kept'" not in lua


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


def test_bucket_written_by_a_clock_that_went_back_is_read_as_of_now() -> None:
    """Else it would be closed for as long; only an emptied one is, and only where a limit is emptied."""
    terms = limit_of("1/s", burst=9, on_upstream_429="drain").terms
    debt = 4 * terms.interval
    record = b"".join(
        value.to_bytes(size, "little")
        for value, size in ((3_600_000_000, 7), (debt, 7), (terms.interval, 5), (terms.scale, 4))
    )

    assert debt_in(record + b"\0" * 5, terms, 1_000_000) == debt
    assert debt_in(record + b"\0" * 5, terms, 3_602_000_000) == debt - 2 * terms.interval
    assert debt_in(record + b"\1" + b"\0" * 4, terms, 3_599_000_000) > debt
