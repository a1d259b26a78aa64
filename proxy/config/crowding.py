"""How many limits one request can meet: each costs a bucket and a field's member in every response.

Limits of which no request meets two stand in one group; it can meet one of each. The groups may be more than
need be, so the bound is never too small. Exact for globs: config.overlap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.futile import meet
from proxy.config.limit_checks import MET_MAX
from proxy.config.overlap import values_overlap
from proxy.config.unknown import known

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from proxy.config.look import Finding
    from proxy.config.sections.limits import Match
    from proxy.config.settings import Settings


def met_together(settings: Settings) -> Iterator[Finding]:
    limits = [limit for _, limit in known(settings.limits)]
    if len(limits) <= MET_MAX:
        return
    groups = _groups([Traits(limit.match) for limit in limits])
    if len(groups) > MET_MAX:
        some = ", ".join(limits[group[0]].name for group in groups[:3])
        yield (
            ("limits",),
            (
                f"one request may meet {len(groups)} of these limits, such as {some}, and {MET_MAX} are"
                " possible: tell their `match` further apart"
            ),
        )


class Traits:
    """What tells the requests of one limit from those of another."""

    __slots__ = ("headers", "methods", "paths", "split")

    def __init__(self, match: Match) -> None:
        self.methods = match.methods_met
        self.headers = {name.lower(): glob.lower() for name, glob in match.headers.items()}
        self.paths = match.paths
        self.split = [glob.lower().strip("/").split("/") for glob in match.paths]

    def is_apart(self, other: Traits) -> bool:
        """No request, read in one way, fits both."""
        if self.methods and other.methods and self.methods.isdisjoint(other.methods):
            return True
        for name in self.headers.keys() & other.headers.keys():
            one, two = self.headers[name], other.headers[name]
            if one != two and (_are_values_apart(one, two) or not values_overlap(one, two)):
                return True
        return bool(self.paths and other.paths) and not self._shares_path(other)

    def _shares_path(self, other: Traits) -> bool:
        if all(_begin_apart(one, two) for one in self.split for two in other.split):
            return False
        return meet(self.paths, other.paths)


def _begin_apart(one: Sequence[str], other: Sequence[str]) -> bool:
    """Two globs, by their segments, differ before the first `**`: spares the walk, which takes 100 us."""
    for ours, theirs in zip(one, other, strict=False):
        if _begin_otherwise(ours, theirs):
            return True
        if "**" in ours or "**" in theirs:
            return False
    return False


def _are_values_apart(one: str, other: str) -> bool:
    """Two globs differ before the first `*` or behind the last: spares the walk."""
    return _begin_otherwise(one, other) or _begin_otherwise(one[::-1], other[::-1])


def _begin_otherwise(one: str, other: str) -> bool:
    """Two texts that differ before the first `*`."""
    head, wild, _ = one.partition("*")
    start, wild_too, _ = other.partition("*")
    if not wild and not wild_too:
        return head != start
    return not ((wild_too and head.startswith(start)) or (wild and start.startswith(head)))


def _groups(limits: Sequence[Traits]) -> list[list[int]]:
    """Each limit joins the first group that it is apart from."""
    groups: list[list[int]] = []
    for number, traits in enumerate(limits):
        for group in groups:
            if all(traits.is_apart(limits[each]) for each in group):
                group.append(number)
                break
        else:
            groups.append([number])
    return groups
