"""`weir init`, `weir --version` and what a shell completes, as typed."""

from __future__ import annotations

import errno
import os
import re
import resource
import signal
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy import __version__, build
from proxy.cli import main
from proxy.demo import command as demo
from tests.support import weir
from tests.support.weir import command, environment, run

pytestmark = pytest.mark.measured

SCRIPT = Path(sys.executable).parent / "weir"
COMPLETION = (weir.ROOT / "docs" / "operations.md").read_text()


def init(folder, *arguments):
    return subprocess.run(
        command("init", *arguments),
        cwd=folder,
        env=environment() | {"PYTHONPATH": str(weir.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_version_says_which_build():
    assert run("--version").stdout == f"weir, version {__version__} ({build()})\n"


def test_init_writes_a_config_that_is_good(tmp_path):
    """And says what to do next, with the file's own name."""
    done = init(tmp_path, "my.yaml", "--server", "http://127.0.0.1:9123")
    checked = run("check", str(tmp_path / "my.yaml"))

    assert (done.returncode, done.stderr) == (0, "")
    assert "weir run my.yaml" in done.stdout
    assert "weir schema > weir.schema.json" in done.stdout
    assert checked.returncode == 0, checked.stderr
    assert "9123" in (tmp_path / "my.yaml").read_text()


def test_init_without_a_name_writes_weir_yaml(tmp_path):
    assert init(tmp_path).returncode == 0
    assert [path.name for path in tmp_path.iterdir()] == ["weir.yaml"]


def test_init_writes_over_nothing(tmp_path):
    """Neither a file nor what a link leads to."""
    (tmp_path / "kept").write_text("kept")
    (tmp_path / "link.yaml").symlink_to("kept")
    for name in ("kept", "link.yaml"):
        done = init(tmp_path, name)

        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"{name}: cannot be written: file exists\n"
    assert (tmp_path / "kept").read_text() == "kept"


def test_init_into_no_folder_is_one_line(tmp_path):
    done = init(tmp_path, "none/weir.yaml")

    assert done.returncode == 2
    assert done.stderr == "none/weir.yaml: cannot be written: no such file or directory\n"


@contextmanager
def files_of_at_most(octets):
    """As on a disk that is full by then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (octets, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_init_onto_a_full_disk_leaves_nothing(tmp_path, monkeypatch):
    """Half a config would start, with other limits."""
    monkeypatch.chdir(tmp_path)
    with files_of_at_most(512):
        done = CliRunner().invoke(main, ["init"])

    assert (done.exit_code, done.output) == (2, "weir.yaml: cannot be written: file too large\n")
    assert not list(tmp_path.iterdir())


def test_init_of_a_wrong_server_writes_nothing(tmp_path):
    done = init(tmp_path, "--server", "app:9000")

    assert done.returncode == 2
    assert (
        done.stderr
        == "--server: upstream.servers[0]: must be a URL with its scheme, such as http://127.0.0.1:9000\n"
    )
    assert not list(tmp_path.iterdir())


def test_init_prints(tmp_path):
    done = init(tmp_path, "-")

    assert done.stdout.startswith("# yaml-language-server: $schema=weir.schema.json\n# Weir's settings")
    assert not list(tmp_path.iterdir())


def completed(*words):
    """What bash is offered for the last of these words."""
    variables = {
        "_WEIR_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    done = subprocess.run(
        [SCRIPT], env=dict(os.environ) | variables, capture_output=True, text=True, check=True, timeout=30
    )
    return [line.partition(",")[2] for line in done.stdout.splitlines() if line]


def test_shell_completes_commands_and_options():
    assert completed("weir", "he") == ["healthcheck"]
    assert completed("weir", "run", "--con") == ["--config"]
    assert completed("weir", "check", "/tmp/w") == ["/tmp/w"]  # a file's name, which the shell completes


def test_lines_of_the_docs_switch_completion_on():
    """For every shell they name."""
    shells = re.findall(r"_WEIR_COMPLETE=(\w+)_source weir", COMPLETION)

    assert shells == ["bash", "zsh", "fish"]
    for shell in shells:
        done = subprocess.run(
            [SCRIPT],
            env=dict(os.environ) | {"_WEIR_COMPLETE": f"{shell}_source"},
            capture_output=True,
            text=True,
        )
        assert "_WEIR_COMPLETE" in done.stdout, done.stderr


@pytest.mark.parametrize("typed", ["schema", "init -", "hash ann"])
def test_output_that_cannot_be_written_is_one_line(typed, monkeypatch, capsys):
    """A full disk, or a redirection to nowhere."""
    full = open("/dev/full", "w")
    monkeypatch.setattr(sys, "stdout", full)
    with pytest.raises(SystemExit) as ended:
        main.main(typed.split(), prog_name="weir")

    assert (ended.value.code, capsys.readouterr().err) == (2, "weir: no space left on device\n")
    with suppress(OSError):  # what it still holds cannot be written either
        full.close()


def test_nothing_else_is_written_at_the_end_of_a_process_either():
    """Python would tell of what the closed output still holds."""
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m proxy hash ann > /dev/full"],
        cwd=weir.ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (2, "weir: no space left on device\n")


def test_mistake_that_is_not_of_the_output_is_not_taken_for_one(monkeypatch):
    class Denied:
        def write(self, _):
            raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(sys, "stdout", Denied())
    with pytest.raises(PermissionError):
        main.main(["hash", "ann"], prog_name="weir")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_that_is_stopped_before_it_listens_says_so_and_ends(number, monkeypatch):
    """At once: nothing of it is unwound."""
    before = [(each, signal.getsignal(each)) for each in (signal.SIGINT, signal.SIGTERM)]

    def left(code):
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", left)
    monkeypatch.setattr(demo, "run_demo", lambda **_: signal.raise_signal(number))
    try:
        done = CliRunner().invoke(main, ["demo"])
    finally:
        for each, handler in before:
            signal.signal(each, handler)

    assert (done.exit_code, done.output) == (0, "Stopped, before the tour had begun.\n")


def test_hash_of_a_closed_input_is_nothing():
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m proxy hash <&-"],
        cwd=weir.ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr.startswith("nothing to hash")
