"""Who may send how much."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag

from proxy.config import checks, limit_checks
from proxy.config.kinds import (
    Count,
    Flag,
    HeaderGlobs,
    HeaderName,
    Key,
    LimitName,
    Method,
    Network,
    Nought,
    PathGlob,
    PlanName,
    Rated,
    Share,
    Span,
    wrapped,
)
from proxy.config.sections.section import Section, count_of_rate, setting


class Match(Section):
    fits = (checks.of("absent", limit_checks.absent_names), limit_checks.absent)

    methods: tuple[Method, ...] = setting("Methods, of which GET takes HEAD along; empty: every method.", [])
    paths: tuple[PathGlob, ...] = setting("Path globs such as /api/*; empty: every path.", [])
    headers: HeaderGlobs = setting("Headers and globs of their values, all of which must match.", {})
    absent: tuple[HeaderName, ...] = setting(
        "Headers of which a request has none; one without a value is none.", []
    )
    exact: Flag = setting(
        "Tell /A from /a and /a/, HEAD from GET, and values of headers, as a strict service does.",
        default=False,
    )

    @property
    def methods_met(self) -> frozenset[str]:
        """Services answer HEAD by what they do for a GET (RFC 9110 section 9.3.2)."""
        methods = frozenset(self.methods)
        return methods | {"HEAD"} if "GET" in methods and not self.exact else methods


class Exempt(Section):
    cidrs: tuple[Network, ...] = setting("Networks of clients that are not limited.", [])
    paths: tuple[PathGlob, ...] = setting("Path globs that are not limited.", [])
    headers: HeaderGlobs = setting("Headers and globs of their values, any of which exempts.", {})


class CostSettings(Section):
    match: Match = setting("Which requests cost so much.", {})
    cost: Count = setting("Tokens that each of them takes.")


def _form_of_cost(value: object) -> str:
    return "<list>" if isinstance(value, list | tuple) else "<number>"


class UnprovenSettings(Section):
    rate: Rated = setting("Requests in a second, minute, hour or day: 60/s, 90/m, 1000/h, 5000/d.")
    burst: Count = setting("Most requests at once.", count_of_rate, says="the count of `rate`")


class LimitSettings(Section):
    model_config = ConfigDict(
        json_schema_extra={"anyOf": [{"required": ["rate"]}, {"required": ["concurrency"]}]}
    )
    fits = (
        limit_checks.counted,
        limit_checks.cost,
        limit_checks.lease,
        limit_checks.max_wait,
        limit_checks.rate,
        checks.of("key", limit_checks.key_order),
        checks.of("plans", limit_checks.plan_order),
        limit_checks.unproven,
    )

    name: LimitName = setting("Its name in headers, metrics and logs; unique.")
    match: Match = setting("Which requests it counts.", {})
    key: Annotated[tuple[Key, ...], BeforeValidator(wrapped), Field(min_length=1)] = setting(
        "Who pays, all that are present: header:NAME, cookie:NAME, jwt:CLAIM, query:NAME, path:N, host,"
        " method; else client-ip or const.",
        ["header:X-Auth-Token", "header:Authorization", "client-ip"],
    )
    when_absent: Literal["share", "skip"] = setting(
        "Requests that carry nothing of `key`: share one bucket for all of them, or are not counted.", "share"
    )
    concurrency: Count | None = setting(
        "Most requests under way at once, in place of a rate; a tunnel or stream counts while it lasts.", None
    )
    rate: Rated | None = setting(
        "Requests in a second, minute, hour or day: 15/s, 90/m, 1000/h, 5000/d; required without"
        " concurrency.",
        None,
    )
    burst: Count | None = setting(
        "Most requests at once that a rate lets pass.", count_of_rate, says="the count of `rate`"
    )
    max_wait: Span = setting(
        "How long a request may wait for its token, in order of arrival, before it is refused; 1m at most.",
        "0s",
    )
    plans: tuple[PlanName, ...] = setting(
        "Plans whose rate and burst stand in for these; the first that names the key counts.", []
    )
    cost: Annotated[
        Annotated[Count, Tag("<number>")]
        | Annotated[tuple[CostSettings, ...], Field(min_length=1), Tag("<list>")],
        Discriminator(_form_of_cost),
    ] = setting(
        "Tokens that one request takes; or a list, of which the first that matches counts, else 1.", 1
    )
    cost_304: Nought | None = setting(
        "0 gives the tokens of a request back whose answer is a 304; null keeps them.", None
    )
    on_upstream_429: Literal["ignore", "drain"] = setting(
        "drain: a 429 of the service empties the buckets of its request for its Retry-After, 60 s at most.",
        "ignore",
    )
    on_upstream_401: Literal["keep", "address"] = setting(
        "address: the tokens of a request whose answer is a 401 go back to its key, and client-ip pays.",
        "keep",
    )
    unproven: UnprovenSettings | None = setting(
        "What credentials of one address may do together that the service has answered with nothing but 401.",
        None,
    )
    lease: Count = setting("Requests' tokens that a busy client's replica takes from Redis at once.", 1)
    mode: Literal["enforce", "shadow"] = setting(
        "enforce refuses; shadow only counts what it would refuse.", "enforce"
    )
    enforce: Share = setting(
        "Share of the keys, always the same ones, that it is enforced for; for the rest it is in shadow.",
        "100%",
    )
    on_store_error: Literal["local", "allow", "deny"] = setting(
        "When the store does not answer: count in this process, admit, or refuse.", "local"
    )
    exempt: Exempt = setting("Which requests it never counts.", {})
