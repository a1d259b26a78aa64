"""What the settings of limits and plans must be among each other: checks for these blocks."""

from __future__ import annotations

from math import gcd
from typing import TYPE_CHECKING

from proxy.config.checks import repeated
from proxy.config.units import EMPTIED_MAX_US, WAIT_MAX, format_span
from proxy.config.unknown import UNKNOWN, Unknown, ask, known
from proxy.config.wording import nearest, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from proxy.config.key_names import KeySpec
    from proxy.config.look import Finding
    from proxy.config.sections.limits import LimitSettings, Match
    from proxy.config.sections.plans import PlanSettings
    from proxy.config.settings import Settings
    from proxy.config.units import Rate

MET_MAX = 32  # limits that one request may meet: each costs a bucket and a field's member in every response
EXACT_MAX = 2**53  # integers that a double holds without loss: Redis counts buckets in doubles


def key_order(key: Sequence[KeySpec | Unknown]) -> Iterator[Finding]:
    """No entry is there twice; an address, charged only for want of anything else, stands last."""
    yield from repeated((spec if isinstance(spec, Unknown) else spec.folded for spec in key), "the key")
    for index, spec in enumerate(key):
        if isinstance(spec, Unknown):
            continue
        above = [each for each in key[:index] if not isinstance(each, Unknown)]
        before = next((each for each in above if each.is_always_present), None)
        if spec.is_address and before is not None and spec != before:
            yield (index,), f"is never reached: {before} is always present"
        address = next((each for each in above if each.is_address), None)
        if address is not None and not spec.is_address:
            yield (
                (index,),
                f"is charged before {address}, for who has nothing else: put that last",
            )


def absent_names(names: Sequence[str]) -> Iterator[Finding]:
    yield from repeated((name if isinstance(name, Unknown) else name.lower() for name in names), "the header")


def absent(match: Match) -> Iterator[Finding]:
    asked = {name.lower() for name in match.headers}
    for index, name in known(match.absent):
        if name.lower() in asked:
            yield ("absent", index), f"{name} is asked for in headers: no request has it and has it not"


def costs(settings: LimitSettings) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """What a request may cost, and where that stands."""
    if not isinstance(settings.cost, tuple):
        yield ("cost",), settings.cost
        return
    for index, entry in known(settings.cost):
        if ask(entry, "cost") is not UNKNOWN:
            yield ("cost", index, "cost"), entry.cost


def counted(settings: LimitSettings) -> Iterator[Finding]:
    """A limit counts by a rate or by slots, and whatever belongs to the other of the two is not there."""
    if settings.concurrency is None:
        if settings.rate is None:
            yield ("rate",), "is required: how many requests may come in a time, such as 15/s; or concurrency"
        return
    defaults = type(settings).model_fields
    for name, why in OF_RATES.items():
        if name in settings.model_fields_set and getattr(settings, name) not in (
            None,
            defaults[name].default,
        ):
            yield (name,), f"does not go with concurrency: {why}"


# Settings of limits on rates, and what they are there for.
OF_RATES = {
    "rate": "a limit counts the requests of a time or those under way; write two limits for both",
    "burst": "that is part of a rate; concurrency itself says how many there may be at once",
    "cost": "each request under way holds one slot",
    "plans": "they name rates; write a limit of its own for clients that may do more at once",
    "max_wait": "nobody knows when a slot comes back, so nothing can wait for it",
    "lease": "slots are taken and given back one by one",
    "cost_304": "a slot comes back when its request ends, whatever was answered",
    "on_upstream_429": "there are no tokens to take away",
    "on_upstream_401": "there are no tokens to move",
    "unproven": "it is a rate; write a limit by client-ip for those who are new",
}


def cost(settings: LimitSettings) -> Iterator[Finding]:
    for place, tokens in costs(settings):
        if settings.burst is not None and tokens > settings.burst:
            which = "request" if place == ("cost",) else "such request"
            yield place, f"{tokens} is above the burst of {settings.burst}: no {which} would ever pass"
    if isinstance(settings.cost, tuple):
        for index, entry in list(known(settings.cost))[:-1]:
            if ask(entry, "match") is not UNKNOWN and entry.match == type(entry.match)():
                yield ("cost", index + 1), "is never reached: the entry before it matches every request"
                return


def lease(settings: LimitSettings) -> Iterator[Finding]:
    least = min((tokens for _, tokens in costs(settings)), default=1)
    if settings.burst is not None and settings.lease > 1 and settings.lease * least > settings.burst:
        yield (
            ("lease",),
            f"{settings.lease} requests take more than the burst of {settings.burst}: never granted",
        )


def max_wait(settings: LimitSettings) -> Iterator[Finding]:
    wait = settings.max_wait
    if wait > WAIT_MAX:
        yield ("max_wait",), f"{format_span(wait)} is more than the {format_span(WAIT_MAX)} that is possible"


def rate(settings: LimitSettings) -> Iterator[Finding]:
    rate, burst = settings.rate, settings.burst
    if rate is not None and burst is not None and not is_countable(rate, burst, beyond_us(settings)):
        yield ("rate",), uncountable(rate, burst)


def beyond_us(settings: LimitSettings) -> int:
    """How far a debt may go beyond the burst, in microseconds."""
    emptied = EMPTIED_MAX_US if settings.on_upstream_429 == "drain" else 0
    return max(emptied, round(settings.max_wait * 1e6))


def is_countable(rate: Rate, burst: int, beyond_us: int) -> bool:
    divisor = gcd(rate.count, rate.period_us)
    return burst * (rate.period_us // divisor) + rate.count // divisor * beyond_us <= EXACT_MAX


def uncountable(rate: Rate, burst: int) -> str:
    return f"{rate} with a burst of {burst} cannot be counted exactly: use a rounder rate"


def unproven(settings: LimitSettings) -> Iterator[Finding]:
    found = settings.unproven
    if found is None:
        return
    if ask(found, "burst") is not UNKNOWN:
        for _, tokens in costs(settings):
            if tokens > found.burst:
                why = f"{found.burst} is below the cost of {tokens}"
                yield ("unproven", "burst"), f"{why}: nobody who is new would ever pass"
                break
    is_whole = all(ask(found, name) is not UNKNOWN for name in ("rate", "burst"))
    if is_whole and not is_countable(found.rate, found.burst, beyond_us(settings)):
        yield ("unproven", "rate"), uncountable(found.rate, found.burst)
    if all(not isinstance(spec, Unknown) and spec.is_address for spec in settings.key):
        yield ("unproven",), "has nothing to prove: no entry of key is a credential"


def slots_that_nobody_gives_back(settings: Settings) -> Iterator[Finding]:
    """Who only decides does not see when a request ends."""
    if all(ask(listen, "mode") != "decide" for _, listen in known(settings.listen)):
        return
    for index, limit in known(settings.limits):
        if limit.concurrency is not None:
            why = "a listener has mode: decide, which does not see when a request ends"
            yield ("limits", index, "concurrency"), f"{why}: limit a rate there, or forward the requests"


def plan_order(plans: Sequence[str]) -> Iterator[Finding]:
    yield from repeated(plans, "the plan")


def plan_keys(keys: Sequence[str]) -> Iterator[Finding]:
    seen: dict[str, int] = {}
    for index, key in known(keys):
        if seen.setdefault(key, index) != index:  # is not shown: it is long, and tells nothing
            yield (index,), "is there twice"


def plan_names(plans: Sequence[PlanSettings]) -> Iterator[Finding]:
    for place, message in repeated((ask(each, "name") for each in plans), "the name"):
        yield (*place, "name"), message


def plans_of_limits(settings: Settings) -> Iterator[Finding]:
    """Each plan that a limit names exists, and can be counted and spent there."""
    by_name = {plan.name: (index, plan) for index, plan in known(settings.plans)}
    for at, limit in known(settings.limits):
        for place, name in known(limit.plans):
            if name not in by_name:
                hint = _known_plans(name, by_name)
                yield ("limits", at, "plans", place), f"there is no plan {shown(name)}{hint}"
                continue
            index, plan = by_name[name]
            most = max((tokens for _, tokens in costs(limit)), default=1)
            if most > plan.burst:
                why = f"{plan.burst} is below the cost of {most} in the limit {limit.name}"
                yield ("plans", index, "burst"), f"{why}: no such request would ever pass"
            if not is_countable(plan.rate, plan.burst, beyond_us(limit)):
                yield ("plans", index, "rate"), uncountable(plan.rate, plan.burst)


def _known_plans(name: str, by_name: Iterable[str]) -> str:
    if meant := nearest(name, by_name):
        return f"; did you mean {meant}?"
    return "; plans stand in the list `plans` beside `limits`"


def limit_names(limits: Sequence[LimitSettings]) -> Iterator[Finding]:
    for place, message in repeated((ask(each, "name") for each in limits), "the name"):
        yield (*place, "name"), message
