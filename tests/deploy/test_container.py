"""The Dockerfile: what hadolint says, our own rules, and its steps carried out. No engine is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.deploy.conftest import DOCKERFILE, ROOT, steps

FINAL = DOCKERFILE.split("\nFROM ")[2]
SIZE_MIB_MAX = 120  # docs/operations.md states what it is


pytestmark = pytest.mark.timeout(400)  # of which most is building


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "--no-color", "Dockerfile"], cwd=ROOT, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


def test_nobody_is_root():
    user = re.search(r"^USER (\d+):(\d+)$", FINAL, re.MULTILINE)

    assert user
    assert int(user[1]) > 0


def test_last_stage_runs_and_installs_nothing():
    """Python, the environment of the first stage, and no package manager at work."""
    assert not re.search(r"^(RUN|ADD)", FINAL, re.MULTILINE)
    assert re.findall(r"^COPY (.*)$", FINAL, re.MULTILINE) == ["--from=build /opt/weir /opt/weir"]


def test_both_stages_have_the_same_python():
    """The environment's interpreter is a link to it."""
    assert re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE) == ["python:${BUILDER}", "python:${PYTHON}"]
    assert "ARG BUILDER=${PYTHON}" in DOCKERFILE


def test_commands_of_the_container_exist():
    """As lists: Weir is process 1 and gets the signals itself."""
    entry = json.loads(re.search(r"^ENTRYPOINT (.*)$", FINAL, re.MULTILINE)[1])
    command = json.loads(re.search(r"^CMD (.*)$", FINAL, re.MULTILINE)[1])
    health = json.loads(re.search(r"^    CMD (.*)$", FINAL, re.MULTILINE)[1])

    assert [*entry, *command][:2] == ["weir", "run"]
    assert health[:2] == ["weir", "healthcheck"]
    assert health[2:] == command[1:]


def test_context_holds_what_is_copied_and_no_more():
    """.dockerignore shuts out everything else: no .git, no tests, no secrets of a checkout."""
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    copied = {name for line in steps("COPY") for name in line.split()[:-1]}

    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied


def test_installed_size_is_what_the_docs_say(image):
    size = sum(path.stat().st_size for path in image.rglob("*") if path.is_file() and not path.is_symlink())

    assert size < SIZE_MIB_MAX * 2**20
