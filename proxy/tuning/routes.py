"""What limits see of a request's line: the many lines of a log make few routes.

Requests are of one route if their methods and paths fit the same of a config's patterns: then nothing that
the config says tells them apart by their lines. Knows nothing of header fields and keys.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.http1.head import METHODS, HeaderSection, RequestHead, is_plain_line
from proxy.policy.edge import Edge
from proxy.policy.matching import Exemption, Matcher

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from proxy.config.sections.limits import Exempt, LimitSettings, Match
    from proxy.config.settings import Settings

PATTERNS_MAX: Final = 48  # each is tried on each path: with more of them, paths are told apart as they are
LINES_KNOWN: Final = 20_000  # methods with their paths: 5 MB
LETTERS_KNOWN: Final = 1024  # of a method and path that are remembered
LINE_BYTES: Final = 128 * 1024  # the log has bounded it
UNREADABLE: Final = -1  # of what no parser takes
_NO_FIELDS: Final = HeaderSection(b"\r\n")


class Routes:
    def __init__(self, settings: Settings, logged: Sequence[LimitSettings] = ()) -> None:
        limits = (*settings.limits, *logged)
        self._matchers = [Matcher(match) for match in _lines_of(limits)]
        self._exemptions = [Exemption(exempt) for exempt in _exempt_paths_of(limits)]
        contract = settings.contract.model_copy(update={"credentials": ()})  # of which logs do not tell
        self._edge = Edge(contract)
        self._methods = METHODS.union(method.encode() for method in settings.downstream.methods)
        self._usual = frozenset(method.decode() for method in self._methods - {b"CONNECT", b"TRACE"})
        self.are_few = len(self._matchers) + len(self._exemptions) <= PATTERNS_MAX
        self.is_one = not (self._matchers or self._exemptions) and self._edge.is_idle
        self._known: dict[tuple[str, str], int] = {}
        self._numbers: dict[tuple[object, ...], int] = {}

    def has_method(self, method: str) -> bool:
        """It is one that is forwarded."""
        return method in self._usual

    def number(self, method: str, path: str) -> int:
        """Equal for requests of one route; UNREADABLE for what no parser takes as it stands."""
        line = (method, path)
        number = self._known.get(line)
        if number is None:
            if len(self._known) >= LINES_KNOWN:
                self._known.clear()
            number = self._find(method, path)
            if len(method) + len(path) <= LETTERS_KNOWN:
                self._known[line] = number
        return number

    def _find(self, method: str, path: str) -> int:
        line = method.encode("utf-8", "replace"), path.encode("utf-8", "replace")
        if not path or not is_plain_line(*line, LINE_BYTES, self._methods):
            return UNREADABLE
        head = RequestHead(*line, 1, _NO_FIELDS)
        seen = (
            self._edge.refusal(head, ""),
            *[matcher.holds(head) for matcher in self._matchers],
            *[exemption.holds(head, "") for exemption in self._exemptions],
        )
        return self._numbers.setdefault(seen, len(self._numbers))


def holds_no_odd_letter(text: str) -> bool:
    """A target holds only what every parser takes."""
    return text.isascii() and text.isprintable() and " " not in text and "#" not in text


def _lines_of(limits: Iterable[LimitSettings]) -> Iterable[Match]:
    """What the limits' patterns ask of a line, each once."""
    found = {}
    for limit in limits:
        costs = limit.cost if isinstance(limit.cost, tuple) else ()
        for match in (limit.match, *[cost.match for cost in costs]):
            if match.methods or match.paths:
                asked = match.methods, match.paths, match.exact
                found[asked] = match.model_copy(update={"headers": {}, "absent": ()})
    return found.values()


def _exempt_paths_of(limits: Iterable[LimitSettings]) -> Iterable[Exempt]:
    found = {limit.exempt.paths: limit.exempt for limit in limits if limit.exempt.paths}
    return [exempt.model_copy(update={"cidrs": (), "headers": {}}) for exempt in found.values()]
