"""What helps those who change Weir: the pages name what is there, and the hooks and forms can be used."""

from __future__ import annotations

import re
import shlex
import subprocess

import pytest
import yaml

from tests.deploy.conftest import ROOT
from tests.deploy.test_releases import BIN, said

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
FORMS = ROOT / ".github" / "ISSUE_TEMPLATE"
HOOKS = [
    hook
    for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    for hook in repo["hooks"]
]
(OF_MESSAGES,) = [hook for hook in HOOKS if hook.get("stages") == ["commit-msg"]]


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
    "hook", [each for each in HOOKS if each is not OF_MESSAGES], ids=lambda hook: hook["id"]
)
def test_hook_is_one_of_the_checks_that_make_runs(hook):
    """The same programs from the same environment; their versions stand in pyproject.toml alone."""
    program, *arguments = hook["entry"].removeprefix(".venv/bin/").split()

    assert (BIN / program).exists()
    assert f"$(BIN)/{program}" in (ROOT / "Makefile").read_text()
    assert [name for name in arguments if name.startswith("tests/") and not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("message", "passes"),
    [
        ("Scrapes come in pieces\n\nA scrape stopped the loop for 30 ms.\n", True),
        ("Scrapes come in pieces\n\n- 30 ms became 1\n# Please enter the message\n", True),
        ("Scrapes come in pieces\n", False),
        ("Scrapes come in pieces", False),
        ("Scrapes come in pieces\n\n   \n\n", False),
        ("Scrapes come in pieces\nand more of the title\n", False),
        ("Scrapes come in pieces\n\n# Please enter the message\n# On branch main\n", False),
        (
            "Scrapes come in pieces\n\n# ------------------------ >8 ------------------------\ndiff --git a b\n",
            False,
        ),
        ("Merge branch 'scrapes'\n", True),
    ],
)
def test_message_without_a_body_is_refused(tmp_path, message, passes):
    """Git gives the hook a file, with its own remarks still in it."""
    path = tmp_path / "COMMIT_EDITMSG"
    path.write_text(message)
    done = subprocess.run([*shlex.split(OF_MESSAGES["entry"]), str(path)], check=False)

    assert (done.returncode == 0) is passes


def test_forms_for_issues_keep_their_schema():
    forms = sorted(path for path in FORMS.glob("*.yml") if path.name != "config.yml")

    said(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-issue-forms", *forms)
    said(BIN / "check-jsonschema", "--builtin-schema", "vendor.github-issue-config", FORMS / "config.yml")


def test_weaknesses_are_reported_at_one_place():
    (link,) = yaml.safe_load((FORMS / "config.yml").read_text())["contact_links"][:1]

    assert link["url"] in (ROOT / "SECURITY.md").read_text()
    assert link["url"].startswith(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["repo_url"])
