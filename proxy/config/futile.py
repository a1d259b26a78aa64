"""Limits that no request can meet, exemptions that exempt nobody, prices that nobody pays.

Exact for globs: config.overlap.
"""

from __future__ import annotations

import re
from ipaddress import collapse_addresses
from itertools import product
from typing import TYPE_CHECKING

from proxy.config.overlap import paths_overlap, values_overlap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from ipaddress import IPv4Network, IPv6Network

    from proxy.config.look import Finding
    from proxy.config.sections.limits import LimitSettings, Match
    from proxy.config.settings import Settings


PAIRS_MAX = 2000  # of globs that are compared: a config that has more is made by a program
_EVERYBODY = {"0.0.0.0/0", "::/0"}


def futile(settings: Settings) -> Iterator[Finding]:
    for index, limit in enumerate(settings.limits):
        why = next(_why_never(settings, limit), None)
        if why is not None:
            place, reason = why
            yield ("limits", index, *place), f"this limit never counts a request: {reason}"
            continue
        for place, reason in _idle_exemptions(settings, limit):
            yield ("limits", index, "exempt", *place), f"exempts nobody: {reason}"
        for place, reason in _idle_costs(limit):
            yield ("limits", index, "cost", *place), f"no request costs this: {reason}"


def _why_never(settings: Settings, limit: LimitSettings) -> Iterator[Finding]:
    """Reasons for which the limit meets no request."""
    match, exempt, contract = limit.match, limit.exempt, settings.contract
    allowed = set(contract.allow_methods)
    if allowed and not contract.path_methods and match.methods and allowed.isdisjoint(match.methods_met):
        yield ("match", "methods"), "contract.allow_methods refuses its methods before"
    if contract.known_paths and match.paths and not meet(match.paths, contract.known_paths):
        yield ("match", "paths"), "no path of contract.known_paths fits, and others are refused before"
    if _all_addresses(exempt.cidrs):
        yield ("exempt", "cidrs"), "every address is exempt"
    if "/**" in exempt.paths:
        yield ("exempt", "paths"), "every path is exempt"
    elif match.paths and set(exempt.paths).issuperset(match.paths):
        yield ("exempt", "paths"), "every path that it matches is exempt"
    freeing = _folded(exempt.headers)
    for name, glob in match.headers.items():
        if any(covers(other, glob) for other in freeing.get(name.lower(), ())):
            yield ("exempt", "headers"), f"{name}, which it asks for, exempts"
    lacking = {f"header:{name.lower()}" for name in match.absent}
    parts = [{str(part).lower() for part in spec.parts} for spec in limit.key]
    if limit.when_absent == "skip" and not any(lacking.isdisjoint(each) for each in parts):
        yield ("match", "absent"), "its key is read from what its requests lack"


def _idle_exemptions(settings: Settings, limit: LimitSettings) -> Iterator[Finding]:
    matched, known = limit.match.paths, settings.contract.known_paths
    for at, path in enumerate(limit.exempt.paths):
        if matched and not meet((path,), matched):
            yield ("paths", at), f"{path} fits none of match.paths"
        elif known and not meet((path,), known):
            yield ("paths", at), f"{path} fits none of contract.known_paths"
    asked = _folded(limit.match.headers)
    for name, glob in limit.exempt.headers.items():
        others = asked.get(name.lower(), ())
        if others and not meet((glob,), others, values_overlap):
            yield ("headers", name), f"match.headers asks for another value of {name}"


def _all_addresses(networks: Sequence[IPv4Network | IPv6Network]) -> bool:
    """Together, whatever they are made of."""
    by_version = ([each for each in networks if each.version == version] for version in (4, 6))
    whole = {str(each) for some in by_version for each in collapse_addresses(some)}  # type: ignore[type-var]  # one version
    return whole >= _EVERYBODY


def _idle_costs(limit: LimitSettings) -> Iterator[Finding]:
    """Prices of requests that the limit does not count."""
    match = limit.match
    costs = limit.cost if isinstance(limit.cost, tuple) else ()
    for at, entry in enumerate(costs):
        methods, paths = entry.match.methods_met, entry.match.paths
        if match.methods and methods and match.methods_met.isdisjoint(methods):
            yield (at, "match", "methods"), "match.methods has none of these"
        elif match.paths and paths and not meet(match.paths, paths):
            yield (at, "match", "paths"), "no path fits both these and match.paths"
        elif any(_takes_all(earlier.match, entry.match) for earlier in costs[:at]):
            yield (at,), "an entry before it takes all of these"


def _takes_all(match: Match, other: Match) -> bool:
    """Every request that fits the other fits it, as far as can be seen."""
    methods = not match.methods or (other.methods and match.methods_met >= other.methods_met)
    paths = not match.paths or (other.paths and set(match.paths).issuperset(other.paths))
    asked = {name.lower(): glob for name, glob in other.headers.items()}
    headers = all(
        name.lower() in asked and covers(glob, asked[name.lower()]) for name, glob in match.headers.items()
    )
    lacking = {name.lower() for name in match.absent} <= {name.lower() for name in other.absent}
    return bool(methods and paths and headers and lacking and match.exact == other.exact)


def covers(glob: str, other: str) -> bool:
    """Whatever fits the other glob of values fits this one: its wildcards stand within this one's."""
    return re.fullmatch(".*".join(map(re.escape, glob.split("*"))), other, re.DOTALL) is not None


def _folded(headers: dict[str, str]) -> dict[str, tuple[str, ...]]:
    return {name.lower(): (glob,) for name, glob in headers.items()}


def meet(
    some: Sequence[str], others: Sequence[str], overlap: Callable[[str, str], bool] = paths_overlap
) -> bool:
    """Any of these globs has anything in common with any of those, or there are too many to tell."""
    if len(some) * len(others) > PAIRS_MAX:
        return True
    return any(overlap(one, other) for one, other in product(some, others))
