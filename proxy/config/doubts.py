"""What is valid and probably not meant: `weir check` warns of it, and `--strict` makes it a mistake.

A doubt takes the settings and yields the path of what looks wrong and a sentence that says why, and what to
write if it was not meant. It is a function in `DOUBTS`. No message repeats a secret. Knows nothing of files.
"""

from __future__ import annotations

import re
from ipaddress import collapse_addresses, ip_network
from typing import TYPE_CHECKING

from proxy.config.futile import futile
from proxy.config.loopholes import (
    given_exemptions,
    invented_credentials,
    repeated_plan_keys,
    unseen_fields,
    unseen_hosts,
)
from proxy.config.names import REPLACED, is_address_claim, is_claim
from proxy.config.odd_letters import odd_letter
from proxy.config.units import US, format_span
from proxy.config.wording import either

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from ipaddress import IPv4Network, IPv6Network

    from pydantic import SecretStr

    from proxy.config.look import Finding, SettingPath
    from proxy.config.sections.limits import Exempt, LimitSettings, Match, UnprovenSettings
    from proxy.config.sections.plans import PlanSettings
    from proxy.config.settings import Settings

    DoubtCheck = Callable[[Settings], Iterator[Finding]]

PROMISED_SECONDS = 140.0  # docs/contract.md

# RFC 1918, RFC 6598 (carriers, and many a cluster), RFC 4193.
PRIVATE_NETWORKS = tuple(
    map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
LEAST_PREFIX = {4: 8, 6: 16}  # no one owner has more: the largest that registries hand out


def about(settings: Settings) -> Iterator[Finding]:
    """Path and message of each."""
    for doubt in DOUBTS:
        yield from doubt(settings)


def small_bursts(settings: Settings) -> Iterator[Finding]:
    """Who sends the requests of a second at once, as most programs do, is refused."""
    for index, limit in enumerate(settings.limits):
        yield from _small_burst(("limits", index), limit)
        if limit.unproven is not None:
            yield from _small_burst(("limits", index, "unproven"), limit.unproven)
    for index, plan in enumerate(settings.plans):
        yield from _small_burst(("plans", index), plan)


def _small_burst(
    path: SettingPath, bucket: LimitSettings | PlanSettings | UnprovenSettings
) -> Iterator[Finding]:
    if bucket.rate is None or bucket.burst is None:
        return
    a_second = bucket.rate.count * US // bucket.rate.period_us
    if bucket.burst < a_second:
        yield (
            (*path, "burst"),
            (
                f"{bucket.burst} is below the {a_second} requests that {bucket.rate} allows in a second:"
                f" who sends those at once is refused; write {a_second} or more, or leave it out"
            ),
        )


def trusted_strangers(settings: Settings) -> Iterator[Finding]:
    """Whoever is trusted says who the client is, and so whose tokens are spent."""
    for index, network in enumerate(settings.forwarded.trust):
        if isinstance(network, str):
            continue
        if network.prefixlen == 0:
            why = "lets every client choose the address that it is charged by"
        elif any(_covers(network, private) for private in PRIVATE_NETWORKS):
            why = "is a whole private network: whoever is in it can choose the address that is charged"
        elif network.prefixlen < LEAST_PREFIX[network.version]:
            why = "is a good part of the internet: whoever is in it can choose the address that is charged"
        else:
            continue
        yield ("forwarded", "trust", index), f"{network} {why}; name the proxies that stand in front"
    networks = [each for each in settings.forwarded.trust if not isinstance(each, str)]
    for private in (each for each in _together(networks) if each not in networks):
        if any(_covers(private, other) for other in PRIVATE_NETWORKS):
            why = "whoever is in it can choose the address that is charged"
            yield (
                ("forwarded", "trust"),
                f"together these are a whole private network: {why}; name the proxies that stand in front",
            )
            return


def _together(networks: list[IPv4Network | IPv6Network]) -> Iterator[IPv4Network | IPv6Network]:
    for version in (4, 6):
        yield from collapse_addresses([each for each in networks if each.version == version])  # type: ignore[type-var]  # one version


def unasked_listeners(settings: Settings) -> Iterator[Finding]:
    """One that decides for proxies that are not trusted, or lets clients choose to be passed over."""
    for index, listen in enumerate(settings.listen):
        if listen.mode == "decide" and not settings.forwarded.trust:
            yield (
                ("listen", index, "mode"),
                (
                    "decide answers proxies in forwarded.trust alone, and there are none: all are refused;"
                    " name them there"
                ),
            )
        elif listen.mode == "decide" and listen.front == "auto" and listen.on_bad_front == "deny":
            yield (
                ("listen", index, "mode"),
                (
                    "decide believes a client's own X-Original-URI or X-Forwarded-Uri where the proxy asks by"
                    " its own line; name the proxy that asks in `front`"
                ),
            )
        if listen.on_bad_front == "allow" and listen.front == "auto":
            yield (
                ("listen", index, "on_bad_front"),
                (
                    "allow lets a client through that sends the fields of another kind of proxy;"
                    " name the proxy that asks in `front`"
                ),
            )


def written_by_strangers(settings: Settings) -> Iterator[Finding]:
    """Fields that whoever sends a request can fill in as it likes, and that are no credential."""
    for place, name in _headers_read(settings):
        if why := _why_strangers_write(name):
            yield place, why


def _headers_read(settings: Settings) -> Iterator[Finding]:
    """Where header fields of requests are named, and their names."""
    for index, limit in enumerate(settings.limits):
        yield from ((("limits", index, *place), name) for place, name in _headers_of(limit))
    for at, name in enumerate(settings.contract.credentials):
        yield ("contract", "credentials", at), name


def _headers_of(limit: LimitSettings) -> Iterator[Finding]:
    for at, spec in enumerate(limit.key):
        yield from ((("key", at), part.name) for part in spec.parts if part.kind == "header")
    yield from _headers_matched(("match",), limit.match)
    for at, entry in enumerate(() if isinstance(limit.cost, int) else limit.cost):
        yield from _headers_matched(("cost", at, "match"), entry.match)
    yield from ((("exempt", "headers", name), name) for name in limit.exempt.headers)


def _headers_matched(place: SettingPath, match: Match) -> Iterator[Finding]:
    yield from (((*place, "headers", name), name) for name in match.headers)
    yield from (((*place, "absent", at), name) for at, name in enumerate(match.absent))


def _why_strangers_write(name: str) -> str:
    spelled = name.lower().replace("_", "-")  # as many services take it
    if is_address_claim(spelled):
        return (
            f"{name} is an address by somebody's word, and any client can write it too: Weir does not ask who"
            " did; write client-ip, and in forwarded.trust the proxies that stand in front"
        )
    if is_claim(spelled):
        return (
            f"{name} is what hops say of the way, and any client can write it too: it counts only from"
            " forwarded.trust; write client-ip for the address that these vouch for"
        )
    if "_" in name:
        return (
            f"{name} has a _ in it: many services take it for the same field as {name.replace('_', '-')}, and"
            " it is dropped unless a setting names it; write - if that is meant"
        )
    return ""


def odd_letters(settings: Settings) -> Iterator[Finding]:
    """A glob that looks like what requests have, and is another one. It is not shown: it may be a secret."""
    for path, glob in _globs(settings):
        if letter := odd_letter(glob):
            yield path, f"has {letter} in it, which looks like another letter or like nothing; write it anew"


def _globs(settings: Settings) -> Iterator[Finding]:
    contract = settings.contract
    for index, limit in enumerate(settings.limits):
        costs = limit.cost if isinstance(limit.cost, tuple) else ()
        blocks: list[tuple[SettingPath, Match | Exempt]] = [
            (("match",), limit.match),
            (("exempt",), limit.exempt),
        ]
        blocks += ((("cost", at, "match"), cost.match) for at, cost in enumerate(costs))
        for place, block in blocks:
            path = "limits", index, *place
            yield from (((*path, "paths", at), glob) for at, glob in enumerate(block.paths))
            yield from (((*path, "headers", name), glob) for name, glob in block.headers.items())
    for name, globs in (("known_paths", contract.known_paths), ("open_paths", contract.open_paths)):
        yield from ((("contract", name, at), glob) for at, glob in enumerate(globs))
    for index, rule in enumerate(contract.path_methods):
        place = "contract", "path_methods", index, "paths"
        yield from (((*place, at), glob) for at, glob in enumerate(rule.paths))


def shares_of_nothing(settings: Settings) -> Iterator[Finding]:
    """None is enforced of a limit that refuses nobody."""
    for index, limit in enumerate(settings.limits):
        if limit.mode == "shadow" and "enforce" in limit.model_fields_set and limit.enforce > 0:
            why = "means nothing in mode: shadow, which refuses nobody; leave out one of them"
            yield ("limits", index, "enforce"), why


def absent_keys(settings: Settings) -> Iterator[Finding]:
    """Who carries nothing of a key is not told apart from all others who do not."""
    for index, limit in enumerate(settings.limits):
        is_said = "when_absent" in limit.model_fields_set
        if not is_said and not any(spec.is_always_present for spec in limit.key):
            named = either(tuple(map(str, limit.key)))
            yield (
                ("limits", index, "key"),
                (
                    f"all requests without {named} share one bucket; put client-ip last to count them by"
                    " address, or say when_absent: share, or skip to leave them uncounted"
                ),
            )


def keys_beside_credentials(settings: Settings) -> Iterator[Finding]:
    """Every entry that is present is charged: one that always is stands for no fallback."""
    for index, limit in enumerate(settings.limits):
        for at, spec in enumerate(limit.key):
            others = [each for each in limit.key if each is not spec and not each.is_address]
            if others and spec.is_always_present and not spec.is_address:
                yield (
                    ("limits", index, "key", at),
                    (
                        f"{spec} is charged beside {others[0]}, as one bucket for all who share it;"
                        f" write {others[0]}+{spec} for one bucket of both"
                    ),
                )


def example_secrets(settings: Settings) -> Iterator[Finding]:
    """What stands in examples, or what nobody has filled in, is known to everybody."""
    store = settings.store
    secrets: dict[SettingPath, SecretStr | None] = {
        ("admin", "token"): settings.admin.token,
        ("store", "key_secret"): store.key_secret,
        ("store", "url"): store.url.password,
        ("store", "sentinel", "password"): store.sentinel.password,
        **{("traces", "headers", name): value for name, value in settings.traces.headers.items()},
    }
    for path, secret in secrets.items():
        if secret is not None and _is_example(secret.get_secret_value()):
            yield path, "is what stands in examples, or was never filled in: everybody knows it"
    for index, limit in enumerate(settings.limits):
        for name, value in limit.exempt.headers.items():
            if _PLACEHOLDER.search(value):
                yield (
                    ("limits", index, "exempt", "headers", name),
                    "holds a placeholder that nobody fills in: references stand for secrets only",
                )


# `${X}`, `$X`, `%X%`, `<X>`, `{{ X }}`, as a whole or within; words that examples use.
_PLACEHOLDER = re.compile(r"\$\{|\$\(|\{\{|\}\}|^\$\w+$|^%\w+%$|^<.*>$")
_EXAMPLES = frozenset(
    "admin admintoken changeme changeit default demo dummy example foo foobar hunter2 key letmein mysecret"  # noqa: SIM905 - a list would take a page
    " mytoken none null pass passwd password placeholder qwerty redis replaceme s3cret secret secretkey"
    " secrettoken test testing todo token topsecret undefined weir xxx yourpassword yoursecret yourtoken"
    " yoursecrethere yourtokenhere".split()
)
_RUNS = "012345678901234567890", "abcdefghijklmnopqrstuvwxyz"


def _is_example(secret: str) -> bool:
    bare = re.sub(r"[-_.!]", "", secret).lower()
    is_run = len(set(bare)) <= 1 or any(bare in run for run in _RUNS)
    is_word = not _EXAMPLES.isdisjoint((bare, bare.rstrip("0123456789")))
    return is_run or is_word or _PLACEHOLDER.search(secret) is not None


def impatience(settings: Settings) -> Iterator[Finding]:
    """What the service may still answer becomes a 504."""
    response = settings.upstream.timeouts.response
    if response < PROMISED_SECONDS and not settings.contract.rules:
        yield (
            ("upstream", "timeouts", "response"),
            (
                f"{format_span(response)} is below the {format_span(PROMISED_SECONDS)} within which the"
                " service promises to answer: what comes later is a 504"
            ),
        )


def long_waits(settings: Settings) -> Iterator[Finding]:
    """Who waits for a token longer than anything else is waited for has mostly left when it comes."""
    drain, response = settings.drain.timeout, settings.upstream.timeouts.response
    for index, limit in enumerate(settings.limits):
        wait = format_span(limit.max_wait)
        if limit.max_wait > drain:
            why = (
                f"drain.timeout gives a stop {format_span(drain)}: who would wait longer is answered 503 then"
            )
        elif limit.max_wait > response:
            why = (
                f"upstream.timeouts.response gives the service {format_span(response)} for the answer itself"
            )
        else:
            continue
        yield ("limits", index, "max_wait"), f"{wait} is long for a token, and {why}"


def uncounted(settings: Settings) -> Iterator[Finding]:
    """Who sends a header that a limit's requests lack is not counted there, and should be elsewhere."""
    counted = {
        part.name.lower()
        for limit in settings.limits
        for spec in limit.key
        for part in spec.parts
        if part.kind == "header"
    }
    for index, limit in enumerate(settings.limits):
        for at, name in enumerate(limit.match.absent):
            if name.lower() not in counted:
                why = f"no limit counts by {name}: whoever sends one, whatever its value, leaves this limit"
                yield ("limits", index, "match", "absent", at), f"{why}; let another limit have it in its key"


def unheard_answers(settings: Settings) -> Iterator[Finding]:
    """Where Weir only decides, nobody vouches for a credential."""
    if "limits" not in settings.model_fields_set or any(each.mode != "decide" for each in settings.listen):
        return
    for index, limit in enumerate(settings.limits):
        if limit.unproven is not None:
            why = "no credential is ever proven: listeners in mode: decide see no answers of the service"
            yield ("limits", index, "unproven"), f"{why}; let a limit by client-ip stand beside instead"


def replaced_headers(settings: Settings) -> Iterator[Finding]:
    for index, name in enumerate(settings.errors.keep_headers):
        if name.lower() in REPLACED:
            why = f"{name} belongs to the body that is replaced: what stands for it has its own"
            yield ("errors", "keep_headers", index), why


def idle_plans(settings: Settings) -> Iterator[Finding]:
    """Who has one is limited as all others are, or nobody has it. An empty list waits for its first key."""
    named = {name for limit in settings.limits for name in limit.plans}
    for index, plan in enumerate(settings.plans):
        if plan.name not in named:
            why = f"no limit names {plan.name} in its plans: nobody is charged by it"
            yield ("plans", index, "name"), why
        elif plan.model_fields_set.isdisjoint(("keys", "keys_file")):
            yield (
                ("plans", index, "name"),
                f"nobody has {plan.name}: name who has it in its keys or keys_file, or write keys: []",
            )


def _covers(network: IPv4Network | IPv6Network, other: IPv4Network | IPv6Network) -> bool:
    return network.version == other.version and other.subnet_of(network)  # type: ignore[arg-type]  # one version


DOUBTS: tuple[DoubtCheck, ...] = (
    small_bursts,
    trusted_strangers,
    unasked_listeners,
    written_by_strangers,
    odd_letters,
    shares_of_nothing,
    absent_keys,
    keys_beside_credentials,
    futile,
    example_secrets,
    impatience,
    long_waits,
    invented_credentials,
    given_exemptions,
    unseen_fields,
    unseen_hosts,
    uncounted,
    repeated_plan_keys,
    unheard_answers,
    idle_plans,
    replaced_headers,
)
