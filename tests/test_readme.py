"""The README is what it says: its lines are run as they stand, its links lead somewhere."""

from __future__ import annotations

import re
import subprocess
import time
from math import ceil
from pathlib import Path

import pytest

from tests.support import weir
from tests.support.patience import until_now
from tests.support.ports import free_port

pytestmark = pytest.mark.measured

README = (weir.ROOT / "README.md").read_text()
DOCS = sorted(page for page in (weir.ROOT / "docs").rglob("*.md") if not page.is_symlink())
TOUR_SECONDS = 60.0  # under coverage on a busy machine


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Of a demo whose tour is over."""
    output = tmp_path_factory.mktemp("demo") / "output"
    port = free_port()
    with output.open("wb") as stdout:
        process = subprocess.Popen(
            weir.command("demo", "--port", str(port)), stdout=stdout, cwd=weir.ROOT, env=weir.environment()
        )
    try:
        until_now(lambda: "Still serving" in output.read_text(), "the tour is over", within=TOUR_SECONDS)
        yield port
    finally:
        process.terminate()
        process.wait(20.0)


def said_by(line: str, port: int) -> str:
    ended = subprocess.run(
        line.replace("8080", str(port)), shell=True, check=True, capture_output=True, text=True, timeout=20.0
    )
    return ended.stdout


def refused(line: str, others: str, port: int) -> str:
    """What it says while others of the same user take the tokens that come back."""
    flood = subprocess.Popen(
        ["sh", "-c", f"while :; do {others.replace('8080', str(port))}; done"], stdout=subprocess.DEVNULL
    )
    try:
        return until_now(lambda: said if (said := said_by(line, port)).startswith("HTTP/1.1 429") else "")
    finally:
        flood.terminate()
        flood.wait(20.0)


def blocks() -> list[str]:
    """The indented ones, each a command or what it prints."""
    return re.findall(r"(?m)(?:^    .*\n)+", README)


def curls() -> list[str]:
    return [block.strip() for block in blocks() if block.strip().startswith("curl")]


def test_quick_start_ends_in_a_visible_429(port):
    """15 pass, the others do not; the refusal has the header fields in the order that the README shows."""
    burst, single, _ = curls()
    begin = time.monotonic()
    codes = said_by(burst, port).split()
    back = ceil((time.monotonic() - begin) * 15)  # tokens, meanwhile
    refusal = refused(single, burst, port)

    shown = next(block for block in blocks() if block.strip().startswith("HTTP/1.1 429"))
    names = re.findall(r"(?m)^    ([A-Z][\w-]+):", shown)
    assert codes[:15] == ["200"] * 15
    assert codes.count("429") >= len(codes) - 15 - back
    assert re.findall(r"(?m)^([A-Z][\w-]+):", refusal)[: len(names)] == names


def test_failure_shows_nothing(port):
    answer = said_by(curls()[2], port)

    assert answer.startswith("HTTP/1.1 500")
    assert not re.search("password|SqlException|Kestrel", answer, re.IGNORECASE)


def test_config_of_the_readme_is_good(tmp_path):
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (tmp_path / "weir.yaml").write_text(example)
    ended = weir.run("check", str(tmp_path / "weir.yaml"))

    assert ended.returncode == 0, ended.stderr


@pytest.mark.parametrize("page", [weir.ROOT / "README.md", *DOCS], ids=lambda page: page.name)
def test_links_lead_to_files(page: Path):
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)(?:#[^)]*)?\)", page.read_text())

    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_page_can_be_found():
    """From the README, at most one page away."""
    linked = README + "".join(page.read_text() for page in DOCS if f"docs/{page.name}" in README)

    assert [p.name for p in DOCS if p.parent.name == "docs" and p.name not in linked] == []
