"""Whether two globs have anything in common: exact, by walking both at once. Knows nothing of settings.

Globs are those of paths (`*` within a segment, `**` across, as a whole segment also none) and of values (`*`
for any text); case makes no difference.
"""

from __future__ import annotations

from typing import Final, NamedTuple

_ANY: Final = ""  # any character
_BUT_SLASH: Final = "/"  # any character but a slash: as a class, a slash itself is a literal


class _Step(NamedTuple):
    """Leads from one state to another by a character."""

    is_class: bool  # of characters: `text` is _ANY or _BUT_SLASH
    text: str
    to: int


class _Walk:
    """A glob as states, each with its steps and those that cost nothing."""

    def __init__(self) -> None:
        self.steps: list[list[_Step]] = [[]]
        self.free: list[list[int]] = [[]]

    def literal(self, character: str) -> None:
        self.steps[-1].append(_Step(is_class=False, text=character, to=len(self.steps)))
        self._add()

    def loop(self, text: str) -> None:
        """Any number of characters of a class."""
        last = len(self.steps) - 1
        self.steps[last].append(_Step(is_class=True, text=text, to=last))

    def deep(self) -> None:
        """Any number of segments, each behind its slash."""
        last = len(self.steps) - 1
        self._add()
        self.steps[last].append(_Step(is_class=False, text="/", to=last + 1))
        self.loop(_BUT_SLASH)
        self.free[last + 1].append(last)
        self._add()
        self.free[last].append(last + 2)

    def _add(self) -> None:
        self.steps.append([])
        self.free.append([])

    @property
    def end(self) -> int:
        return len(self.steps) - 1

    def with_free(self, states: frozenset[int]) -> frozenset[int]:
        found, todo = set(states), list(states)
        while todo:
            for state in self.free[todo.pop()]:
                if state not in found:
                    found.add(state)
                    todo.append(state)
        return frozenset(found)


def paths_overlap(one: str, other: str) -> bool:
    """Any path fits both; a slash at the end makes no difference."""
    return _overlap(_path(one.rstrip("/") or "/"), _path(other.rstrip("/") or "/"))


def values_overlap(one: str, other: str) -> bool:
    """Any value fits both."""
    return _overlap(_value(one), _value(other))


def _path(glob: str) -> _Walk:
    walk = _Walk()
    for segment in glob.lower().removeprefix("/").split("/"):
        if segment == "**":
            walk.deep()
            continue
        walk.literal("/")
        for position, part in enumerate(segment.split("**")):
            if position:
                walk.loop(_ANY)
            _add_text(walk, part, _BUT_SLASH)
    return walk


def _value(glob: str) -> _Walk:
    walk = _Walk()
    _add_text(walk, glob.lower(), _ANY)
    return walk


def _add_text(walk: _Walk, text: str, star: str) -> None:
    for character in text:
        if character == "*":
            walk.loop(star)
        else:
            walk.literal(character)


def _overlap(one: _Walk, other: _Walk) -> bool:
    begin = (one.with_free(frozenset((0,))), other.with_free(frozenset((0,))))
    steps = (step for walk in (one, other) for each in walk.steps for step in each)
    letters = {"\0", *(step.text for step in steps if not step.is_class)}  # NUL stands for all others
    seen, todo = {begin}, [begin]
    while todo:
        ours, theirs = todo.pop()
        if one.end in ours and other.end in theirs:
            return True
        for letter in letters:
            pair = (_next(one, ours, letter), _next(other, theirs, letter))
            if pair[0] and pair[1] and pair not in seen:
                seen.add(pair)
                todo.append(pair)
    return False


def _next(walk: _Walk, states: frozenset[int], letter: str) -> frozenset[int]:
    found = {step.to for state in states for step in walk.steps[state] if _takes(step, letter)}
    return walk.with_free(frozenset(found))


def _takes(step: _Step, letter: str) -> bool:
    if not step.is_class:
        return step.text == letter
    return step.text == _ANY or letter != "/"
