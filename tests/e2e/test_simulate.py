"""`weir simulate` as typed: what it prints, its exit codes, and logs that are no good."""

from __future__ import annotations

import gzip
import json
import os
import random
import subprocess
import sys

import pytest

from tests.support.messages import get
from tests.support.weir import ROOT, environment, run

CONFIG = 'upstream: {servers: ["http://a"]}\nlimits: [{name: per-user, key: ["header:X-Auth-Token", client-ip], rate: 2/s}]\n'


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text(CONFIG)
    return str(path)


def line(at=0.0, client="192.0.2.1", token="-", target="/a"):
    """Of nginx, with the token as a tenth column."""
    second = f"01/Jan/2026:00:{int(at) // 60:02}:{int(at) % 60:02} +0000"
    return f'{client} - - [{second}] "GET {target} HTTP/1.1" 200 5 "-" "curl" "{token}"\n'


def log(tmp_path, text, name="access.log"):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def simulated(*arguments, **options):
    done = run("simulate", *arguments, "--json", **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_report_has_what_was_asked(tmp_path, config):
    """Five at once where two are allowed: three are refused, in a row."""
    text = "".join([*(line(0, token="ann") for _ in range(5)), line(0, token="ben"), line(9, token="ann")])
    found = simulated(config, log(tmp_path, text), "--key-field", "10")
    (limit,) = found["limits"]

    assert (found["requests"], found["skipped"]) == (7, 0)
    assert (found["from"], found["to"]) == ("2026-01-01T00:00:00.000Z", "2026-01-01T00:00:09.000Z")
    assert (limit["name"], limit["matched"], limit["refused"], limit["keys"], limit["waited"]) == (
        "per-user",
        7,
        3,
        2,
        0,
    )
    assert limit["refused_share"] == pytest.approx(3 / 7, abs=1e-6)
    (key,) = limit["limited"]
    assert (key["requests"], key["refused"], key["longest_run"]) == (6, 3, 3)
    assert limit["refuses_nobody"] == {"rate": "1/s", "burst": 5}
    assert limit["refuses_one_in_thousand"] == {"rate": "1/s", "burst": 5}


def test_those_who_would_wait_are_counted(tmp_path):
    """Two pass, two wait for a second and two, the last would wait too long."""
    config = tmp_path / "patient.yaml"
    settings = "{name: per-user, rate: 1/s, burst: 2, max_wait: 2s, key: [header:X-Auth-Token, client-ip]}"
    config.write_text(f"upstream: {{servers: [http://127.0.0.1:1]}}\nlimits: [{settings}]\n")
    text = "".join([*(line(0, token="ann") for _ in range(5)), line(9, token="ann")])
    (limit,) = simulated(str(config), log(tmp_path, text), "--key-field", "10")["limits"]

    assert (limit["matched"], limit["waited"], limit["refused"]) == (6, 2, 1)


@pytest.mark.measured
def test_limit_on_concurrency_is_passed_over_and_said_so(tmp_path):
    """The other limits are replayed as if it were not there."""
    config = tmp_path / "both.yaml"
    limits = "[{name: few, rate: 1/m, key: client-ip}, {name: at-once, concurrency: 1, key: client-ip}]"
    config.write_text(f"upstream: {{servers: [http://127.0.0.1:1]}}\nlimits: {limits}\n")
    found = simulated(str(config), log(tmp_path, "".join(line(number) for number in range(3))))

    assert [limit["name"] for limit in found["limits"]] == ["few"]
    assert found["limits"][0]["refused"] == 2
    assert any("at-once is passed over" in note for note in found["notes"])


@pytest.mark.measured
def test_what_is_proposed_refuses_nobody(tmp_path, config):
    """Written into the config, and a little less of it refuses somebody."""
    random.seed(1)
    at = 0.0
    rows = ["time,client,token"]
    for _ in range(3000):
        at += random.expovariate(20)
        rows.append(f"{1767225600 + at:.6f},192.0.2.{random.randrange(3)},u{int(random.paretovariate(1))}")
    path = log(tmp_path, "\n".join(rows))
    (limit,) = simulated(config, path, "--key-field", "token")["limits"]
    nobody, few = limit["refuses_nobody"], limit["refuses_one_in_thousand"]

    def refused(rate, burst):
        other = tmp_path / "other.yaml"
        other.write_text(CONFIG.replace("rate: 2/s", f"rate: {rate}, burst: {burst}"))
        return simulated(str(other), path, "--key-field", "token")["limits"][0]["refused"]

    assert limit["refused"] > 3
    assert refused(nobody["rate"], nobody["burst"]) == 0
    assert refused(nobody["rate"], nobody["burst"] - 1) > 0
    assert refused(f"{int(nobody['rate'][:-2]) - 1}/s", nobody["burst"]) > 0
    assert refused(few["rate"], few["burst"]) <= 3
    assert refused(few["rate"], few["burst"] - 1) > 3


@pytest.mark.measured
def test_text_tells_the_same(tmp_path, config):
    done = run("simulate", config, log(tmp_path, line(0) * 5 + "garbage\n"))

    assert done.returncode == 0
    assert "5 requests of 1 log" in done.stdout
    assert "refuses 3 of 5 requests (60.0%), of 1 key among 1" in done.stdout
    assert "nobody would be refused from 1/s with a burst of 5 on" in done.stdout
    assert "1 line skipped: 1 not a line of a combined log" in done.stdout
    assert "has times in whole seconds" in done.stdout
    assert "per-user: " in done.stdout  # which keys this log does not tell
    assert done.stderr == ""


@pytest.mark.measured
def test_two_configs_are_compared(tmp_path, config):
    other = tmp_path / "other.yaml"
    other.write_text(CONFIG.replace("2/s", "4/s"))
    path = log(tmp_path, line(0) * 5)
    found = simulated(config, path, "--against", str(other))
    done = run("simulate", config, path, "--against", str(other))

    assert found["limits"][0]["refused"] == 3
    assert found["against"]["limits"][0]["refused"] == 1
    assert [word for word in done.stdout.splitlines()[-1].split() if word] == ["per-user", "3", "1", "-2"]


@pytest.mark.measured
@pytest.mark.parametrize("way", ["gzip", "stdin", "several"])
def test_logs_come_as_they_lie(tmp_path, config, way):
    first, second = line(0) * 3, line(1) * 3
    if way == "gzip":
        paths = [log(tmp_path, gzip.compress((first + second).encode(), mtime=0), "access.log.1.gz")]
    elif way == "several":  # the newer first, as a shell sorts them
        paths = [log(tmp_path, second, "access.log"), log(tmp_path, first, "access.log.1")]
    else:
        paths = ["-"]
    with open(log(tmp_path, first + second, "piped")) as piped:
        found = simulated(config, *paths, stdin=piped)

    assert (found["requests"], found["limits"][0]["refused"]) == (6, 2)


async def test_own_access_log_is_read(start_weir, start_origin, connect, config, tmp_path):
    """As Weir wrote it a moment ago."""
    origin = await start_origin()
    weir = start_weir({"log": {"access": str(tmp_path / "own.log")}}, upstream=origin)
    wire = await connect(weir)
    await wire.send(get() * 20)
    assert [(await wire.response()).status for _ in range(20)] == [200] * 20
    weir.stop()
    found = simulated(config, str(tmp_path / "own.log"))

    assert (found["requests"], found["skipped"]) == (20, 0)
    assert found["logs"][0]["format"] == "Weir"
    assert found["limits"][0]["refused"] >= 15


GARBAGE = {
    "nothing": b"",
    "text": b"hello\nworld\n" * 100,
    "binary": os.urandom(100_000),
    "a line of megabytes": b"x" * 9_000_000,
    "nested": b'{"a":' * 100_000 + b"\n",
    "cut gzip": gzip.compress(line(0).encode() * 1000, mtime=0)[:60],
}


@pytest.mark.measured
@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_skipped(tmp_path, config, data):
    """Never a traceback, whatever stands before a good line."""
    alone = run("simulate", config, log(tmp_path, data), "--json")
    before = simulated(config, log(tmp_path, data), log(tmp_path, line(0) * 4, "good.log"))

    assert alone.returncode == 0
    assert "Traceback" not in alone.stderr
    assert before["limits"][0]["refused"] >= 2


def test_mixed_formats_and_times_that_go_back_are_skipped(tmp_path, config):
    own = (
        '{"time":"2026-01-01T00:00:00.000Z","client":"192.0.2.1","method":"GET","target":"/","status":200}\n'
    )
    old = line(0).replace("2026", "2025")
    found = simulated(config, log(tmp_path, line(0) * 3 + own * 2 + old + "x" * 200_000 + "\n" + line(1)))

    assert (found["requests"], found["skipped"]) == (4, 4)
    assert found["logs"][0] | {"name": ""} == {
        "name": "", "format": "combined", "requests": 5, "unreadable": 2, "too_long": 1, "out_of_time": 1, "problem": None,
    }  # fmt: skip


LIMIT = 'upstream: {servers: ["http://a"]}\nplans: [{name: big, rate: 9/s}]\nlimits: [{name: a, key: "header:X-Auth-Token", rate: 2/s, %s}]\n'
OWN = '{"time":"2026-01-01T00:00:00.000Z","client":"192.0.2.1","method":"GET","target":"/","keys":{"a":"00112233445566aa"}}\n'
HASHED = f"time,client,method,path,status,token\n1767225600,192.0.2.1,GET,/,200,sha256:{'0' * 64}\n"


@pytest.mark.parametrize(
    ("setting", "text", "field", "notes"),
    [
        ("burst: 1", OWN, None, []),
        ("unproven: {rate: 2/s}", OWN, None, ["a: {log} tells no status, so that every credential stays unproven"]),
        ("unproven: {rate: 2/s}", HASHED, "token", ["a: each credential is unproven until the first answer to it in the log"]),
        ("plans: [big]", OWN, None, ["a: who has which plan is taken from {log}, which tells one for each request"]),
        ("plans: [big]", HASHED, "token", []),
        ("enforce: 10%", HASHED, "token", ["a: {log} has credentials by their hashes: `enforce` takes other keys of them"]),
        ("enforce: 10%", OWN, None, []),
        ("burst: 1", HASHED.replace("token", "who"), None, ["a: {log} tells no credentials, so that requests count as if they had none; name their field by --key-field"]),
        ("burst: 1", OWN.replace('"keys"', '"sample":0.1,"keys"'), None, ["{log} is a sample (`log.sample`): there were more requests than it tells, and limits that would be enough for these are too small"]),
        ("cost: [{match: {headers: {X-Batch: '*'}}, cost: 2}]", OWN, None, ["a: {log} does not tell the headers that its costs go by"]),
        ("on_upstream_429: drain", OWN.replace('"keys"', '"status":429,"keys"'), None, ["a: for how long a 429 of the service closes a bucket, {log} does not tell; here it is one period of the rate"]),
        ("on_upstream_429: drain", OWN, None, []),
        ("match: {headers: {Host: b}}", HASHED, "token", ["a: {log} does not tell the headers that it looks at"]),
    ],
)  # fmt: skip
@pytest.mark.measured
def test_what_cannot_be_replayed_is_one_line(tmp_path, setting, text, field, notes):
    config = log(tmp_path, LIMIT % setting, "limit.yaml")
    path = log(tmp_path, text * 2)
    found = simulated(config, path, *(["--key-field", field] if field else []))

    told = [note for note in found["notes"] if "whole seconds" not in note]
    assert told == [note.replace("{log}", path) for note in notes]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["none.yaml", "{log}"], "none.yaml: no such file"),
        (["{config}", "none.log"], "none.log: no such file"),
        (["{config}", "{log}", "--against", "none.yaml"], "none.yaml: no such file"),
        (["{config}", "{log}", "--key-field", "token"], "a field is the number of a column"),
        (["{config}", "."], ".: is a directory"),
        (
            ["{config}", "{log}", "--html", "{log}"],
            "access.log: --html would write over what it is made from",
        ),
        (
            ["{config}", "{log}", "--html", "{config}"],
            "weir.yaml: --html would write over what it is made from",
        ),
        (["{config}", "{log}", "--html", "/none/page.html"], "/none/page.html: no such file or directory"),
    ],
)
@pytest.mark.measured
def test_mistake_is_one_line(tmp_path, config, arguments, said):
    path = log(tmp_path, line(0))
    done = run("simulate", *(word.format(config=config, log=path) for word in arguments))

    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.measured
def test_own_logs_may_lie_in_one_file(tmp_path, config):
    """As a container's output is kept: what else Weir said is skipped, also where it comes first."""
    said = '{"time":"2026-01-01T00:00:00.000Z","level":"warning","event":"slow_request","request":"GET /slow","status":200}\n'
    found = simulated(config, log(tmp_path, said + OWN * 3 + said))

    assert (found["requests"], found["skipped"], found["logs"][0]["format"]) == (3, 2, "Weir")


@pytest.mark.measured
@pytest.mark.parametrize("form", ["text", "--json", "--html"])
def test_name_of_a_log_may_be_anything(tmp_path, form):
    """No UTF-8, and what a terminal would take for colours."""
    folder = os.fsencode(tmp_path)
    for name, text in ((b"\xff[red].yaml", CONFIG), (b"\xff[bold].log", line(0) * 3)):
        with open(os.path.join(folder, name), "w") as file:
            file.write(text)
    names = [os.fsdecode(os.path.join(folder, name)) for name in (b"\xff[red].yaml", b"\xff[bold].log")]
    more = {"text": [], "--json": ["--json"], "--html": ["--html", str(tmp_path / "[red]page.html")]}[form]
    done = run("simulate", *names, *more)

    assert done.returncode == 0, done.stderr
    if form == "--json":
        assert json.loads(done.stdout)["logs"][0]["name"].endswith(r"\xff[bold].log")
    else:
        assert r"\xff[bold].log" in done.stdout
    if form == "--html":
        assert "[red]page.html" in done.stdout


def test_key_in_a_log_moves_no_terminal(tmp_path, config):
    """Whatever stands in its place: it is told in print."""
    keys = ["[/bold]", "\x1b[2J", "a\tb", "x" * 100_000]
    rows = [json.dumps(json.loads(OWN) | {"keys": {"per-user": key}}) + "\n" for key in keys]
    done = run("simulate", config, log(tmp_path, "".join(row * 4 for row in rows)))

    assert done.returncode == 0, done.stderr
    for told in ("[/bold]", r"\x1b[2J", r"a\tb", "x" * 40 + "…"):
        assert told in done.stdout
    assert "\x1b" not in done.stdout


def test_closed_input_is_one_line(tmp_path, config):
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m proxy simulate {config} - <&-"],
        cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (2, "<stdin>: is closed\n")


def test_progress_is_shown_on_a_terminal_only(tmp_path, config):
    path = log(tmp_path, line(0) * 20_000)
    command = [sys.executable, "-m", "proxy", "simulate", config, path, "--json"]
    script = tmp_path / "typescript"
    seen = subprocess.run(
        ["script", "-qec", " ".join(command) + f" > {tmp_path}/out.json", str(script)],
        cwd=ROOT, env=environment() | {"TERM": "xterm", "COLUMNS": "100"}, capture_output=True, timeout=60, check=True,
    )  # fmt: skip

    assert b"lines" in seen.stdout
    assert json.loads((tmp_path / "out.json").read_text())["requests"] == 20_000
