"""Ways round a limit that a config leaves open: `weir check` warns of them, as of all doubts (config.doubts).

No message repeats a glob's value: it may be a secret.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from proxy.config.key_names import ADDRESSES, CREDENTIALS, NOT_FORWARDED
from proxy.config.sections.limits import Match

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.look import Finding, SettingPath
    from proxy.config.sections.limits import LimitSettings
    from proxy.config.settings import Settings


# What browsers and programs say of themselves and of the way here: whoever writes a client chooses it.
_DESCRIPTIVE = frozenset(
    "accept accept-charset accept-encoding accept-language cache-control dnt from origin pragma referer"  # noqa: SIM905 - a list would take a page
    " sec-ch-ua sec-ch-ua-mobile sec-ch-ua-platform sec-fetch-dest sec-fetch-mode sec-fetch-site"
    " sec-fetch-user upgrade-insecure-requests user-agent via x-requested-with".split()
)
# The service is told of these, though in other words.
_TOLD = frozenset(("expect", "transfer-encoding", "upgrade", "via", "x-request-id"))
# Of a glob, what is no secret: a scheme, the name of a cookie or a parameter, wildcards.
_KNOWN_PARTS = re.compile(r"^[A-Za-z]+ |[^=;, ]*=|[*\s;,\"]")


def invented_credentials(settings: Settings) -> Iterator[Finding]:
    """Who sends a new one with each request has a new bucket each time."""
    bounded = [limit.match for limit in settings.limits if _bounds_addresses(limit)]
    for index, limit in enumerate(settings.limits):
        named = [spec for spec in limit.key if any(part.kind in CREDENTIALS for part in spec.parts)]
        if named and limit.unproven is None and not any(_is_within(limit.match, each) for each in bounded):
            yield (
                ("limits", index, "key"),
                (
                    f"whoever invents {named[0]} anew for each request is never refused: give the limit"
                    " unproven: {rate: 60/s}, or let a limit by client-ip stand beside it"
                ),
            )


def _bounds_addresses(limit: LimitSettings) -> bool:
    """Whatever a request carries, its address can send no more: not if it only watches, or lets some pass."""
    is_meant = limit.mode != "shadow" and limit.enforce > 0 and limit.concurrency is None
    is_by_address = all(part.kind in ADDRESSES for spec in limit.key for part in spec.parts)
    return is_meant and is_by_address and not limit.exempt.headers


def _is_within(match: Match, other: Match) -> bool:
    """The other counts everything or the same, as far as can be seen."""
    return other in (match, Match())


def given_exemptions(settings: Settings) -> Iterator[Finding]:
    """What lets a client pass unlimited must be something that others cannot write."""
    for index, limit in enumerate(settings.limits):
        for name, glob in limit.exempt.headers.items():
            if name.lower() in _DESCRIPTIVE:
                why = f"any client can write {name} as it likes, and is not limited then"
            elif "*" in glob and not _KNOWN_PARTS.sub("", glob):
                why = f"any value of {name} will do, so that whoever sends one is not limited"
            else:
                continue
            yield (
                ("limits", index, "exempt", "headers", name),
                f"{why}; ask for a secret value, or let clients pass by exempt.cidrs",
            )


def unseen_fields(settings: Settings) -> Iterator[Finding]:
    """What is read by Weir alone tells nothing of what the service answers."""
    for place, name in _fields_asked_for(settings):
        if name.lower() in NOT_FORWARDED - _TOLD:
            yield place, f"{name} never reaches the service: whoever sends it is no other client there"


def unseen_hosts(settings: Settings) -> Iterator[Finding]:
    """A client that invents them is served all the same."""
    if settings.upstream.host != "upstream":
        return
    for index, limit in enumerate(settings.limits):
        for at, spec in enumerate(limit.key):
            if any(part.kind == "host" or str(part).lower() == "header:host" for part in spec.parts):
                yield ("limits", index, "key", at), _UNSEEN_HOST
        if name := next((name for name in limit.match.headers if name.lower() == "host"), ""):
            yield ("limits", index, "match", "headers", name), _UNSEEN_HOST
        if name := next((name for name in limit.exempt.headers if name.lower() == "host"), ""):
            yield ("limits", index, "exempt", "headers", name), _UNSEEN_HOST


_UNSEEN_HOST = (
    "the service never sees the client's Host (upstream.host: upstream): a client that invents one is served"
    " the same, and counted elsewhere"
)


def _fields_asked_for(settings: Settings) -> Iterator[Finding]:
    """The fields that limits read, but for keys, which are no mere doubt there."""
    for index, limit in enumerate(settings.limits):
        blocks: list[tuple[SettingPath, Match]] = [(("match",), limit.match)]
        if isinstance(limit.cost, tuple):
            blocks += ((("cost", at, "match"), entry.match) for at, entry in enumerate(limit.cost))
        for place, match in blocks:
            yield from ((("limits", index, *place, "headers", name), name) for name in match.headers)
            yield from (
                (("limits", index, *place, "absent", at), name) for at, name in enumerate(match.absent)
            )
        yield from ((("limits", index, "exempt", "headers", name), name) for name in limit.exempt.headers)
    for at, name in enumerate(settings.contract.credentials):
        yield ("contract", "credentials", at), name


def repeated_plan_keys(settings: Settings) -> Iterator[Finding]:
    """The first plan that a limit names counts, whatever the others say."""
    held = {plan.name: frozenset(plan.keys) for plan in settings.plans}
    for index, limit in enumerate(settings.limits):
        seen: set[str] = set()
        for at, name in enumerate(limit.plans):
            keys = held.get(name, frozenset())
            if twice := seen & keys:
                some = f"{len(twice)} of its keys have" if len(twice) > 1 else "one of its keys has"
                yield (
                    ("limits", index, "plans", at),
                    f"{some} a plan that stands before it here, which counts",
                )
            seen |= keys
