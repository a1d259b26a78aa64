"""`weir init`, `weir --version` and what a shell completes, as typed."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from proxy import __version__, build
from tests.support import weir
from tests.support.weir import command, environment, run

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


def test_init_onto_a_full_disk_leaves_nothing(tmp_path):
    """Half a config would start, with other limits."""
    done = subprocess.run(
        ["sh", "-c", f"ulimit -f 1; exec {sys.executable} -B -m proxy init"],
        cwd=tmp_path,
        env=environment() | {"PYTHONPATH": str(weir.ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert (done.returncode, done.stderr) == (2, "weir.yaml: cannot be written: file too large\n")
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
def test_output_that_cannot_be_written_is_one_line(typed):
    """A full disk, or a redirection to nowhere."""
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m proxy {typed} > /dev/full"],
        cwd=weir.ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (2, "weir: no space left on device\n")


def test_hash_of_a_closed_input_is_nothing():
    done = subprocess.run(
        ["sh", "-c", f"exec {sys.executable} -m proxy hash <&-"],
        cwd=weir.ROOT, env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode == 2
    assert done.stderr.startswith("nothing to hash")
