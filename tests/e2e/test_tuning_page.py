"""docs/tuning.md is walked as somebody new would: its commands are typed in an empty folder."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.weir import ROOT, environment

PAGE = (ROOT / "docs" / "tuning.md").read_text()
WALK = PAGE[PAGE.index("## From a log to a limit") :].split("\n## ", 2)[0]
BLOCKS = re.findall(r"```sh\n(.*?)```(?:\n\n```text\n(.*?)```)?", WALK, re.DOTALL)
MARK = "=== next ==="


@pytest.fixture(scope="module")
def said(tmp_path_factory):
    """What each block has printed, in one shell."""
    ports = {port: str(free_port()) for port in ("8080", "9000", "9901")}
    script = f"\necho '{MARK}'\n".join(commands for commands, _ in BLOCKS)
    for port, free in ports.items():
        script = script.replace(f"127.0.0.1:{port}", f"127.0.0.1:{free}").replace(f" {port} ", f" {free} ")
    around = environment() | {
        "PATH": f"{Path(sys.executable).parent}:{environment()['PATH']}",
        "WEIR_LISTEN": f"127.0.0.1:{ports['8080']}",
        "WEIR_ADMIN__LISTEN": f"127.0.0.1:{ports['9901']}",
        "WEIR_DRAIN__DELAY": "0s",
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path_factory.mktemp("walk"),
        env=around,
        capture_output=True,
        text=True,
        timeout=120.0,
    )
    assert done.returncode == 0, done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout.split(MARK)


def test_every_command_of_the_walk_ends_well(said):
    assert len(said) == len(BLOCKS) >= 6


@pytest.mark.parametrize("number", [number for number, (_, shown) in enumerate(BLOCKS) if shown])
def test_what_the_page_shows_is_what_is_printed(said, number):
    printed = [" ".join(line.split()) for line in said[number].splitlines()]

    for line in BLOCKS[number][1].splitlines():
        assert " ".join(line.split()) in printed
