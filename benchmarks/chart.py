"""The chart of docs/performance.md as SVG: what a request costs, Weir and its peers, case by case."""

from __future__ import annotations

from typing import Any

from benchmarks.cases import BUILDS, CASES
from benchmarks.report import middle

SHOWN = ("redis-32", "redis-mixed", "redis-4", "refused", "memory-32", "memory-mixed", "64k")
LONGEST_US = 100  # a bar that is longer is cut, and says its figure all the same
WIDTH, LABEL, BAR, GAP, HEAD = 760, 190, 14, 3, 30
SCALE = (WIDTH - LABEL - 70) / LONGEST_US
COLOURS = {BUILDS[0]: "#0b6e99", BUILDS[1]: "#7fb8d0"}
OTHERS = "#b8b8b8"
STYLE = "font-family:sans-serif;font-size:11px"


def render(results: dict[str, Any]) -> str:
    parts: list[str] = []
    top = HEAD + 10
    for case in CASES:
        peers = results["cases"].get(case.name)
        if peers and case.name in SHOWN:
            parts.append(_text(8, top + 14, case.title, "font-weight:bold"))
            top += 22
            for name in sorted(peers, key=lambda name: middle(peers[name], "cpu_us")):
                parts += _bar(top, name, middle(peers[name], "cpu_us"))
                top += BAR + GAP
            top += 12
    machine = results["machine"]
    head = f"CPU of the proxy for one request, microseconds; {machine['date']}, {machine['cpu']}"
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top}" style="{STYLE}">',
            f'<rect width="{WIDTH}" height="{top}" fill="#fff"/>',
            _text(8, 20, head, "font-size:13px;font-weight:bold"),
            *parts,
            "</svg>\n",
        ]
    )


def _bar(top: int, name: str, cost_us: float) -> list[str]:
    length = min(cost_us, LONGEST_US) * SCALE
    base = top + BAR - 3
    colour = COLOURS.get(name, OTHERS)
    figure = f"{cost_us:.1f}" + (" (cut)" if cost_us > LONGEST_US else "")
    return [
        f'<text x="{LABEL - 6}" y="{base}" text-anchor="end">{name}</text>',
        f'<rect x="{LABEL}" y="{top}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>',
        _text(LABEL + length + 4, base, figure),
    ]


def _text(x: float, y: float, text: str, style: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y}" style="{style}">{text}</text>'
