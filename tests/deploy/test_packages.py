"""Wheel, sdist and pins: what they hold, and that they install."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib.metadata import requires

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from proxy import __version__
from tests.deploy.conftest import ROOT, clean_environment, unmeasured

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = ROOT / "deploy" / "constraints.txt"


pytestmark = pytest.mark.timeout(400)  # of which most is building


def pins() -> dict[str, Requirement]:
    text = CONSTRAINTS.read_text().replace("\\\n", "")
    lines = [line.partition(" --hash")[0] for line in text.splitlines() if line and not line.startswith("#")]
    pinned = [pin for pin in map(Requirement, lines) if pin.marker is None or pin.marker.evaluate()]
    return {canonicalize_name(pin.name): pin for pin in pinned}


def pinned_version(pin: Requirement) -> str:
    match = re.fullmatch(r"==([\w.]+)", str(pin.specifier))
    assert match, f"{pin} is not one version"
    return match[1]


def needed(names: list[str]) -> set[str]:
    """These and everything they need at run time here."""
    found: set[str] = set()
    while names:
        name = canonicalize_name(names.pop())
        if name not in found:
            found.add(name)
            for text in requires(name) or ():
                requirement = Requirement(text)
                if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                    names.append(requirement.name)
    return found


def test_pins_satisfy_what_the_project_asks_for():
    for requirement in map(Requirement, PROJECT["dependencies"]):
        version = pinned_version(pins()[canonicalize_name(requirement.name)])

        assert requirement.specifier.contains(version), f"{requirement.name} is pinned to {version}"


def test_pins_are_all_that_is_needed_and_nothing_else():
    """What comes with a dependency is pinned too, or two images would differ."""
    assert set(pins()) == needed([Requirement(text).name for text in PROJECT["dependencies"]])


@pytest.mark.parametrize("name", ["constraints.txt", "build-constraints.txt"])
def test_every_pin_has_its_hashes(name):
    """Of the files of all platforms: what was exchanged in between is refused."""
    pins = (ROOT / "deploy" / name).read_text().replace("\\\n", "").splitlines()[1:]

    assert pins
    assert [pin.split()[0] for pin in pins if not re.search(r"--hash=sha256:[0-9a-f]{64}", pin)] == []


def test_compiler_is_pinned_with_what_it_reads():
    """The types of what Weir needs are those that it runs with."""
    run, build = (
        (ROOT / "deploy" / name).read_text() for name in ("constraints.txt", "build-constraints.txt")
    )
    versions = [set(re.findall(r"^([\w.-]+==[\w.]+)", text, re.MULTILINE)) for text in (run, build)]

    assert versions[0] < versions[1]
    assert {"hatchling", "mypy", "setuptools"} <= {pin.partition("==")[0] for pin in versions[1]}


def test_version_stands_in_one_place(built):
    """Both packages take theirs from the code."""
    assert "version" in PROJECT["dynamic"]
    assert {path.name for path in built.iterdir()} == {
        f"weir_proxy-{__version__}.tar.gz",
        f"weir_proxy-{__version__}-py3-none-any.whl",
    }


def test_wheel_holds_the_package_and_no_more(built):
    names = zipfile.ZipFile(next(built.glob("*.whl"))).namelist()

    assert {name.split("/")[0] for name in names} == {"proxy", f"weir_proxy-{__version__}.dist-info"}
    assert {name for name in names if name.endswith(".lua")} >= {"proxy/limiter/take.lua"}
    assert {"proxy/py.typed", "proxy/config/weir.yaml"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_sdist_holds_what_its_readme_talks_of(built):
    with tarfile.open(next(built.glob("*.tar.gz"))) as archive:
        tops = {name.split("/")[1] for name in archive.getnames()}

    assert {"proxy", "tests", "docs", "config", "deploy", "Dockerfile", "Makefile", "README.md"} <= tops


def weir(installed, home, *arguments, **options):
    return subprocess.run(
        [installed / "bin" / "weir", *arguments],
        cwd=home,
        env=clean_environment(home),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


def test_installed_weir_says_its_version(installed, home):
    done = weir(installed, home, "--version")

    assert done.stdout == f"weir, version {__version__} (source)\n"


def test_installed_weir_gives_its_tour(installed, home):
    """In an environment that holds the pins and nothing else."""
    done = weir(installed, home, "demo", "--once", "--port", "0")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "429" in done.stdout


def test_two_builds_have_one_hash(built, tmp_path):
    """At another time, and into another folder. `make wheel` does it for the compiled one."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path / "again", ROOT]
    done = subprocess.run(command, env=unmeasured(), capture_output=True, text=True, timeout=120, check=False)
    hashes = [
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("weir_proxy-*")}
        for folder in (built, tmp_path / "again")
    ]

    assert done.returncode == 0, done.stdout + done.stderr
    assert hashes[0] == hashes[1]
    assert len(hashes[0]) == 2
