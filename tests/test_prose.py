"""README and docs are plain English as far as a program can see it: short sentences, terms that are explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOP = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES = [*TOP, *sorted(page for page in (ROOT / "docs").glob("*.md") if not page.is_symlink())]
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


def long_sentences(text):
    for block in prose(text):
        for sentence in sentences(block):
            words = [word for word in sentence.split() if re.search(r"\w", word)]
            if len(words) > WORDS_MAX:
                yield f"{len(words)}: {sentence}"


@pytest.mark.parametrize("path", [page for page in PAGES if page.exists()], ids=lambda path: path.name)
def test_no_sentence_is_longer_than_a_reader_can_hold(path):
    assert list(long_sentences(path.read_text())) == []


# --- terms ---

TERMS = (
    "bucket", "token", "rate", "burst", "cost", "debt", "GCRA", "plan", "shadow", "max_wait", "lease", "unproven", "store",
    "denial cache", "ejection", "drain", "redaction", "error object", "fault", "ETag", "hop-by-hop", "admin plane",
)  # fmt: skip
WORDS = (ROOT / "docs" / "index.md").read_text().partition("## Words")[2]


@pytest.mark.parametrize("term", TERMS)
def test_term_is_explained(term):
    assert re.search(rf"^\|[^|]*\b{term}\b[^|]*\|[^|]{{20,}}\|$", WORDS, re.MULTILINE)


@pytest.mark.parametrize(
    "path", [ROOT / "README.md", *(ROOT / "docs").glob("*.md")], ids=lambda path: path.name
)
def test_page_that_uses_terms_leads_to_their_meaning(path):
    """At once: before the first of them, or in the row of a table that names what is to be read."""
    text = path.read_text()
    used = sum(re.search(rf"\b{term}\b", text) is not None for term in TERMS)

    assert (
        used < TERMS_ALONE
        or path.name in ("index.md", "architecture.md", "contract.md")
        or path.is_symlink()
        or "index.md#words" in text
    )
