"""Letters that look like others, or like nothing, where a text means something else than it seems to.

Other alphabets are as good as ours: a letter is odd if it looks like one of ours and stands among them, or
cannot be seen. Knows nothing of settings.
"""

from __future__ import annotations

import re
import unicodedata

_WORD = re.compile(r"[^\W\d_]+")
_UNSEEN = ("Cc", "Cf", "Co", "Cn", "Zl", "Zp", "Zs")  # categories of Unicode: controls, formats, blanks
# Of letters, as Unicode names them, that Latin ones are taken for.
_ALIKE = ("ARMENIAN", "CHEROKEE", "COPTIC", "CYRILLIC", "FULLWIDTH", "GREEK", "MATHEMATICAL")
_IS_JOINED = re.compile("(?<=[^\x00-\x7f])[\u200c\u200d](?=[^\x00-\x7f])")  # as Persian and emoji are written


def odd_letter(text: str) -> str | None:
    """The first, escaped; of words, one among Latin letters that only looks like them."""
    if text.isascii():
        return None
    text = _IS_JOINED.sub("", text)
    unseen = (letter for letter in text if not letter.isascii() and unicodedata.category(letter) in _UNSEEN)
    mixed = (
        letter
        for word in _WORD.findall(text)
        if any(map(str.isascii, word))
        for letter in word
        if unicodedata.name(letter, "").startswith(_ALIKE)
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
