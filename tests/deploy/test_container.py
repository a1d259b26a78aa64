"""The Dockerfile: what hadolint says, and our own rules. `make image` builds it and runs what it builds."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

from tests.deploy.conftest import DOCKERFILE, ROOT

STAGES = DOCKERFILE.split("\nFROM ")[1:]
FINAL = STAGES[-1]


def test_hadolint_finds_nothing():
    hadolint = Path(sys.executable).parent / "hadolint"
    done = subprocess.run([hadolint, "--no-color", "Dockerfile"], cwd=ROOT, capture_output=True, text=True)

    assert (done.returncode, done.stdout) == (0, "")


def test_nobody_is_root():
    user = re.search(r"^USER (\d+):(\d+)$", FINAL, re.MULTILINE)

    assert user
    assert int(user[1]) > 0


def test_last_stage_is_one_layer_of_its_own():
    """What was left out of it is in no layer below."""
    assert FINAL.startswith("scratch\n")
    assert re.findall(r"^(?:COPY|RUN|ADD) (.*)$", FINAL, re.MULTILINE) == ["--from=runtime / /"]


def test_all_stages_have_the_same_python_by_its_digest():
    """The environment's interpreter is a link to it; a tag may be another image tomorrow."""
    assert [stage.split()[0] for stage in STAGES] == ["scratch", "${BASE}", "${BASE}", "scratch"]
    assert re.search(
        r"^ARG BASE=docker\.io/library/python:[\w.-]+@sha256:[0-9a-f]{64}$", DOCKERFILE, re.MULTILINE
    )


def test_all_that_is_installed_is_pinned_by_its_hash():
    installs = re.findall(r"pip (?:--python \S+ )?install (.*)", DOCKERFILE)

    assert installs
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)


def test_folder_is_mounted_never_the_file():
    """Here and in the docs: an editor replaces a file, and a mounted file stays the old one."""
    texts = [DOCKERFILE, *(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])]
    mounts = [
        mount for text in texts for mount in re.findall(r"--volume (\S+):(/etc/weir\S*?)(?::ro)?[\s`]", text)
    ]

    assert len(mounts) >= 2
    assert {inside for _, inside in mounts} == {"/etc/weir"}


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
    copied = {
        name
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for name in line.split()[:-1]
    }

    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied
