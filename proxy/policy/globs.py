"""Globs over paths and header values, compiled once into one pattern.

A wide pattern is for text without regard to case (http1.path.folded), and for a path also matches with or
without a slash at the end.

In a path `*` stands for any text within one segment, `**` for any text at all; as a whole segment it
stands for any number of segments, none included: `/api/**` is `/api` and everything below it. In a value
`*` stands for any text. Everything else is literal. Whatever a client sends is matched in time
proportional to its length times that of the glob: every wildcard but the last takes the nearest text that
fits and never tries another (atomic groups, possessive repeats).
"""

from __future__ import annotations

import re
from itertools import product
from typing import TYPE_CHECKING

from proxy.http1.path import folded

if TYPE_CHECKING:
    from collections.abc import Iterable

_ANY_SEGMENTS = b"**"
AT_ONCE_MAX = 500  # globs in a pattern
INNER_MAX = 4  # `**` beside other characters of their segment: each doubles the patterns


class Several:
    """Patterns as one: compiled at once, 15 000 globs keep other threads waiting for 50 ms."""

    __slots__ = ("_patterns",)

    def __init__(self, patterns: list[re.Pattern[bytes]]) -> None:
        self._patterns = patterns

    def fullmatch(self, path: bytes) -> re.Match[bytes] | None:
        for pattern in self._patterns:
            found = pattern.fullmatch(path)
            if found is not None:
                return found
        return None


PathPattern = re.Pattern[bytes] | Several


def paths_pattern(globs: Iterable[str], *, wide: bool = False) -> PathPattern:
    """Matches, by `fullmatch`, a path that any of the globs does.

    `wide`: also behind which a format is named (`.json`), as some services route, or a slash.
    """
    all_globs = tuple(globs)
    if len(all_globs) <= AT_ONCE_MAX:
        return _pattern(all_globs, wide=wide)
    parts = [all_globs[at : at + AT_ONCE_MAX] for at in range(0, len(all_globs), AT_ONCE_MAX)]
    return Several([_pattern(part, wide=wide) for part in parts])


def _pattern(globs: Iterable[str], *, wide: bool) -> re.Pattern[bytes]:
    texts = [folded(glob.encode()).removesuffix(b"/") if wide else glob.encode() for glob in globs]
    sources = [_path_source(segments) for text in texts for segments in _variants(text)]
    return re.compile(rb"(?:%b)(?:\.[^/]*)?/?" % b"|".join(sources) if wide else b"|".join(sources))


def stem(glob: str, *, wide: bool = False) -> bytes:
    """The whole segments before the first wildcard: every path that the glob matches begins with them."""
    segments = (folded(glob.encode()) if wide else glob.encode()).split(b"/")[1:]
    first_wild = next((at for at, segment in enumerate(segments) if b"*" in segment), len(segments))
    return b"".join([b"/" + segment for segment in segments[:first_wild] if segment])


def value_pattern(glob: str, *, wide: bool = False) -> re.Pattern[bytes]:
    """Matches, by `fullmatch`, a value."""
    return re.compile(_wild_source(literal(glob, wide=wide), rb"[\s\S]"))


def literal(glob: str, *, wide: bool = False) -> bytes:
    """The text that it is compared as; without a `*`, the one value that it matches."""
    text = glob.encode()
    return b" ".join(folded(text).split()) if wide else text


def _variants(glob: bytes) -> Iterable[tuple[bytes, ...]]:
    """The glob's segments, with every `**` a segment of its own.

    `a**b` is either within one segment, `a*b`, or goes across: `a*/**/*b`.
    """
    choices: list[list[tuple[bytes, ...]]] = []
    inner = 0
    for segment in re.sub(rb"\*{3,}", _ANY_SEGMENTS, glob).removeprefix(b"/").split(b"/"):
        parts = segment.split(_ANY_SEGMENTS)
        if segment == _ANY_SEGMENTS or len(parts) == 1:
            choices.append([(segment,)])
            continue
        inner += len(parts) - 1
        if inner > INNER_MAX:
            raise ValueError(f"{glob.decode()} has more than {INNER_MAX} ** that are not a whole segment")
        splits = product((False, True), repeat=len(parts) - 1)
        choices.append([_split(parts, crosses) for crosses in splits])
    for chosen in product(*choices):
        yield tuple(segment for segments in chosen for segment in segments)


def _split(parts: list[bytes], crosses: tuple[bool, ...]) -> tuple[bytes, ...]:
    segments = [parts[0]]
    for part, is_crossing in zip(parts[1:], crosses, strict=True):
        if is_crossing:
            segments[-1] += b"*"
            segments += [_ANY_SEGMENTS, b"*" + part]
        else:
            segments[-1] += b"*" + part
    return tuple(segments)


def _path_source(segments: tuple[bytes, ...]) -> bytes:
    """The first run of segments stands at the start, the last at the end, others at the nearest place."""
    runs: list[list[bytes]] = [[]]
    for segment in segments:
        if segment == _ANY_SEGMENTS:
            runs.append([])
        else:
            runs[-1].append(segment)
    sources = [b"".join(b"/" + _wild_source(segment, b"[^/]") for segment in run) for run in runs]
    if len(sources) == 1:
        return sources[0]
    first, *middle, last = sources
    # With the end of its last segment looked for: the nearest place of `b` is not in `/bx/b`'s first segment.
    nearest = b"".join(rb"(?>(?:/[^/]*+)*?%b(?=/|\Z))" % source for source in middle if source)
    return b"%b%b%b%b" % (first, nearest, rb"(?:/[^/]*+)*" if last else rb"(?>(?:/[^/]*+)*)", last)


def _wild_source(glob: bytes, any_byte: bytes) -> bytes:
    first, *rest = re.sub(rb"\*+", b"*", glob).split(b"*")
    if not rest:
        return re.escape(first)
    *middle, last = (re.escape(part) for part in rest)
    nearest = b"".join(b"(?>%b*?%b)" % (any_byte, part) for part in middle)
    return b"%b%b%b*%b" % (re.escape(first), nearest, any_byte, last)
