"""Workflows, the site and versions: what runs elsewhere is judged here by its own tools, as far as they go."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from proxy import __version__
from tests.deploy.conftest import ROOT

BIN = Path(sys.executable).parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
NAV = yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]


def said(*command, cwd=ROOT, **variables):
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env={"PATH": f"{BIN}:/usr/bin:/bin", "HOME": "/nonexistent", **variables},
        capture_output=True, text=True, check=False, timeout=50,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- workflows ---


def test_workflows_keep_their_schema():
    said(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    said(
        BIN / "check-jsonschema", "--builtin-schema", "vendor.dependabot", ROOT / ".github" / "dependabot.yml"
    )


def test_workflows_have_no_known_hole():
    """Rights, secrets and words of strangers in scripts: what zizmor knows of."""
    said(BIN / "zizmor", "--offline", "--no-progress", "--persona", "regular", ROOT / ".github")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_are_named_by_commit(path):
    """A tag can be moved."""
    used = re.findall(r"uses: (\S+)", path.read_text())

    assert used
    assert [each for each in used if not re.fullmatch(r"[\w.-]+/[\w./-]+@[0-9a-f]{40}", each)] == []


def test_release_builds_for_what_the_docs_name():
    """Cibuildwheel itself reads the settings."""
    wheels = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]["wheels"]
    built = {}
    for runner in wheels["strategy"]["matrix"]["runner"]:
        arch = "aarch64" if runner.endswith("arm") else "x86_64"
        ids = said(BIN / "cibuildwheel", "--print-build-identifiers", "--platform", "linux", "--archs", arch)
        built |= {identifier: arch for identifier in ids.split()}

    assert set(built) == {
        f"cp3{minor}-{libc}_{arch}"
        for minor in (11, 12, 13, 14)
        for libc in ("manylinux", "musllinux")
        for arch in ("x86_64", "aarch64")
    }


def test_parts_are_listed_with_their_hashes(tmp_path):
    """The command of the release makes a list that has every pin."""
    text = (ROOT / ".github" / "workflows" / "release.yml").read_text()
    command = re.search(r"run: (cyclonedx-py .*)", text)[1].split()
    command[command.index("--output-file") + 1] = str(tmp_path / "weir.cdx.json")
    said(*command)
    listed = yaml.safe_load((tmp_path / "weir.cdx.json").read_text())["components"]
    pinned = re.findall(r"^([\w.-]+)==", (ROOT / "deploy" / "constraints.txt").read_text(), re.MULTILINE)

    assert {part["name"] for part in listed} == set(pinned)


# --- the version ---


def test_version_is_given_to_all_that_repeats_it(tmp_path):
    """By one command; then nothing says the old one."""
    names = ["proxy/__init__.py", "deploy/helm/weir/Chart.yaml", "CHANGELOG.md", "deploy/version.sh"]
    names += [f"deploy/kubernetes/{shape}/kustomization.yaml" for shape in ("gateway", "sidecar")]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    said("sh", tmp_path / "deploy" / "version.sh", "98.7.6")
    told = {name: (tmp_path / name).read_text() for name in names[:3] + names[4:]}

    assert all("98.7.6" in text for text in told.values())
    assert not [
        name for name, text in told.items() if f": {__version__}" in text or f'"{__version__}"' in text
    ]
    assert re.search(
        r"^## Unreleased\n\n## 98\.7\.6 \(\d{4}-\d\d-\d\d\)$", told["CHANGELOG.md"], re.MULTILINE
    )


def test_classifiers_are_those_that_are_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = set(re.findall(r"Python :: (3\.\d+)", " ".join(project["classifiers"])))
    checks = yaml.safe_load((ROOT / ".github" / "workflows" / "checks.yml").read_text())["jobs"]
    tested = {*checks["suite"]["strategy"]["matrix"]["python"], "3.11"}

    assert named <= tested


# --- the site ---


def pages(entries):
    for entry in entries:
        (value,) = entry.values()
        yield from pages(value) if isinstance(value, list) else [value]


def test_order_of_the_site_begins_with_the_start_and_names_no_page_that_is_gone():
    ordered = list(pages(NAV))

    assert ordered[0] == "index.md"
    assert [page for page in ordered if not (ROOT / "docs" / page).exists()] == []


def test_site_is_built_and_no_link_is_broken(tmp_path):
    """Strictly; and a reader's browser asks nobody else."""
    said(BIN / "mkdocs", "build", "--strict", "--site-dir", tmp_path / "site", NO_MKDOCS_2_WARNING="1")
    html = (tmp_path / "site" / "index.html").read_text()
    fetched = re.findall(
        r"<(?:script|img|iframe)[^>]+src=\"(https?:[^\"]+)|<link[^>]+rel=\"(?:stylesheet|preconnect)\"[^>]+href=\"(https?:[^\"]+)",
        html,
    )

    built = {
        str(path.parent.relative_to(tmp_path / "site")) for path in (tmp_path / "site").rglob("index.html")
    }
    there = {str(path.relative_to(ROOT / "docs").with_suffix("")) for path in (ROOT / "docs").rglob("*.md")}

    assert fetched == []
    assert {page.replace("index", ".") for page in there} <= built
    assert all(
        f'href="decisions/{path.stem}/"' in html for path in (ROOT / "docs" / "decisions").glob("*.md")
    )
    assert (tmp_path / "site" / "search" / "search_index.json").stat().st_size > 10_000
