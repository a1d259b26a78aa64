"""Plans, costs and limits that are tried on some, through the running gateway."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from proxy.config.plan_keys import key_hash
from tests.e2e.test_reload import reloaded
from tests.support.messages import get, post
from tests.support.patience import until

TOKEN = "partner-token"
LIMIT = {"name": "per-user", "key": ["header:Authorization", "client-ip"], "rate": "2/h", "plans": ["big"]}


def planned(**plan):
    return {"limits": [LIMIT], "plans": [{"name": "big", "rate": "5/h", **plan}]}


def bearer(token=TOKEN):
    return f"Authorization: Bearer {token}"


async def passed(ask, weir, count, *lines):
    return [(await ask(weir, get(*lines))).status for _ in range(count)].count(200)


async def test_partner_has_the_rate_of_its_plan(start_weir, start_origin, ask):
    """The others have the limit's; the plan and whose buckets were charged are in the log."""
    weir = start_weir(planned(keys=[key_hash(TOKEN)]), upstream=await start_origin())
    told = (await ask(weir, get(bearer()))).value("RateLimit-Policy")

    assert told == b'"per-user";q=5;w=3600'
    assert await passed(ask, weir, 6, bearer()) == 4
    assert await passed(ask, weir, 4, bearer("other")) == 2
    await until(lambda: len(weir.access_lines()) == 11, "the log is written")
    partner, *_, other = weir.access_lines()
    assert (partner["plan"], "plan" in other) == ("big", False)
    assert list(partner["keys"]) == ["per-user"]
    assert len(partner["keys"]["per-user"]) == 16
    assert partner["keys"] != other["keys"]
    assert TOKEN not in weir.access_text()
    assert weir.admin("/status").json()["plans"] == [
        {"name": "big", "rate": "5/h", "burst": "5", "keys": "1"}
    ]


async def test_keys_file_is_followed_and_taken_whole(start_weir, start_origin, ask, tmp_path):
    """What was spent stays spent; a file that is half written changes nothing and is told."""
    keys = tmp_path / "keys.txt"
    keys.write_text("# nobody yet\n")
    weir = start_weir(planned(keys_file=str(keys)), upstream=await start_origin())
    before = await passed(ask, weir, 3, bearer())
    await reloaded(weir, lambda: keys.write_text(f"{key_hash(TOKEN)}\n"))
    after = await passed(ask, weir, 4, bearer())

    assert (before, after) == (2, 3)
    keys.write_text(f"{key_hash(TOKEN)}\n{key_hash('other')[:-9]}")
    await until(
        lambda: weir.metrics().total("weir_config_last_reload_successful") == 0, "the reload is refused"
    )
    await until(lambda: "line 2 is not sha256:" in weir.log_text(), "it is told")
    assert weir.admin("/status").json()["plans"][0]["keys"] == "1"
    keys.unlink()
    await until(lambda: "no such file" in weir.log_text(), "it is told that the file is gone")
    await reloaded(weir, lambda: keys.write_text(f"{key_hash(TOKEN)}\n{key_hash('other')}\n"))
    assert weir.admin("/status").json()["plans"][0]["keys"] == "2"


def of_two_gigabytes(keys):
    """It has holes."""
    beside = keys.with_suffix(".new")
    with beside.open("wb") as file:
        file.truncate(2 << 30)
    beside.rename(keys)


def as_a_folder(keys):
    keys.unlink()
    keys.mkdir()


def as_a_pipe(keys):
    """Which nobody writes to: to open it would wait for ever."""
    keys.unlink()
    os.mkfifo(keys)


BAD_FILES = [
    (of_two_gigabytes, "is larger than 33554432 bytes"),
    (as_a_folder, "is a directory"),
    (as_a_pipe, "is a pipe"),
    (lambda keys: keys.write_bytes(b"\0" * 100), "line 1 is not sha256:"),
    (lambda keys: keys.write_bytes(os.urandom(5_000_000)), "is not sha256:"),
]


@pytest.mark.parametrize(("replace", "told"), BAD_FILES, ids=["2 GB", "folder", "pipe", "holes", "garbage"])
async def test_bad_keys_file_changes_nothing_and_is_told(
    start_weir, start_origin, ask, tmp_path, replace, told
):
    keys = tmp_path / "keys.txt"
    keys.write_text(f"{key_hash(TOKEN)}\n")
    weir = start_weir(planned(keys_file=str(keys)), upstream=await start_origin())
    replace(keys)
    await until(
        lambda: weir.metrics().total("weir_config_last_reload_successful") == 0, "the reload is refused"
    )
    await until(lambda: told in weir.log_text(), "it is told")

    assert weir.admin("/status").json()["plans"][0]["keys"] == "1"
    assert await passed(ask, weir, 7, bearer()) == 5
    assert weir.metrics().total("process_resident_memory_bytes") < 200 * 2**20


async def test_dear_requests_take_more(start_weir, start_origin, ask):
    costs = [{"match": {"methods": ["POST"]}, "cost": 5}, {"cost": 1}]
    limit = {"name": "a", "key": ["const"], "rate": "7/h", "cost": costs}
    weir = start_weir({"limits": [limit]}, upstream=await start_origin())
    seen = [await ask(weir, post()) for _ in range(2)]
    seen += [await ask(weir, get()) for _ in range(3)]

    assert [answer.status for answer in seen] == [200, 429, 200, 200, 429]
    assert seen[0].value("RateLimit") == b'"a";r=2;t=515'


async def test_limit_is_tried_on_some(start_weir, start_origin, ask):
    """Who is not among them is told nothing, and counted as what would have been refused."""
    limit = {"name": "a", "key": ["header:X-Key"], "rate": "1/h", "enforce": "50%"}
    weir = start_weir({"limits": [limit]}, upstream=await start_origin())
    seen = {n: [await ask(weir, get(f"X-Key: k{n}")) for _ in range(2)] for n in range(20)}
    refused = [n for n, (_, second) in seen.items() if second.status == 429]
    spared = [n for n in seen if n not in refused]

    assert 2 <= len(refused) <= 18
    assert all(seen[n][1].status == 200 and seen[n][1].value("RateLimit") is None for n in spared)
    metrics = weir.metrics()
    assert metrics.total("weir_limit_decisions_total", decision="refused") == len(refused)
    assert metrics.total("weir_limit_decisions_total", decision="shadow_refused") == len(spared)


@pytest.mark.measured
def test_weir_hash_prints_what_plans_name_keys_by():
    """From standard input too, where no shell keeps it."""

    def run(*args, text=""):
        return subprocess.run(
            [sys.executable, "-m", "proxy", "hash", *args],
            input=text,
            capture_output=True,
            text=True,
            check=False,
        )

    assert run(TOKEN).stdout == run(text=f"{TOKEN}\r\n").stdout == f"{key_hash(TOKEN)}\n"
    assert run("::ffff:192.0.2.7").stdout == run("192.0.2.7").stdout
    assert run(TOKEN).stderr == ""
    schemed = run(f"Bearer {TOKEN}")
    assert (schemed.stdout, schemed.stderr) == (f"{key_hash(TOKEN)}\n", "")
    unclear = run("Basic =")
    assert (unclear.returncode, unclear.stdout) == (2, "")
    nothing = run(text="\n")
    assert (nothing.returncode, nothing.stdout) == (2, "")
    assert "nothing to hash" in nothing.stderr
