"""What settings must be among each other: rules that no single value can break alone.

Each check yields the places that are wrong, as (path below the section, message).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from proxy.config.addresses import UpstreamUrl, is_loopback
from proxy.config.names import is_json
from proxy.config.template import json_mistake
from proxy.config.units import format_size, format_span
from proxy.config.unknown import UNKNOWN, ask, known

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from proxy.config.addresses import Address
    from proxy.config.look import Finding
    from proxy.config.sections.answers import ContractRule, ErrorTemplate
    from proxy.config.sections.front import (
        AdminSettings,
        DownstreamLimits,
        DownstreamTimeouts,
        Listen,
        ListenTls,
    )
    from proxy.config.sections.store import SentinelSettings, StoreTls
    from proxy.config.sections.upstream import (
        Ejection,
        HealthChecks,
        ServerSettings,
        UpstreamTimeouts,
        UpstreamTls,
    )
    from proxy.config.settings import Settings
    from proxy.config.units import StatusRange


# Balancers and NATs forget a silent connection after 1 to 60 minutes, and do not tell.
IDLE_MAX_SECONDS = 3600.0
RULE_NAMES_MAX = 16  # of a rule of the contract: each header is a series of a metric for each status


def require(places: Iterable[Finding]) -> None:
    """Raises ValueError, where a block is made without a file."""
    if messages := [message for _, message in places]:
        raise ValueError("; ".join(messages))


def of(name: str, check: Callable[[Any], Iterable[Finding]]) -> Callable[[Any], Iterator[Finding]]:
    """The check of one setting as a check of its block."""

    def judge(section: object) -> Iterator[Finding]:
        for place, message in check(getattr(section, name)):
            yield (name, *place), message

    return judge


def repeated(values: Iterable[Hashable], what: str) -> Iterator[Finding]:
    """Entries of a list that were there before."""
    seen: dict[Hashable, int] = {}
    for index, value in known(values):
        first = seen.setdefault(value, index)
        if first != index:
            yield (index,), f"{what} {value} is there twice"


def listens(listen: Sequence[Listen]) -> Iterator[Finding]:
    yield from repeated(map(_fixed_address, listen), "the address")


def _fixed_address(listen: Listen) -> Hashable:
    """Port 0 is another one each time."""
    address: Hashable = ask(listen, "address")
    return address if address is UNKNOWN or _is_fixed(listen) else object()


def deciding(listen: Listen) -> Iterator[Finding]:
    """What is of one mode only."""
    if listen.mode == "decide":
        if listen.proxy_protocol:
            yield (
                ("proxy_protocol",),
                "does not go with mode: decide: the proxies that ask speak for themselves",
            )
        return
    for name, usual in (("front", "auto"), ("refuse_with", 429), ("on_bad_front", "deny")):
        if getattr(listen, name) != usual:
            yield (name,), "is for mode: decide"


def servers(each: Sequence[ServerSettings]) -> Iterator[Finding]:
    yield from repeated((_place(ask(server, "url")) for server in each), "the server")


def _place(url: Hashable) -> Hashable:
    """Names of hosts are the same in any case."""
    return url.url.lower() if isinstance(url, UpstreamUrl) and url.unix_path is None else url


def admin(settings: AdminSettings) -> Iterator[Finding]:
    if settings.token is None and not is_loopback(settings.listen):
        yield ("token",), f"is required, since {settings.listen} can be reached from other machines"


def keep_alive(settings: DownstreamTimeouts | UpstreamTimeouts) -> Iterator[Finding]:
    idle = settings.idle
    if idle > IDLE_MAX_SECONDS:
        longest = format_span(IDLE_MAX_SECONDS)
        yield (
            ("idle",),
            f"{format_span(idle)} is longer than networks keep silent connections: at most {longest}",
        )


def health(settings: HealthChecks) -> Iterator[Finding]:
    if settings.timeout > settings.interval:
        shown = format_span(settings.timeout), format_span(settings.interval)
        yield (
            ("timeout",),
            f"{shown[0]} is above the interval of {shown[1]}: checks would pile up",
        )


def ejection(settings: Ejection) -> Iterator[Finding]:
    if settings.longest < settings.first:
        shown = format_span(settings.longest), format_span(settings.first)
        yield ("longest",), f"{shown[0]} is below first, {shown[1]}"


def listen_tls(settings: ListenTls) -> Iterator[Finding]:
    if settings.cert is None and settings.key is None and not settings.certs:
        yield ("cert",), "is required, with key; or certs"
    yield from cert_with_key(settings)


def cert_with_key(settings: StoreTls | UpstreamTls | ListenTls) -> Iterator[Finding]:
    if (settings.cert is None) is not (settings.key is None):
        missing, given = ("cert", "key") if settings.cert is None else ("key", "cert")
        yield (missing,), f"is required with {given}"


def sentinel_login(settings: SentinelSettings) -> Iterator[Finding]:
    if settings.username is not None and settings.password is None:
        yield ("password",), "is required with username"


def downstream_limits(settings: DownstreamLimits) -> Iterator[Finding]:
    if settings.request_line > settings.head:
        line, head = format_size(settings.request_line), format_size(settings.head)
        yield ("request_line",), f"{line} is above head, {head}, of which it is a part"


def template(settings: ErrorTemplate) -> Iterator[Finding]:
    if is_json(settings.content_type) and (message := json_mistake(settings.body)):
        yield ("body",), message


def redacted(ranges: Sequence[StatusRange]) -> Iterator[Finding]:
    for index, statuses in known(ranges):
        if statuses.low < 400:
            yield (index,), f"{statuses} holds statuses that are no errors: only 400 to 599 can be redacted"


def contract_rule(settings: ContractRule) -> Iterator[Finding]:
    if settings.status.low < 200:
        yield ("status",), f"{settings.status} holds interim answers, which are never judged: 200 to 599 are"
    if settings.headers is None and settings.media_types is None and settings.body is None:
        yield (), f"says nothing of {settings.status}: name headers, media_types or body"
    if settings.status in ((204, 204), (304, 304)) and (settings.body == "required" or settings.media_types):
        yield (), f"a {settings.status} never has a body (RFC 9110): only headers can be asked for"
    yield from _distinct("headers", settings.headers or ())
    yield from _distinct("media_types", settings.media_types or ())
    if settings.body == "none" and settings.media_types:
        yield ("media_types",), "have nothing to match where body is none"


def _distinct(name: str, words: Sequence[str]) -> Iterator[Finding]:
    if len(words) > RULE_NAMES_MAX:
        yield (name,), f"holds {len(words)} entries, at most {RULE_NAMES_MAX} are possible"
    seen: set[str] = set()
    for index, word in known(words):
        if word.lower() in seen:
            yield (name, index), f"{word} is there twice: case makes no difference"
        seen.add(word.lower())


def contract_rules(rules: Sequence[ContractRule]) -> Iterator[Finding]:
    """No status is spoken of twice."""
    statuses = list(known(ask(rule, "status") for rule in rules))
    for number, (index, status) in enumerate(statuses):
        for _, earlier in statuses[:number]:
            low, high = max(status.low, earlier.low), min(status.high, earlier.high)
            if low <= high:
                yield (index, "status"), f"{low} is in the entry for {earlier} already"
                break


# --- between sections ---


def store_timeout(settings: Settings) -> Iterator[Finding]:
    store, response = settings.store.timeout, settings.upstream.timeouts.response
    if store >= response:
        yield (
            ("store", "timeout"),
            (
                f"{format_span(store)} is not below upstream.timeouts.response, {format_span(response)}:"
                " a decision must cost less than the answer"
            ),
        )


def store_tls(settings: Settings) -> Iterator[Finding]:
    files = settings.store.tls
    if (files.ca or files.cert) and not settings.store.url.tls:
        yield ("store", "tls"), "is used with rediss:// and its kin only, and store.url is none"


def store_sentinel(settings: Settings) -> Iterator[Finding]:
    if settings.store.sentinel != type(settings.store.sentinel)() and settings.store.url.kind != "sentinel":
        yield ("store", "sentinel"), "is used with redis+sentinel:// only, and store.url is none"


def upstream_tls(settings: Settings) -> Iterator[Finding]:
    towards = settings.upstream.tls
    if towards != type(towards)() and all(each.url.scheme != "https" for each in settings.upstream.servers):
        yield ("upstream", "tls"), "is used with https:// only, and no server's URL is one"


def workers(settings: Settings) -> Iterator[Finding]:
    if settings.workers not in (1, "auto") and settings.store.url.kind == "memory" and settings.limits:
        yield (
            ("workers",),
            (
                f"{settings.workers} processes would each grant the whole of every limit, since store.url is"
                " memory: count in Redis, or leave it at 1"
            ),
        )


def own_addresses(settings: Settings) -> Iterator[Finding]:
    """No two of Weir's sockets are one, and it is not its own service."""
    listening = {
        (each.host, each.port, each.unix_path): "listen" for each in settings.listen if _is_fixed(each)
    }
    own = settings.admin.listen
    if _is_fixed(own) and (own.host, own.port, own.unix_path) in listening:
        yield ("admin", "listen"), f"{own} is taken by listen"
    ports = {port for _, port, path in listening if path is None}
    for index, server in enumerate(each.url for each in settings.upstream.servers):
        if server.unix_path is None and server.port in ports and _is_own(server, settings):
            yield (
                ("upstream", "servers", index),
                "is where Weir itself listens: requests would go round in circles",
            )


def probes_address(settings: Settings) -> Iterator[Finding]:
    """It is neither a listener's nor the admin plane's."""
    probes = settings.admin.probes
    taken = {_spot(each): "listen" for each in settings.listen} | {
        _spot(settings.admin.listen): "admin.listen"
    }
    if probes is not None and _is_fixed(probes) and _spot(probes) in taken:
        yield ("admin", "probes"), f"{probes} is taken by {taken[_spot(probes)]}"


WHOLE = (store_timeout, store_tls, store_sentinel, upstream_tls, workers, own_addresses, probes_address)


def _spot(address: Address | Listen) -> tuple[str, int, str | None]:
    return address.host, address.port, address.unix_path


def _is_fixed(address: Address | Listen) -> bool:
    return address.unix_path is not None or address.port != 0


def _is_own(server: UpstreamUrl, settings: Settings) -> bool:
    hosts = {each.host for each in settings.listen if each.port == server.port}
    local = server.host in ("localhost", "::1") or server.host.startswith("127.")
    return server.host in hosts or (local and bool(hosts & {"0.0.0.0", "::", "localhost"}))  # noqa: S104 - compared only
