"""Pages name files that there are, and figures and lists that the code has."""

from __future__ import annotations

import re
import typing
from pathlib import Path

import pytest
from pydantic import SecretStr

from proxy.admin.guard import PRIVATE_DOMAINS
from proxy.admin.scrapes import SCRAPES_BURST, SCRAPES_PER_SECOND
from proxy.config.catalogue import entries
from proxy.config.settings import Settings
from proxy.contract.capture import CAPTURE_BYTES
from proxy.contract.etags import TAGGED_BYTES
from proxy.faults import FAULTS, REFUSED
from proxy.limiter.keeping import ROUND_SLOTS
from tests.limiter.test_private_names import LEANED_ON
from tests.policy import services

pytestmark = pytest.mark.unmeasured

ROOT = Path(__file__).parents[1]
TOP = [ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md")]
PAGES = [*TOP, *sorted(page for page in (ROOT / "docs").rglob("*.md") if not page.is_symlink())]
COUNTS = {4: "four", 20: "Twenty"}


def text_of(name):
    return " ".join((ROOT / name).read_text().split())


def row_of(name, beginning):
    """The cells of the one row that begins so."""
    (row,) = [line for line in (ROOT / name).read_text().splitlines() if line.startswith(f"| {beginning}")]
    return [cell.strip() for cell in row.strip("|").split("|")]


# --- files ---


def paths(text):
    """What stands in backquotes and looks like a file or folder here, and pages that are named without."""
    yield from re.findall(r"`((?:[\w-]+/)*[\w-]+\.(?:py|lua|sh|md|toml))`", text)
    yield from re.findall(r"`((?:proxy|tests|config|docs|deploy|benchmarks)/[\w./-]+)`", text)
    yield from re.findall(r"(?<![\w/.`(-])(docs/[\w/-]+\.md)", text)


def is_there(name, page):
    """From the root, or in short: from the package, from the page, or by its name alone."""
    at = [ROOT / name, ROOT / "proxy" / name, page.parent / name, ROOT / "deploy/examples" / name]
    return any(path.exists() for path in at) or ("/" not in name and any(ROOT.glob(f"[ptbd]*/**/{name}")))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page):
    assert [name for name in paths(page.read_text()) if not is_there(name, page)] == []


def test_pages_name_files():
    """Else the test above would see nothing."""
    named = {name for page in PAGES for name in paths(page.read_text())}

    assert {
        "http1/head.py",
        "tests/policy/test_services.py",
        "docs/tls.md",
        "deploy/constraints.txt",
    } <= named


# --- figures and lists ---


def test_statuses_of_a_listener_that_decides_are_those_of_the_table_of_faults():
    """403 and 503 have rows of their own, 429 is a limit's, 408 nobody's who waits for an answer."""
    told = set(map(int, row_of("docs/decide.md", "400, 401")[0].split(", ")))

    refusals = {fault.status for fault in FAULTS.values() if fault.outcome == REFUSED}
    assert told == refusals - {0, 403, 408, 429, 500, 503}


def test_settings_that_hold_a_secret_are_named():
    """By their type; a URL of the store holds one too."""
    told = text_of("docs/configuration.md").partition("A setting that holds a secret")[2].partition(":")[0]
    secret = {entry.path for entry in entries() if SecretStr in leaves(entry.path)}

    assert set(re.findall(r"`([\w.]+)`", told)) == secret | {"store.url"}


def leaves(path):
    """The types that a setting may have, those within its types included."""
    kind: typing.Any = Settings
    for name in path.replace("[]", "").split("."):
        models = [each for each in within(kind) if hasattr(each, "model_fields")]
        kind = next((m.model_fields[name].annotation for m in models if name in m.model_fields), None)
    return set(within(kind))


def within(kind):
    yield kind
    for each in typing.get_args(kind):
        yield from within(each)


def test_scrapes_are_rationed_as_told():
    for page in ("docs/observability.md", "docs/decisions/0013-scrapes.md"):
        assert f"{COUNTS[SCRAPES_BURST]} " in text_of(page)
        assert f"at once, then {COUNTS[SCRAPES_PER_SECOND]} a second" in text_of(page)


def test_names_that_the_admin_plane_answers_to_are_told():
    told = re.search(r"names under (.*?)\. Case", text_of("docs/observability.md"))

    assert set(re.findall(r"`([\w.]+)`", told[1])) == set(PRIVATE_DOMAINS)


def test_what_is_held_back_of_a_body_is_told():
    page = text_of("docs/supported-http.md")

    assert f"up to {TAGGED_BYTES // 2**20} MiB of it while Weir makes its" in page
    assert f"the first {CAPTURE_BYTES // 2**10} KiB of an answer" in page


def test_counts_that_pages_tell_are_those_of_the_code():
    readers = sum(len(each) for name, each in vars(services).items() if name.isupper())
    private = re.search(
        r"private names of redis-py \((.*?)\)", text_of("docs/decisions/0005-redis-connections.md")
    )

    assert f"on {readers} lenient readers" in text_of("docs/limits.md")
    assert f"the fault table has {len(FAULTS)}," in text_of("proxy/contract/problem.py")
    assert f"one small call for up to {ROUND_SLOTS} slots" in text_of("docs/decisions/0023-slots.md")
    assert set(re.findall(r"\w+", private[1])) == LEANED_ON


def test_size_of_the_image_is_one():
    unpacked, pulled = [
        cell.removesuffix(" MB")
        for cell in row_of("docs/decisions/0015-what-an-image-holds.md", "the image,")[1:]
    ]

    assert f"{pulled} MB to pull, {unpacked} MB unpacked" in text_of("docs/operations.md")
