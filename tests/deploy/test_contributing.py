"""What helps those who change Weir: the pages name what is there, and the hooks and forms can be used."""

from __future__ import annotations

import re
import subprocess

import pytest
import yaml

from tests.deploy.conftest import ROOT
from tests.deploy.test_releases import BIN, said

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def test_files_that_the_page_names_are_there():
    named = re.findall(r"`((?:proxy|tests|config|docs|deploy|benchmarks)/[\w./-]*)`", PAGE)
    named += re.findall(r"\]\(([\w./-]+)", PAGE)

    assert len(named) > 30
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_recipes_that_other_pages_lead_to_are_there():
    headings = {heading.lower().replace(" ", "-") for heading in re.findall(r"^#+ (.+)$", PAGE, re.MULTILINE)}
    linked = {
        anchor
        for page in (ROOT / "docs").glob("*.md")
        for anchor in re.findall(r"\.\./CONTRIBUTING\.md#([\w-]+)", page.read_text())
    }

    assert linked
    assert linked <= headings


def test_targets_that_the_page_names_are_those_of_make():
    for target in re.findall(r"`(?:    )?make ([\w-]+)`", PAGE):
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)  # noqa: S607 - make of the machine


@pytest.mark.parametrize(
    "hook", [each for repo in HOOKS for each in repo["hooks"]], ids=lambda hook: hook["id"]
)
def test_hook_is_one_of_the_checks_that_make_runs(hook):
    """The same programs from the same environment; their versions stand in pyproject.toml alone."""
    program, *arguments = hook["entry"].removeprefix(".venv/bin/").split()

    assert (BIN / program).exists()
    assert f"$(BIN)/{program}" in (ROOT / "Makefile").read_text()
    assert [name for name in arguments if name.startswith("tests/") and not (ROOT / name).exists()] == []


def test_forms_for_issues_keep_their_schema():
    forms = sorted(path for path in FORMS.glob("*.yml") if path.name != "config.yml")

    said(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-issue-forms", *forms)
    said(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-issue-config", FORMS / "config.yml")


def test_weaknesses_are_reported_at_one_place():
    (link,) = yaml.safe_load((FORMS / "config.yml").read_text())["contact_links"][:1]

    assert link["url"] in (ROOT / "SECURITY.md").read_text()
    assert link["url"].startswith(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["repo_url"])
