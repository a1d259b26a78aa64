"""README and docs are plain English as far as a program can see it: short sentences, terms that are explained.

So are decisions, the changelog and the cells of tables.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.unmeasured

ROOT = Path(__file__).parents[1]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
PAGES = [*TOP, *sorted(page for page in (ROOT / "docs").glob("*.md") if not page.is_symlink()), *DECISIONS]
WORDS_MAX = 30
TERMS_ALONE = 8  # terms from which on a page leads to where they are explained


def prose(text):
    """The paragraphs and list items of a page: no code, no tables, no headings."""
    text = re.sub(r"^( *)(```|~~~)[\s\S]*?^\1\2", "\n\n", text, flags=re.MULTILINE)
    text = re.sub(r"<!--[\s\S]*?-->|^<[\s\S]*?>$", "", text, flags=re.MULTILINE)
    for block in re.split(r"\n\s*\n|\n(?= *(?:[-*]|\d+\.) )", text):
        kept = [line for line in block.splitlines() if not re.match(r" {4,}\S|\||#|---|!!!|\s*<", line)]
        if kept and not re.match(r"\t| {4}", block.lstrip("\n")):
            yield " ".join(line.strip() for line in kept)


def sentences(block):
    """Code is one word each, and so is a link's address."""
    block = re.sub(r"`+[^`]+`+", "code", block)
    block = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", block)
    block = re.sub(r"^(?:[-*]|\d+\.) ", "", block)
    return re.split(r"(?<=[.!?])[)\"*]*\s+(?=[A-Z0-9`*(/\"]|code)|(?<=:)\s+(?=- )", block)


def cells(text):
    """Of all tables of a page, without their code."""
    for line in re.sub(r"^( *)(```|~~~)[\s\S]*?^\1\2", "", text, flags=re.MULTILINE).splitlines():
        if line.startswith("|"):
            yield from (cell.strip() for cell in re.sub(r"`[^`]*`", "code", line.strip("|")).split("|"))


def long_sentences(blocks):
    for block in blocks:
        for sentence in sentences(block):
            words = [word for word in sentence.split() if re.search(r"\w", word)]
            if len(words) > WORDS_MAX:
                yield f"{len(words)}: {sentence}"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_no_sentence_is_longer_than_a_reader_can_hold(path):
    assert list(long_sentences(prose(path.read_text()))) == []


@pytest.mark.parametrize(
    "path", [page for page in PAGES if page.name != "files.md"], ids=lambda path: path.name
)
def test_no_cell_of_a_table_has_a_longer_one(path):
    """But in the table that is made of what the files say of themselves."""
    assert list(long_sentences(cells(path.read_text()))) == []


def test_long_sentence_is_seen():
    """In a paragraph, in an item of a list and in a cell."""
    long = " ".join(["word"] * (WORDS_MAX + 1))

    assert len(list(long_sentences(prose(f"{long}.\n\n- {long}.")))) == 2
    assert len(list(long_sentences(cells(f"| a | Short. {long.capitalize()} |")))) == 1


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.name)
def test_heading_of_a_decision_has_its_number(path):
    assert path.read_text().startswith(f"# {int(path.name[:4])}. ")


# --- terms ---

TERMS = (
    "bucket", "token", "rate", "burst", "cost", "debt", "GCRA", "plan", "shadow", "max_wait", "lease", "unproven", "store",
    "denial cache", "ejection", "drain", "redaction", "error object", "fault", "ETag", "hop-by-hop", "admin plane",
    "exchange", "outcome", "tunnel", "peer", "hop", "partition key", "supervisor", "interim response",
)  # fmt: skip
WORDS = (ROOT / "docs" / "index.md").read_text().partition("## Words")[2]


@pytest.mark.parametrize("term", TERMS)
def test_term_is_explained(term):
    assert re.search(rf"^\|[^|]*\b{term}\b[^|]*\|[^|]{{20,}}\|$", WORDS, re.MULTILINE)


LEADING = [page for page in PAGES if page not in DECISIONS and page.name != "CONTRIBUTING.md"]


@pytest.mark.parametrize("path", LEADING, ids=lambda path: path.name)
def test_page_that_uses_terms_leads_to_their_meaning(path):
    """At once: before the first of them, or in the row of a table that names what is to be read."""
    text = path.read_text()
    used = sum(re.search(rf"\b{term}\b", text) is not None for term in TERMS)

    assert (
        used < TERMS_ALONE
        or path.name in ("index.md", "architecture.md", "contract.md")
        or "index.md#words" in text
    )
