"""A simulation's report as a page: one file that asks nobody for anything, drawn by uPlot.

What comes from the logs stands in it as JSON that no HTML parser takes for markup, and is put on the page as
text.
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.resources.abc import Traversable

    from proxy.tuning.report import Report

_PLACE = re.compile(r"\{(title|uplot_css|css|logo|data|uplot_js|js)\}")


def page(reports: Sequence[Report]) -> str:
    own = files("proxy.tuning") / "report_page"
    shared = files("proxy.admin") / "dashboard"  # the one copy of uPlot, with its licence
    parts = {
        "title": "Weir: simulation",
        "uplot_css": _text(shared / "uplot.css"),
        "css": _text(own / "page.css"),
        "logo": _text(shared / "weir.svg"),
        "data": _as_text_of_html(msgspec.json.encode(reports).decode()),
        "uplot_js": _text(shared / "uplot.js"),
        "js": _text(own / "page.js"),
    }
    return _PLACE.sub(lambda match: parts[match[1]], _text(own / "page.html"))


def _text(file: Traversable) -> str:
    return file.read_text(encoding="utf-8")


def _as_text_of_html(json: str) -> str:
    """Within a script element only `<` could end it; in JSON it stands within strings alone."""
    return json.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
