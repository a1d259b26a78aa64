"""How Weir begins and ends: commands, exit codes, one clear line for each mistake, and a stop that hurts nobody."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import socket
import threading
import time

import pytest
import yaml

from proxy import is_compiled
from tests.support.messages import answer, get, post
from tests.support.network import SocketChannel
from tests.support.patience import until
from tests.support.ports import free_port
from tests.support.weir import ROOT, run
from tests.support.wire import CLEAN, Broken, Wire

pytestmark = pytest.mark.afresh

GOOD = "upstream:\n  servers: [http://127.0.0.1:9000]\n"


def file(tmp_path, text):
    path = tmp_path / "weir.yaml"
    path.write_text(text)
    return path


# --- configs ---

MISTAKES = {
    "unknown setting": ("limits:\n  - name: a\n    rtae: 5/s\n", "3:5", "rate"),
    "unknown block": ("upstrem:\n  servers: []\n", "1:1", "upstream"),
    "bad rate": ("limits:\n  - name: a\n    rate: fast\n", "3:11", "fast"),
    "zero rate": ("limits:\n  - {name: a, rate: 0/s}\n", "2:21", "0/s"),
    "bad span": ("drain:\n  delay: 5 parsecs\n", "2:10", "parsecs"),
    "bad size": ("downstream:\n  limits:\n    head: lots\n", "3:11", "lots"),
    "bad mode": ("limits:\n  - name: a\n    rate: 5/s\n    mode: shaddow\n", "4:11", "shadow"),
    "bad method": ("limits:\n  - name: a\n    rate: 5/s\n    match: {methods: [GTE]}\n", "4:23", "GTE"),
    "two limits of one name": ("limits:\n  - {name: a, rate: 5/s}\n  - {name: a, rate: 6/s}\n", "3:", "a"),
    "the same key twice": ("workers: 1\nworkers: 2\n", "2:1", "workers"),
    "no YAML": ("limits: [\n", "", ""),
    "a list": ("- a\n", "1:1", ""),
    "open admin without a token": ("admin:\n  listen: 0.0.0.0:9901\n", "1:1", "token"),
}  # fmt: skip


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize(("text", "place", "word"), MISTAKES.values(), ids=MISTAKES.keys())
def test_broken_config_is_refused_with_its_place(tmp_path, command, text, place, word):
    """Exit 2 and file:line:column; nothing listens, no traceback."""
    is_block = not text.startswith(("upstrem", "- "))
    path = file(tmp_path, text + GOOD if is_block else text)
    result = run(*([command, str(path)] if command == "check" else [command, "--config", str(path)]))
    said = result.stdout + result.stderr

    assert result.returncode == 2
    assert f"{path}:{place}" in said
    assert word in said
    assert "Traceback" not in said


def test_every_mistake_is_told(tmp_path):
    """Not only the first, each on a line of its own."""
    path = file(tmp_path, "workers: none\nlimits:\n  - {name: a, rate: x}\nlog: {levle: info}\n" + GOOD)
    result = run("check", str(path))
    lines = [line for line in (result.stdout + result.stderr).splitlines() if str(path) in line]

    assert result.returncode == 2
    assert [line.removeprefix(f"{path}:").split(":")[0] for line in lines] == ["1", "3", "4"]


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("kind", ["missing", "folder", "not UTF-8"])
def test_file_that_cannot_be_read_is_one_line(tmp_path, command, kind):
    """With its name."""
    path = tmp_path / "odd.yaml"
    if kind == "folder":
        path.mkdir()
    elif kind == "not UTF-8":
        path.write_bytes(b"\xff\xfe\x00")
    result = run(*([command, str(path)] if command == "check" else [command, "--config", str(path)]))
    said = result.stdout + result.stderr

    assert result.returncode == 2
    assert str(path) in said
    assert len(said.strip().splitlines()) == 1


def test_good_config_is_called_good(tmp_path):
    """Exit 0, on stdout."""
    result = run("check", str(file(tmp_path, GOOD)))

    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout


def test_warning_has_its_place_and_fails_only_a_strict_check(tmp_path):
    """Exit 0 and the line; with --strict exit 2."""
    path = file(tmp_path, "forwarded:\n  trust: [0.0.0.0/0]\n" + GOOD)
    kind, strict = run("check", str(path)), run("check", "--strict", str(path))

    assert (kind.returncode, strict.returncode) == (0, 2)
    assert f"{path}:2:11: warning: forwarded.trust[0]: " in kind.stdout
    assert f"{path}:2:11: warning: forwarded.trust[0]: " in strict.stderr


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda path: path.name)
def test_shipped_config_is_good(path):
    """Those that people copy: without a warning too."""
    result = run("check", "--strict", str(path))

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.measured
async def test_config_comes_by_standard_input(new_weir, start_origin, ask):
    """`run -`: nothing can be read again, which SIGHUP says."""
    origin = await start_origin()
    weir = new_weir({"limits": [{"name": "piped", "rate": "1/m", "key": ["const"]}]}, upstream=origin)
    weir.write_config()
    weir.launch_with("run", "-", stdin=weir.config)
    await weir.logged(lambda line: line["event"] == "serving")
    weir.signal(signal.SIGHUP)
    line = await weir.logged(lambda line: line["event"] == "not_reread")

    assert [(await ask(weir, get())).status for _ in range(2)] == [200, 429]
    assert line["config"] == "<stdin>"


async def test_secret_beside_standard_input_is_followed(new_weir):
    """The config is the one that came; the file that it refers to is read again."""
    weir = new_weir()
    token = weir.folder / "token"
    token.write_text("one-7Hq29vKx")
    weir.write_config({"admin": {"token": f"file:{token}"}})
    weir.launch_with("run", "-", stdin=weir.config)
    await weir.logged(lambda line: line["event"] == "serving")
    token.write_text("two-8Jr30wLy")

    def status_by(word: str) -> int:
        return weir.admin("/status", headers={"Authorization": f"Bearer {word}"}).status

    await until(lambda: status_by("two-8Jr30wLy") == 200, "the new token opens")

    assert status_by("one-7Hq29vKx") == 401


async def test_config_is_an_argument_as_of_check(new_weir, start_origin, ask):
    """`run FILE`."""
    origin = await start_origin()
    weir = new_weir(upstream=origin)
    weir.write_config()
    weir.launch_with("run", str(weir.config))
    await weir.logged(lambda line: line["event"] == "serving")

    assert (await ask(weir, get())).status == 200


@pytest.mark.measured
@pytest.mark.parametrize("arguments", [["run"], ["run", "a.yaml", "--config", "b.yaml"]])
def test_run_takes_one_file(arguments):
    result = run(*arguments)

    assert result.returncode == 2
    assert "Name one FILE with the settings: weir run weir.yaml" in result.stderr


@pytest.mark.parametrize("kind", ["a pipe", "standard input"])
def test_check_takes_what_is_piped(tmp_path, kind):
    """As from a chart that is rendered, or a file that is written by a program."""
    text = file(tmp_path, GOOD + "lisen: x\n").read_text()
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_text, args=(text,))
    writer.start()
    if kind == "a pipe":
        result = run("check", str(path))
    else:
        with path.open() as pipe:
            result = run("check", "-", stdin=pipe)
    writer.join()

    assert result.returncode == 2
    assert f"{path if kind == 'a pipe' else '<stdin>'}:3:1: lisen: unknown setting" in result.stderr


def test_variable_of_somebody_else_can_be_let_pass(tmp_path):
    """As a build leaves it in an image."""
    path = str(file(tmp_path, GOOD))
    refused = run("check", path, WEIR_VERSION="1.2.3")
    passed = run("check", path, WEIR_VERSION="1.2.3", WEIR_IGNORE="WEIR_VERSION, WEIR_OTHER")

    assert (refused.returncode, passed.returncode) == (2, 0)
    assert "WEIR_VERSION: is not a setting of Weir" in refused.stderr
    assert "WEIR_IGNORE=WEIR_VERSION" in refused.stderr


@pytest.mark.measured
def test_settings_in_force_are_printed(tmp_path):
    """As YAML on standard output, whatever else there is to say."""
    path = file(tmp_path, GOOD + "forwarded: {trust: [0.0.0.0/0]}\nlog: {access: off}\n")
    result = run("check", "--print", str(path), WEIR_LOG__LEVEL="debug")

    assert result.returncode == 0
    assert yaml.safe_load(result.stdout)["upstream"]["servers"][0]["url"] == "http://127.0.0.1:9000"
    assert re.search(rf"access: off +# {path}:4\n", result.stdout)
    assert re.search(r"level: debug +# WEIR_LOG__LEVEL\n", result.stdout)
    assert "warning: forwarded.trust[0]" in result.stderr


def test_schema_is_printed():
    result = run("schema")

    assert result.returncode == 0
    assert result.stdout == (ROOT / "config" / "weir.schema.json").read_text()


@pytest.mark.measured
def test_unknown_variable_is_an_error(tmp_path):
    """A typo in the environment is as loud as one in the file."""
    result = run("check", str(file(tmp_path, GOOD)), WEIR_STROE__URL="memory")
    said = result.stdout + result.stderr

    assert result.returncode == 2
    assert "WEIR_STROE__URL" in said
    assert "WEIR_STORE__URL" in said


async def test_environment_overrides_the_file(new_weir, start_origin, ask):
    """Plain values as text, lists and blocks as JSON."""
    origin = await start_origin()
    weir = new_weir({"limits": [{"name": "file", "rate": "1/m", "key": ["const"]}]})
    weir.start(
        WEIR_UPSTREAM__SERVERS=f'["{origin.url}"]',
        WEIR_LIMITS='[{"name": "env", "rate": "2/m", "key": ["const"]}]',
        WEIR_RATELIMIT_FIELDS="legacy",
    )
    responses = [await ask(weir, get()) for _ in range(3)]

    assert [r.status for r in responses] == [200, 200, 429]
    assert responses[2].json()["violated-policies"] == ["env"]
    assert responses[0].value("X-RateLimit-Limit") == b"2"


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], ["run", "--help"], ["check", "--help"], ["demo", "--help"]]
)
def test_command_explains_itself(arguments):
    """Exit 0 and a few lines."""
    result = run(*arguments)

    assert result.returncode == 0
    assert result.stdout


@pytest.mark.parametrize("arguments", [[], ["walk"], ["run"], ["run", "--confg", "x"], ["check"]])
def test_wrong_command_is_told(arguments):
    """Exit 2, without a traceback."""
    result = run(*arguments)

    assert result.returncode == 2
    assert "Traceback" not in result.stderr


# --- start ---


@pytest.mark.parametrize("setting", ["listen", "admin"])
def test_port_in_use_is_one_clear_line(new_weir, setting):
    """With the address and the setting, and an exit code of its own."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        weir = new_weir({"listen": address} if setting == "listen" else {"admin": {"listen": address}})
        weir.launch()
        code = weir.wait()
    lines = weir.log_text().strip().splitlines()

    assert code not in (0, 2)
    assert len(lines) == 1
    assert address in lines[0]
    assert setting in lines[0]
    assert "in use" in lines[0]


async def test_unreachable_upstream_does_not_stop_the_start(start_weir, start_origin, ask):
    """Ready, 502 while nobody answers, and 200 as soon as somebody does."""
    port = free_port()
    weir = start_weir(upstream=f"http://127.0.0.1:{port}")
    before = await ask(weir, get())
    await start_origin(port=port)
    after = await ask(weir, get())

    assert (before.status, after.status) == (502, 200)


@pytest.mark.measured
async def test_several_listeners_serve(start_weir, start_origin, ask, tmp_path):
    """TCP twice and a Unix socket."""
    origin = await start_origin()
    second, path = free_port(), tmp_path / "weir.sock"
    first = free_port()
    weir = start_weir(
        {"listen": [f"127.0.0.1:{first}", {"address": f"127.0.0.1:{second}"}, f"unix:{path}"]},
        upstream=origin,
    )
    seen = []
    for port in (first, second):
        weir.port = port
        seen.append((await ask(weir, get())).status)
    unix = socket.socket(socket.AF_UNIX)
    unix.connect(str(path))
    wire = Wire(SocketChannel(unix))
    await wire.send(get())
    seen.append((await wire.response()).status)
    wire.close()

    assert seen == [200, 200, 200]


async def test_server_on_a_unix_socket_is_reached(start_weir, ask, tmp_path):
    """http+unix:///path."""
    path = tmp_path / "origin.sock"

    async def serve(reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer(200, b"by unix"))
        writer.close()

    server = await asyncio.start_unix_server(serve, path)
    weir = start_weir(upstream=f"http+unix://{path}")
    response = await ask(weir, get())
    server.close()

    assert (response.status, response.body) == (200, b"by unix")


# --- stop ---


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
async def test_stop_is_clean(start_weir, start_origin, connect, number):
    """Exit 0 with idle connections on both sides, each closed politely."""
    origin = await start_origin()
    weir = start_weir(upstream=origin)
    wire = await connect(weir)
    await wire.send(get())
    await wire.response()
    weir.signal(number)
    visit = await origin.visit(0)
    said = await wire.rest()
    await asyncio.wait_for(visit.is_over.wait(), 5)

    assert await asyncio.to_thread(weir.wait) == 0
    assert (said, wire.end, visit.end) == (b"", CLEAN, CLEAN)


async def test_drain_serves_on_and_lets_running_requests_finish(start_weir, start_origin, connect, ask):
    """Unready at once, still serving for the delay; what runs then is finished; then exit 0."""
    may_answer = asyncio.Event()

    async def script(visit):
        while (request := await visit.request()) is not None:
            if request.target == b"/slow":
                await visit.send(answer(200, b"", "Content-Length: 10", length=False) + b"first")
                await may_answer.wait()
                await visit.send(b"secnd")
            else:
                await visit.send(answer())

    origin = await start_origin(script)
    weir = start_weir({"drain": {"delay": "4s", "timeout": "30s"}}, upstream=origin)
    slow, idle = await connect(weir), await connect(weir)
    await slow.send(get(target="/slow"))
    await slow.until(b"first")
    begin = time.monotonic()
    weir.signal(signal.SIGTERM)
    await until(lambda: weir.readiness() == 503, "unready", within=4)
    assert weir.admin("/healthz").status == 200
    assert (await ask(weir, get())).status == 200  # a new connection, since balancers take a while to notice
    assert time.monotonic() - begin < 4

    await idle.rest()  # closed after the delay
    assert time.monotonic() - begin > 3.5
    assert idle.end == CLEAN
    assert weir.is_running
    may_answer.set()
    begin = time.monotonic()
    assert await slow.exactly(5) == b"secnd"
    assert (await slow.rest(), slow.end) == (b"", CLEAN)
    assert await asyncio.to_thread(weir.wait) == 0
    assert time.monotonic() - begin < 20  # the last one out; nothing is left to wait for


async def test_upload_that_runs_is_finished(start_weir, start_origin, connect):
    """A request whose body is still coming counts as running."""
    origin = await start_origin()
    weir = start_weir(upstream=origin)
    wire = await connect(weir)
    request = post(b"x" * 1000)
    await wire.send(request[:-500])
    await origin.visit(0)
    weir.signal(signal.SIGTERM)
    await until(lambda: weir.readiness() != 200, "draining")
    await wire.send(request[-500:])
    response = await wire.response()

    wire.close()

    assert response.status == 200
    assert response.value("Connection") == b"close"
    assert await asyncio.to_thread(weir.wait) == 0


async def test_drain_ends_at_its_timeout(start_weir, start_origin, connect):
    """A request that never ends is cut, visibly; Weir exits all the same."""

    async def script(visit):
        await visit.request()
        await visit.send(answer(200, b"", "Content-Length: 10", length=False) + b"first")
        await visit.left()

    origin = await start_origin(script)
    weir = start_weir({"drain": {"delay": "0s", "timeout": "700ms"}}, upstream=origin)
    wire = await connect(weir)
    await wire.send(get())
    begin = time.monotonic()
    await wire.until(b"first")
    weir.signal(signal.SIGTERM)
    code = await asyncio.to_thread(weir.wait)
    with pytest.raises(Broken):
        await wire.exactly(5)

    assert code == 0
    assert 0.5 < time.monotonic() - begin < 5


async def test_nobody_is_served_after_the_end(start_weir, start_origin):
    """The listener is closed before running requests are waited for."""
    may_answer = asyncio.Event()

    async def script(visit):
        await visit.request()
        await may_answer.wait()
        await visit.send(answer())

    origin = await start_origin(script)
    weir = start_weir(upstream=origin)
    running = await Wire.open(weir.port)
    await running.send(get())
    await origin.visit(0)
    weir.signal(signal.SIGTERM)

    def is_refused() -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", weir.port)) != 0

    await until(is_refused, "new connections are refused")
    may_answer.set()
    assert (await running.response()).status == 200
    running.close()
    assert await asyncio.to_thread(weir.wait) == 0


async def test_second_signal_ends_at_once(start_weir, start_origin, connect):
    """For who cannot wait."""
    origin = await start_origin()
    weir = start_weir({"drain": {"delay": "20s", "timeout": "20s"}}, upstream=origin)
    weir.tolerates_complaints = True  # of what is left open
    weir.signal(signal.SIGTERM)
    await until(lambda: weir.readiness() == 503, "draining")
    weir.signal(signal.SIGTERM)

    assert await asyncio.to_thread(weir.wait, within=5.0) == 0


def test_config_in_force_is_the_one_in_the_file(start_weir):
    """The harness writes what it says it writes."""
    weir = start_weir({"limits": [{"name": "x", "rate": "7/m"}]})

    assert yaml.safe_load(weir.config.read_text())["limits"] == [{"name": "x", "rate": "7/m"}]
    assert list(weir.admin("/status").json()["limits"]) == ["x"]


async def test_source_build_is_told(start_weir):
    """In one line; a compiled one says nothing, and so do workers beside their supervisor."""
    for workers in (1, 2):
        weir = start_weir({"workers": workers})

        assert [line["level"] for line in weir.log() if line["event"] == "source_build"] == (
            [] if is_compiled() else ["info"]
        )
