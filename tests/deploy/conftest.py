"""Weir as a package: the Dockerfile's steps in folders of the test's own, made once for all tests here."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.once import once

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def steps(instruction: str) -> list[str]:
    """The arguments of the first stage's instructions of this name, continued lines joined."""
    stage = DOCKERFILE.split("\nFROM ")[1].replace("\\\n", " ")
    return re.findall(rf"^{instruction} (.*)$", stage, re.MULTILINE)


def clean_environment(home: Path) -> dict[str, str]:
    """An empty HOME, and nothing of this checkout; how packages are reached stays as it is."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "LANG"))}
    return kept | {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory, home: Path) -> Path:
    """The first stage: its COPY and RUN lines, with its absolute folders below one of ours. Gives /opt/weir."""
    return once(tmp_path_factory, "image", lambda root: _build(root, home)) / "opt" / "weir"


def _build(root: Path, home: Path) -> None:
    source = root / "src"
    source.mkdir()
    for line in steps("COPY"):
        *names, target = line.split()
        for name in names:
            _copy(ROOT / name, source / target)
    for line in steps("RUN"):
        command = re.sub(r"(?<= )/(wheels|opt)\b", rf"{root}/\1", line)
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=source,
            env=clean_environment(home),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, f"RUN {line}\n{done.stdout}{done.stderr}"


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        return
    target = target / source.name if target.is_dir() or target.name in ("deploy", "config") else target
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, target)
