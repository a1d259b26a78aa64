from __future__ import annotations

import errno
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from proxy.demo import command
from proxy.demo.command import run_demo
from tests.support import weir
from tests.support.patience import until_now

pytestmark = pytest.mark.measured

TOUR_SECONDS = 60.0  # under coverage on a busy machine


@contextmanager
def running(output: Path, *options: str, is_measured: bool = True):
    """The command in the background, what it prints in a file."""
    typed = (
        weir.command("demo", *options) if is_measured else [sys.executable, "-m", "proxy", "demo", *options]
    )
    with output.open("wb") as stdout:
        process = subprocess.Popen(
            typed,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            cwd=weir.ROOT,
            env=weir.environment(),
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def fetched(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10.0) as answer:
        return answer.read().decode()


def test_the_tour_comes_out_as_it_should():
    """One command, no preparation: 15 of 40 pass, 25 get 429, nothing leaks, exit code 0."""
    ended = weir.run("demo", "--once", within=TOUR_SECONDS)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "✗" not in ended.stdout
    assert re.search(r"│ ana +│ 40 +│ 1[5-9] +│ 2[1-5] +│", ended.stdout)
    assert re.search(r"│ ben +│ 5 +│ 5 +│ 0 +│", ended.stdout)
    assert "Retry-After: 1" in ended.stdout
    assert "Everything came as it should." in ended.stdout
    assert "Tr0ub4dor" not in ended.stdout
    assert ended.stderr == ""


def test_a_port_in_use_is_one_line():
    """And exit code 1, before any tour."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        ended = weir.run("demo", "--once", "--port", str(taken.getsockname()[1]))

    assert ended.returncode == 1
    assert ended.stdout.count("\n") == 1
    assert "cannot listen on 127.0.0.1:" in ended.stdout
    assert ended.stderr == ""


def test_many_started_at_once_each_find_a_port(tmp_path):
    outputs = [tmp_path / str(number) for number in range(4)]
    with ExitStack() as stack:
        for output in outputs:
            stack.enter_context(running(output, "--once"))
        until_now(lambda: all(map(is_introduced, outputs)), "each serves", within=TOUR_SECONDS)


def is_introduced(output: Path) -> bool:
    return "stands in front" in output.read_text()


def test_it_goes_on_serving_until_it_is_stopped(tmp_path):
    """After the tour, what it invites to works; Ctrl-C ends it with 0 and leaves no file."""
    output = tmp_path / "output"
    with running(output) as process:
        until_now(lambda: "tail -f" in output.read_text(), "the demo invites", within=TOUR_SECONDS)
        said = output.read_text()
        lines = [shlex.split(line) for line in re.findall(r"\$ (curl .*)", said)]
        index = next(words[1] for words in lines if len(words) == 2)
        metrics = next(word for words in lines for word in words if word.endswith("/metrics"))
        access_log = Path(re.search(r"tail -f (\S+)", said)[1])
        served, counted = fetched(index), fetched(metrics)
        until_now(lambda: '"target":"/boom"' in access_log.read_text(), "the access log has the tour")
        process.send_signal(signal.SIGINT)
        code = process.wait(20.0)

    assert code == 0
    assert '"service": "sample"' in served
    assert 'weir_limit_decisions_total{limit="per-user",decision="refused"' in counted
    assert not re.search("Traceback|Warning", output.read_text())
    assert not access_log.parent.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_the_middle_of_the_tour_it_ends_at_once(tmp_path, number):
    """It does not wait for the show, and is no failure."""
    output = tmp_path / "output"
    with running(output, "--once") as process:
        until_now(lambda: "takes its time" in output.read_text(), "the tour has begun", within=TOUR_SECONDS)
        process.send_signal(number)
        code = process.wait(20.0)

    assert code == 0
    assert output.read_text().endswith("\nStopped, before the tour had ended.\n")
    assert "Everything" not in output.read_text()
    assert "Traceback" not in output.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_while_it_starts_it_ends_at_once(tmp_path, number):
    output = tmp_path / "output"
    with running(output, "--once", is_measured=False) as process:  # coverage listens to SIGTERM before us
        until_now(lambda: catches(process.pid), "it is ready to be stopped", within=TOUR_SECONDS)
        process.send_signal(number)
        code = process.wait(20.0)

    assert (code, output.read_text()) == (0, "Stopped, before the tour had begun.\n")


def catches(pid):
    """SIGTERM: Python listens to SIGINT from the start."""
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return int(caught[1], 16) & 1 << signal.SIGTERM - 1


def test_a_reader_that_leaves_is_no_traceback():
    """As with `weir demo | head`: it ends by itself, in silence."""
    process = subprocess.Popen(
        weir.command("demo"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=weir.ROOT,
        env=weir.environment(),
    )
    with process:
        try:
            first = process.stdout.readline()
            process.stdout.close()
            complaints = process.stderr.read()
            code = process.wait(TOUR_SECONDS)
        finally:
            process.kill()

    assert first.startswith(b"Weir stands in front")
    assert (code, complaints) == (1, b"")


def test_a_terminal_without_unicode_is_enough():
    """The ticks become question marks."""
    ended = weir.run("demo", "--once", within=TOUR_SECONDS, PYTHONIOENCODING="ascii")

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "? the next one passes" in ended.stdout


def test_no_place_for_its_config_is_one_line(monkeypatch, capsys):
    """A container with a read-only root and nothing mounted at /tmp."""

    def none(**_):
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryDirectory", none)
    code = run_demo(once=True, port=0)
    printed = capsys.readouterr()

    assert (code, printed.err) == (1, "")
    assert (
        printed.out.replace("\n", " ").strip()
        == "The demo's config needs a temporary folder: No usable temporary directory found"
    )


@pytest.fixture
def toured(monkeypatch):
    """What the tour comes to, whose steps have tests of their own; and where it went."""
    went = []

    def comes_to(result):
        async def tour(base_url, *_):
            went.append(base_url)
            return result

        monkeypatch.setattr(command, "tour", tour)
        return went

    return comes_to


def test_usual_port_in_use_is_no_hindrance(toured, monkeypatch, capsys):
    """Another one is taken, and shown."""
    went = toured(0)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        usual = taken.getsockname()[1]
        monkeypatch.setattr(command, "USUAL_PORT", usual)
        code = run_demo(once=True, port=None)
    printed = capsys.readouterr().out
    (url,) = went

    assert code == 0
    assert url != f"http://127.0.0.1:{usual}"
    assert f"listen: {url.removeprefix('http://')}" in printed
    assert "Everything came as it should." in printed


def test_tour_that_goes_wrong_says_so_and_fails(toured, capsys):
    toured(1)
    code = run_demo(once=True, port=0)
    printed = capsys.readouterr().out

    assert code == 1
    assert "Not everything came as it should" in printed
    assert "Everything came" not in printed
