"""Keys of plans in files of their own."""

from __future__ import annotations

import os
from hashlib import sha256

import pytest

from proxy.config.loader import Config, ConfigError, config_hash
from proxy.config.plan_keys import key_hash
from tests.support.cost import cpu_seconds

TEXT = """
upstream: {servers: ["http://a"]}
plans: [{name: big, rate: 9/s, keys_file: keys.txt}]
"""
ADA, BOB = key_hash("ada"), key_hash("bob")


def read(tmp_path, data):
    (tmp_path / "keys.txt").write_bytes(data if isinstance(data, bytes) else data.encode())
    return Config(TEXT, str(tmp_path / "weir.yaml")).settings


def mistake(tmp_path):
    with pytest.raises(ConfigError) as caught:
        Config(TEXT, str(tmp_path / "weir.yaml"))
    assert list(caught.value.files) == [tmp_path / "keys.txt"]
    (found,) = caught.value.mistakes
    return str(found)


@pytest.mark.parametrize(
    "data",
    [
        f"{ADA}\n{BOB}",
        f"{ADA}\r\n{BOB}\r\n",
        f"\ufeff{ADA}\r\n{BOB}\r\n",
        f"# ours\n\n  {ADA}  # ada\n{BOB.upper().replace('SHA', 'sha')}\n{ADA}\n",
    ],
)
def test_file_holds_one_key_a_line(tmp_path, data):
    """White space, comments, empty lines and letters' case make no difference; once or twice neither."""
    keys = read(tmp_path, data).plan_keys

    assert [keys.bits_of(name) for name in (b"ada", b"bob", b"eve")] == [1, 1, 0]


@pytest.mark.parametrize(
    ("data", "line"),
    [(f"{ADA}\nsecret-token\n", 2), (f"{ADA[:-1]}\n", 1), (f"{ADA}{BOB}", 1), (b"\xff\xfe\n", 1)],
    ids=["a token", "half written", "two", "no text"],
)
def test_line_that_is_no_key_is_told_and_not_shown(tmp_path, data, line):
    (tmp_path / "keys.txt").write_bytes(data if isinstance(data, bytes) else data.encode())
    told = mistake(tmp_path)

    assert f"plans[0].keys_file: {tmp_path}/keys.txt: line {line} is not sha256:" in told
    assert "secret-token" not in told


def test_file_that_cannot_be_read_is_told(tmp_path):
    assert "no such file" in mistake(tmp_path)
    (tmp_path / "keys.txt").mkdir()
    assert "is a directory" in mistake(tmp_path)
    (tmp_path / "keys.txt").rmdir()
    os.mkfifo(tmp_path / "keys.txt")
    assert "is a pipe" in mistake(tmp_path)


def test_file_of_any_size_is_read_up_to_a_bound(tmp_path):
    """It has holes, and would be 2 GiB."""
    with (tmp_path / "keys.txt").open("wb") as file:
        file.truncate(2 << 30)

    assert "is larger than 33554432 bytes" in mistake(tmp_path)


def test_look_up_takes_the_same_time_for_a_hundred_thousand_keys(tmp_path):
    lines = [f"sha256:{sha256(b'%d' % n).hexdigest()}" for n in range(100_000)]
    few, many = read(tmp_path, "\n".join(lines[:10])).plan_keys, read(tmp_path, "\n".join(lines)).plan_keys

    def look_up(keys):
        for n in range(0, 2000):
            keys.bits_of(b"%d" % n)

    def seconds(keys):
        return min(cpu_seconds(lambda: look_up(keys)) for _ in range(20))

    assert len(many) == 100_000
    assert seconds(many) < 3 * seconds(few)


def test_changed_file_is_another_config(tmp_path):
    """Also where its size is the same, for /status and for replicas that compare themselves."""
    hashes = [config_hash(read(tmp_path, data)) for data in (ADA, BOB, f"{ADA}\n{BOB}", f"{BOB}\n{ADA}")]

    assert len(set(hashes)) == 3
    assert hashes[2] == hashes[3]
    assert read(tmp_path, ADA) != read(tmp_path, BOB)
