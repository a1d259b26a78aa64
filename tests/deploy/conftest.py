"""Weir as a package, built and installed once for all tests here."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.once import once

ROOT = Path(__file__).parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
BUILD: list[object] = [sys.executable, "-m", "build", "--no-isolation"]
# Ours, for another environment, which would take seconds to get one of its own.
PIP: list[object] = [sys.executable, "-m", "pip", "--python"]


def clean_environment(home: Path) -> dict[str, str]:
    """An empty HOME, and nothing of this checkout; how packages are reached stays as it is."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "LANG"))}
    return kept | {"HOME": str(home), "PATH": f"{Path(sys.executable).parent}:/usr/bin:/bin"}


def unmeasured() -> dict[str, str]:
    """Ours, for a build: coverage could not show the copy that it runs, which is gone behind it."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist and the pure wheel, made of it as an index would."""
    return once(tmp_path_factory, "dist", lambda folder: _carried_out(BUILD, "--outdir", folder, ROOT))


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory, home: Path, built: Path) -> Path:
    """An environment that holds the pins, by their hashes, and the pure wheel."""

    def install(folder: Path) -> None:
        _carried_out([sys.executable, "-m", "venv", "--without-pip"], folder, home=home)
        pip = [*PIP, folder, "install", "--quiet", "--no-compile"]
        _carried_out(pip, "--require-hashes", "--requirement", ROOT / "deploy" / "constraints.txt", home=home)
        _carried_out(pip, "--no-deps", "--no-index", next(built.glob("*-none-any.whl")), home=home)

    return once(tmp_path_factory, "installed", install)


def _carried_out(command: list[object], *arguments: object, home: Path | None = None) -> None:
    done = subprocess.run(
        [*map(str, command), *map(str, arguments)],
        env=unmeasured() if home is None else clean_environment(home),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
