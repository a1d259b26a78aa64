"""A config that changes while Weir runs: swapped whole between two requests, or not at all."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal

import pytest

from tests.support.messages import answer, get
from tests.support.origin import answering
from tests.support.patience import until


def limited(rate, name="one", **more):
    return {"limits": [{"name": name, "key": ["header:X-Auth-Token", "const"], "rate": rate, **more}]}


async def statuses(ask, weir, count, *lines):
    return [(await ask(weir, get(*lines))).status for _ in range(count)]


def last_reload(weir) -> tuple[float, float]:
    """Whether it was successful, and its moment."""
    metrics = weir.metrics()
    return (
        metrics.total("weir_config_last_reload_successful"),
        metrics.total("weir_config_last_reload_timestamp_seconds"),
    )


async def reloaded(weir, change):
    """Does something to the file and waits until Weir has read it."""
    before = json.dumps(weir.admin("/status").json()["config"])
    change()
    await until(lambda: json.dumps(weir.admin("/status").json()["config"]) != before, "the file is read")


def replaced(weir, changes):
    """Writes a whole new file under another name and renames it, as careful editors do."""

    def change():
        path = weir.config
        weir.config = path.with_suffix(".new")
        weir.write_config(changes)
        weir.config.rename(path)
        weir.config = path

    return change


def rewritten(weir, changes):
    return lambda: weir.write_config(changes)


@pytest.mark.parametrize("way", [replaced, rewritten], ids=["renamed", "rewritten"])
async def test_changed_file_is_followed(start_weir, start_origin, ask, connect, way):
    """A new limit applies to the next request, also on a connection that is open; nothing needs a signal."""
    origin = await start_origin()
    weir = start_weir(limited("2/m"), upstream=origin)
    wire = await connect(weir)
    await wire.send(get())
    await wire.response()
    await reloaded(weir, way(weir, limited("4/m", name="two")))
    await wire.send(get() * 5)
    seen = [await wire.response() for _ in range(5)]

    assert [r.status for r in seen] == [200] * 4 + [429]
    assert seen[4].json()["violated-policies"] == ["two"]
    assert last_reload(weir)[0] == 1


async def test_hangup_rereads_the_file(start_weir, start_origin, ask):
    """SIGHUP reads at once, changed or not."""
    origin = await start_origin()
    weir = start_weir(limited("2/m"), upstream=origin)
    first = last_reload(weir)[1]
    weir.signal(signal.SIGHUP)
    await until(lambda: last_reload(weir)[1] > first, "the unchanged file is read")
    await reloaded(weir, lambda: (weir.write_config(limited("4/m", name="two")), weir.signal(signal.SIGHUP)))

    assert await statuses(ask, weir, 5) == [200] * 4 + [429]
    assert weir.is_running


async def test_swapped_configmap_is_followed(new_weir, start_origin, ask):
    """As Kubernetes does it: the file is a link through `..data`, and `..data` is swapped for a new folder."""
    origin = await start_origin()
    weir = new_weir(limited("2/m"), upstream=origin)
    mount = weir.folder / "mount"
    generations = [mount / "..2026_01_01", mount / "..2026_01_02", mount / "..2026_01_03"]
    mount.mkdir()

    def swap(number, changes):
        generations[number].mkdir()
        weir.config = generations[number] / "weir.yaml"
        weir.write_config(changes)
        fresh = mount / "..data_tmp"
        fresh.symlink_to(generations[number].name)
        os.replace(fresh, mount / "..data")
        if number:
            shutil.rmtree(generations[number - 1])
        weir.config = mount / "weir.yaml"

    swap(0, limited("2/m"))
    weir.config.symlink_to("..data/weir.yaml")
    weir.start()
    assert await statuses(ask, weir, 3, "X-Auth-Token: a") == [200, 200, 429]
    for number, rate in ((1, 3), (2, 5)):
        await reloaded(weir, lambda: swap(number, limited(f"{rate}/m", name=f"limit-{number}")))  # noqa: B023 - awaited within the round
        assert await statuses(ask, weir, rate + 1, "X-Auth-Token: a") == [200] * rate + [429]


async def test_counters_survive(start_weir, start_origin, ask):
    """Who was refused before the reload is refused after it, and metrics go on counting."""
    origin = await start_origin()
    weir = start_weir(limited("2/m"), upstream=origin)
    assert await statuses(ask, weir, 3, "X-Auth-Token: a") == [200, 200, 429]
    await reloaded(weir, replaced(weir, {"log": {"level": "debug"}}))
    assert await statuses(ask, weir, 1, "X-Auth-Token: a") == [429]
    other = {"name": "before", "rate": "1000/s", "key": ["const"]}
    await reloaded(weir, replaced(weir, {"limits": [other, *limited("2/m")["limits"]]}))
    assert await statuses(ask, weir, 1, "X-Auth-Token: a") == [429]
    metrics, status = weir.metrics(), weir.admin("/status").json()

    assert metrics.total("weir_limit_decisions_total", limit="one", decision="admitted") == 2
    assert metrics.total("weir_limit_decisions_total", limit="one", decision="refused") == 3
    assert metrics.total("weir_requests_total") == 5
    assert (status["limits"]["one"]["admitted"], status["limits"]["one"]["refused"]) == (2, 3)


async def test_higher_rate_helps_who_is_refused(start_weir, start_origin, ask):
    """A client that bought more need not wait for its old debt at the old pace."""
    origin = await start_origin()
    weir = start_weir(limited("2/h"), upstream=origin)
    assert await statuses(ask, weir, 3) == [200, 200, 429]
    await reloaded(weir, replaced(weir, limited("600/s", burst=5)))
    await asyncio.sleep(0.05)

    assert await statuses(ask, weir, 1) == [200]


BAD_FILES = {
    "unknown name": ("limits:\n  - name: one\n    rates: 9/m\n", 3),
    "bad value": ("limits:\n  - name: one\n    rate: many\n", 3),
    "no YAML": ("limits: [\n  - oops: {\n", None),
    "empty": ("", None),
}


@pytest.mark.parametrize(("text", "line"), BAD_FILES.values(), ids=BAD_FILES.keys())
async def test_bad_file_changes_nothing(start_weir, start_origin, ask, text, line):
    """The old config stays in force; log and metric say so until the file is good again."""
    origin = await start_origin()
    weir = start_weir(limited("3/m"), upstream=origin)
    assert await statuses(ask, weir, 1, "X-Auth-Token: a") == [200]
    good = weir.config.read_text()
    weir.config.write_text(text)
    await until(lambda: last_reload(weir)[0] == 0, "the metric says that the file is bad")
    logged = await weir.logged(lambda entry: entry["level"] == "error")

    assert await statuses(ask, weir, 3, "X-Auth-Token: a") == [200, 200, 429]
    assert weir.readiness() == 200
    assert str(weir.config) in json.dumps(logged)
    if line is not None:
        assert f"weir.yaml:{line}:" in json.dumps(logged)

    await reloaded(weir, lambda: weir.config.write_text(good.replace("3/m", "4/m")))
    assert last_reload(weir)[0] == 1


async def test_file_that_is_gone_changes_nothing(start_weir, start_origin, ask):
    """Neither for the watch nor for SIGHUP."""
    origin = await start_origin()
    weir = start_weir(limited("2/m"), upstream=origin)
    weir.config.unlink()
    weir.signal(signal.SIGHUP)
    await until(lambda: last_reload(weir)[0] == 0, "the metric says that there is no good file")

    assert await statuses(ask, weir, 3) == [200, 200, 429]


NO_FILES = {
    "a pipe": (os.mkfifo, "is a pipe"),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "is a device"),
    "a directory": (lambda path: path.mkdir(), "is a directory"),
    "a hundred megabytes": (lambda path: path.write_bytes(bytes(100_000_000)), "is larger than"),
}


@pytest.mark.measured
@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("workers", [1, 2])
async def test_what_is_no_file_any_more_changes_nothing(start_weir, start_origin, ask, kind, workers):
    """In the config's place, again and again: SIGHUP is answered with a line, and Weir goes on."""
    make, said = NO_FILES[kind]
    origin = await start_origin()
    weir = start_weir(limited("2/m") if workers == 1 else {"workers": workers}, upstream=origin)
    text = weir.config.read_text()
    weir.config.unlink()
    make(weir.config)
    for _ in range(5):
        weir.signal(signal.SIGHUP)
    line = await weir.logged(lambda line: line["event"] == "reload_refused")
    if weir.config.is_dir():
        weir.config.rmdir()
    else:
        weir.config.unlink()
    await reloaded(weir, lambda: weir.config.write_text(text.replace("2/m", "4/m") + "# again\n"))

    assert said in line["mistakes"][0]
    if workers == 1:  # several count in Redis
        assert await statuses(ask, weir, 5) == [200] * 4 + [429]


@pytest.mark.parametrize("workers", [1, 2])
async def test_large_file_holds_up_nobody(start_weir, start_origin, ask, workers):
    """It is read and judged beside what runs: one of a megabyte takes a second or more."""
    origin = await start_origin()
    weir = start_weir({"workers": workers, "contract": {"known_paths": ["/"]}}, upstream=origin)
    paths = [f"/a/{number:040}" for number in range(17_000)]
    text = weir.config.read_text().replace("known_paths:", "known_paths:\n  - " + "\n  - ".join(paths))
    await ask(weir, get())
    weir.config.write_text(text + "x: 1\n")  # wrong in its last line only
    slowest = 0.0
    while last_reload(weir)[0] == 1:
        begun = asyncio.get_running_loop().time()
        await ask(weir, get())
        slowest = max(slowest, asyncio.get_running_loop().time() - begun)

    assert slowest < 0.3


async def test_changed_secret_is_followed(start_weir, start_origin, new_weir):
    """The file that the config refers to is watched as it is itself."""
    origin = await start_origin()
    weir = new_weir({"admin": {"token": "file:token"}}, upstream=origin)
    (weir.folder / "token").write_text("one")
    weir.write_config()
    weir.launch()
    await weir.logged(lambda line: line["event"] == "serving")
    (weir.folder / "token").write_text("two")

    def status_by(token: str) -> int:
        return weir.admin("/status", headers={"Authorization": f"Bearer {token}"}).status

    await until(lambda: status_by("two") == 200, "the new token opens")

    assert status_by("one") == 401


async def test_running_requests_are_unharmed(start_weir, start_origin, connect, ask):
    """Those under way end as they began, at the server they went to; new ones go to the new server."""
    may_answer = asyncio.Event()

    async def slow(visit):
        request = await visit.request_head()
        await visit.send(answer(200, b"", "Content-Length: 10", length=False) + b"first")
        await may_answer.wait()
        await visit.request_body(request)
        await visit.send(request.body)

    old, new = await start_origin(slow), await start_origin(answering(answer(200, b"new")))
    weir = start_weir(limited("100/s"), upstream=old)
    wire = await connect(weir)
    await wire.send(get("Content-Length: 5", method="POST") + b"sec")
    await wire.until(b"first")
    await reloaded(
        weir, replaced(weir, {"upstream": {"servers": [new.url]}, **limited("1/h", name="strict")})
    )
    after = await ask(weir, get())
    refused = await ask(weir, get())
    await wire.send(b"nd")
    may_answer.set()

    assert await wire.exactly(5) == b"secnd"
    assert (after.status, after.body) == (200, b"new")
    assert refused.status == 429
    assert len(old.visits) == len(new.visits) == 1


async def test_many_reloads_under_load_lose_no_request(start_weir, start_origin, connect):
    """Twenty reloads while requests go on: every one is answered, by one config or the other."""
    origin = await start_origin()
    weir = start_weir(limited("1000000/s"), upstream=origin)
    seen = []

    async def load(wire):
        while True:
            await wire.send(get())
            response = await wire.response()
            seen.append((response.status, response.value("RateLimit-Policy").split(b";")[0]))

    loads = [asyncio.create_task(load(await connect(weir))) for _ in range(4)]
    for number in range(20):
        before, answered = last_reload(weir)[1], len(seen)
        weir.write_config(limited("1000000/s", name="other" if number % 2 else "one"))
        weir.signal(signal.SIGHUP)
        await until(lambda: last_reload(weir)[1] != before, "a reload")  # noqa: B023 - awaited within the round
        await until(lambda: len(seen) > answered + 8, "answers")  # noqa: B023 - awaited within the round
    for task in loads:
        task.cancel()
    ends = await asyncio.gather(*loads, return_exceptions=True)

    assert all(isinstance(end, asyncio.CancelledError) for end in ends), ends
    assert set(seen) == {(200, b'"one"'), (200, b'"other"')}


async def test_what_needs_a_restart_says_so(start_weir, start_origin, ask):
    """A new address to listen on is not silently ignored; the rest of the file applies."""
    origin = await start_origin()
    weir = start_weir(limited("5/m"), upstream=origin)
    listen = weir.settings["listen"]
    await reloaded(weir, replaced(weir, {"listen": "127.0.0.1:1", **limited("1/m", name="new")}))
    warning = await weir.logged(lambda line: line["level"] == "warning")

    assert "listen" in json.dumps(warning)
    assert await statuses(ask, weir, 2) == [200, 429]
    assert listen.endswith(str(weir.port))


async def test_other_secret_of_keys_opens_no_new_buckets(new_weir, start_origin, ask):
    """It waits for a restart; a reload that brings it changes nobody's bucket."""
    weir = new_weir({"store": {"key_secret": "file:secret"}, **limited("2/h")}, upstream=await start_origin())
    (weir.folder / "secret").write_text("first-7Hq29vKx")
    weir.write_config()
    weir.launch()
    await weir.logged(lambda line: line["event"] == "serving")
    before = await statuses(ask, weir, 2)
    await reloaded(weir, lambda: (weir.folder / "secret").write_text("second-8Jr30wLy"))
    warning = await weir.logged(lambda line: line["event"] == "restart_needed")
    await reloaded(weir, rewritten(weir, limited("3/h")))
    after = await statuses(ask, weir, 2)

    assert "store.key_secret" in warning["settings"]
    assert before + after == [200, 200, 200, 429]


async def test_log_file_is_reopened(start_weir, start_origin, ask, tmp_path):
    """After logrotate has moved it, SIGHUP opens a new one and no line is lost."""
    origin = await start_origin()
    path = tmp_path / "access.log"
    rotating = start_weir({"log": {"access": str(path)}}, upstream=origin)
    await ask(rotating, get(target="/one"))
    await until(lambda: path.exists() and b"/one" in path.read_bytes(), "the first line is written")
    moved = path.rename(path.with_suffix(".1"))
    before = last_reload(rotating)[1]
    rotating.signal(signal.SIGHUP)
    await until(lambda: last_reload(rotating)[1] > before, "the reload")
    await ask(rotating, get(target="/two"))
    await until(lambda: path.exists() and b"/two" in path.read_bytes(), "the second line is in the new file")

    assert b"/two" not in moved.read_bytes()
