"""Links of the site, a hook of MkDocs: of pages that lie above docs/, and those that lead out of it."""

from __future__ import annotations

import re
from typing import Any

ABOVE = {"security.md": "SECURITY.md", "changelog.md": "CHANGELOG.md"}  # pages by the files they are links to


def on_page_markdown(markdown: str, page: Any, config: Any, **_: object) -> str:
    if page.file.src_uri in ABOVE:
        markdown = re.sub(r"\]\(docs/", "](", markdown)
    out = "../" * (page.file.src_uri.count("/") + 1)
    for name, above in ABOVE.items():
        markdown = markdown.replace(f"]({out}{above}", f"]({out.removesuffix('../')}{name}")
    return markdown.replace(f"]({out}", f"]({config['repo_url']}/blob/main/")
