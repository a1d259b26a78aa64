"""The cases: one file each, its name the verdict.

`requests/` holds what a client sends. `refused-STATUS-...`: answered so, and nothing reaches the origin.
`cut-STATUS-...`: answered so, and what reaches the origin, whose head may be on its way, is never a whole
request. `passes-...`: exactly one request reaches it, which everybody reads the same way.

Padding is made, not stored: `<<"a" * 8000>>` in a file stands for 8000 times a, `%d` in it for the number of each.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).parent
AFTER = b"GET /after HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n"
BODY_LIMIT = "64KiB"  # the limit that the cases about too large bodies are written for

_PADDING = re.compile(rb'<<"(.+?)" \* (\d+)>>')
_NAME = re.compile(r"(refused|cut)-(\d{3})-(.+)|(passes)-(.+)")


@dataclass(frozen=True)
class Case:
    verdict: str  # refused, cut or passes
    status: int  # 0 for what passes
    title: str
    data: bytes

    @property
    def name(self) -> str:
        return f"{self.verdict}-{self.status}-{self.title}" if self.status else f"{self.verdict}-{self.title}"

    @property
    def topic(self) -> str:
        return self.title.partition("-")[0]

    @property
    def sent(self) -> bytes:
        """With a request behind it: what is left of the case would be read as its beginning."""
        return self.data + AFTER


def cases() -> list[Case]:
    return [_case(path) for path in sorted((FOLDER / "requests").glob("*.http"))]


def message(path: Path) -> bytes:
    """The bytes that a file of the corpora stands for."""
    return _PADDING.sub(_padding, path.read_bytes())


def _padding(match: re.Match[bytes]) -> bytes:
    unit, times = match[1].decode("unicode_escape").encode("latin-1"), int(match[2])
    return b"".join(unit % n for n in range(times)) if b"%d" in unit else unit * times


def _case(path: Path) -> Case:
    match = _NAME.fullmatch(path.stem)
    assert match is not None, f"no verdict in the name: {path.name}"
    verdict, status, title, passes, passing = match.groups()
    return Case(verdict or passes, int(status or 0), title or passing, message(path))
