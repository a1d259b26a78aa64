"""How values and names are shown within messages: on one line, bounded. Knows nothing of settings."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SHOWN_CHARACTERS = 60
_NAME = re.compile(r"(?:[A-Za-z0-9_.-]|[^\x00-\x7f]){1,40}")


def shown(value: object) -> str:
    """A value as it reads in YAML. Never for a value that may hold a secret."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list | tuple):
        return "a list"
    if isinstance(value, dict):
        return "a block of settings"
    return f"{_short(repr(value))}{_odd_letters(value)}"


def _odd_letters(value: object) -> str:
    """What looks like a letter of ours, and is another one, is told from it."""
    escaped = ascii(value)
    return f", which is {_short(escaped)}" if escaped != repr(value) else ""


def _short(text: str) -> str:
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[:SHOWN_CHARACTERS]}…"


def shown_name(name: str) -> str:
    """A key as it is shown: odd letters, which look like others or like nothing, are escaped.

    One that does not look like a name may be a misplaced secret and is not shown.
    """
    return ascii(name)[1:-1] if _NAME.fullmatch(name) else "?"


def many(count: int, word: str) -> str:
    """`1 line`, `2,000 lines`."""
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def either(words: Sequence[str]) -> str:
    """`a, b or c`."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that was probably meant."""
    by_folded = {name.lower().replace("-", "_"): name for name in known}
    folded = word.lower().replace("-", "_").strip()
    if folded in by_folded:
        return by_folded[folded]
    close = get_close_matches(folded, by_folded, n=1, cutoff=0.6)
    return by_folded[close[0]] if close else None
