"""A hook of MkDocs: pages that mkdocs.yml does not order, and links of pages above docs/ or out of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ABOVE = {"security.md": "SECURITY.md", "changelog.md": "CHANGELOG.md"}  # pages by the files they are links to


def on_config(config: Any) -> None:
    """Decisions get a section; what else is new stands at the end of Reference until it has its place."""
    docs = Path(config["docs_dir"])
    ordered = set(re.findall(r"[\w./-]+\.md", str(config["nav"])))
    unordered = [path.name for path in sorted(docs.glob("*.md")) if path.name not in ordered]
    reference = next(entry["Reference"] for entry in config["nav"] if "Reference" in entry)
    reference += [{_title(docs / name): name} for name in unordered]
    decisions = sorted((docs / "decisions").glob("*.md"))
    config["nav"].append({"Decisions": [{_title(path): f"decisions/{path.name}"} for path in decisions]})


def _title(path: Path) -> str:
    return path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ")


def on_page_markdown(markdown: str, page: Any, config: Any, **_: object) -> str:
    if page.file.src_uri in ABOVE:
        markdown = re.sub(r"\]\(docs/", "](", markdown)
    first = min((Path(config["docs_dir"]) / "decisions").glob("*.md")).name
    markdown = markdown.replace("](decisions/)", f"](decisions/{first})")  # a folder has no page of its own
    out = "../" * (page.file.src_uri.count("/") + 1)
    for name, above in ABOVE.items():
        markdown = markdown.replace(f"]({out}{above}", f"]({out.removesuffix('../')}{name}")
    return markdown.replace(f"]({out}", f"]({config['repo_url']}/blob/main/")
