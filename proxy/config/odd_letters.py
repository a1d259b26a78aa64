"""Letters that look like others, or like nothing, where a text means something else than it seems to.

Other alphabets are as good as ours: a letter is odd if it stands within a word of another one, or cannot be
seen. Knows nothing of settings.
"""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W\d_]+")
_UNSEEN = ("Cc", "Cf", "Co", "Cn", "Zl", "Zp", "Zs")  # categories of Unicode: controls, formats, blanks
_OURS = ("LATIN", "MODIFIER LETTER")


def odd_letter(text: str) -> str | None:
    """The first, escaped; of words, one among Latin letters that is none."""
    if text.isascii():
        return None
    unseen = (letter for letter in text if not letter.isascii() and unicodedata.category(letter) in _UNSEEN)
    mixed = (
        letter
        for word in _WORD.findall(text)
        if any(map(_is_latin, word))
        for letter in word
        if not _is_latin(letter)
    )
    found = next(unseen, None) or next(mixed, None)
    return escaped(found) if found is not None else None


def odd_blank(text: str) -> str | None:
    """A letter that looks like a space, or like nothing, escaped."""
    found = next(
        (each for each in text if not each.isascii() and unicodedata.category(each) in _UNSEEN), None
    )
    return escaped(found) if found is not None else None


def escaped(letter: str) -> str:
    return ascii(letter)[1:-1]


def _is_latin(letter: str) -> bool:
    return letter.isascii() or unicodedata.name(letter, "").startswith(_OURS)
