"""The tree of settings: every setting once, with its default as YAML spells it and one sentence of help.

Values here are parsed (seconds, bytes, networks); a tree that exists is valid and never changes. The docs,
the schema, the environment and the checks of the shipped files derive from it (catalogue.py). Knows nothing
of files or YAML.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from proxy.config import checks
from proxy.config.addresses import Address, Server, StoreUrl, split_address
from proxy.config.kinds import (
    Access,
    Count,
    Flag,
    HeaderName,
    Headers,
    Key,
    Method,
    Network,
    Origin,
    PathGlob,
    Place,
    Rated,
    Secret,
    ServerUrl,
    Size,
    Span,
    Spot,
    Statuses,
    Store,
    Text,
    Timeout,
    Workers,
    wrapped,
)
from proxy.config.names import KeySpec, parse_limit_name, parse_media_type
from proxy.config.template import parse_template
from proxy.config.units import Rate, StatusRange

__all__ = [
    "Address",
    "KeySpec",
    "Rate",
    "Server",
    "Settings",
    "StatusRange",
    "StoreUrl",
    "restart_differences",
]


def setting(help_: str, default: object = ..., *, says: str = "", restart: bool = False) -> Any:
    """One setting. `default` is what one would write in YAML, or computes it; `says` words a computed one."""
    extra: dict[str, Any] = {"x-default": says} if says else {}
    if restart:
        extra["x-restart"] = True
    if callable(default):
        return Field(default_factory=default, description=help_, json_schema_extra=extra)
    return Field(default, description=help_, validate_default=True, json_schema_extra=extra)


class Section(BaseModel):
    """A block of settings. An empty block, all of it commented out, is a block of defaults."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _defaults(cls, value: Any) -> Any:
        return {} if value is None else value


class ListenTls(Section):
    cert: Text = setting("Path of the certificate chain, PEM.")
    key: Text = setting("Path of the private key, PEM.")
    client_ca: Text | None = setting(
        "Path of the authorities that client certificates must come from; null asks for none.", None
    )


class Listen(Section):
    address: Spot = setting("host:port, [v6]:port or unix:/path.")
    tls: ListenTls | None = setting("Serve TLS with this certificate; null serves plain HTTP.", None)
    proxy_protocol: Flag = setting(
        "Require the PROXY protocol, version 1 or 2, at the start of each connection.", default=False
    )

    @model_validator(mode="before")
    @classmethod
    def _address_alone(cls, value: Any) -> Any:
        return value if isinstance(value, dict | Listen) else {"address": value}

    @property
    def host(self) -> str:
        return split_address(self.address).host

    @property
    def port(self) -> int:
        return split_address(self.address).port

    @property
    def unix_path(self) -> str | None:
        return split_address(self.address).unix_path


class AdminSettings(Section):
    listen: Place = setting(
        "Where /metrics, /healthz, /readyz and /status are served: host:port or unix:/path.", "127.0.0.1:9901"
    )
    token: Secret | None = setting(
        "Required as `Authorization: Bearer` when set; must be set when `listen` is not loopback.", None
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        checks.require(checks.admin(self))
        return self


class DownstreamTimeouts(Section):
    head: Timeout = setting("For a request's head to arrive whole.", "10s")
    body: Timeout = setting("Between two pieces of a request's body.", "30s")
    idle: Timeout = setting("For a connection at rest between two requests.", "60s")

    @model_validator(mode="after")
    def _fits(self) -> Self:
        checks.require(checks.keep_alive(self.idle))
        return self


class DownstreamLimits(Section):
    request_line: Size = setting("Longest request line; beyond it 414.", "8KiB")
    head: Size = setting("Largest head, request line included; beyond it 431.", "32KiB")
    headers: Count = setting("Most header fields; beyond it 431.", 100)
    body: Size | None = setting(
        "Largest request body, counted while it streams; beyond it 413. null: no bound.", None
    )
    connections: Count = setting("Most connections at once, in each worker.", 10000)
    connections_per_address: Count | None = setting(
        "Most connections of one address (IPv6: one /64) in each worker, but of proxies in forwarded.trust;"
        " beyond it 503. null: no bound.",
        None,
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        checks.require(checks.downstream_limits(self))
        return self


class DownstreamSettings(Section):
    timeouts: DownstreamTimeouts = setting("How long a client may take.", {})
    limits: DownstreamLimits = setting("How much a client may send.", {})


class UpstreamTimeouts(Section):
    connect: Timeout = setting("For a connection to a server, TLS included.", "5s")
    response: Timeout = setting(
        "For the head of a response, and then between two pieces of its body.", "140s"
    )
    idle: Timeout = setting(
        "For a connection at rest in the pool; keep it below the service's own keep-alive time.", "55s"
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        checks.require(checks.keep_alive(self.idle))
        return self


def _servers(servers: tuple[Server, ...]) -> tuple[Server, ...]:
    checks.require(checks.repeated(servers, "the server"))
    return servers


class UpstreamSettings(Section):
    servers: Annotated[tuple[ServerUrl, ...], Field(min_length=1), AfterValidator(_servers)] = setting(
        "The service's servers: http://host:port, https://host:port or http+unix:///path."
    )
    host: Literal["preserve", "upstream"] = setting(
        "Host of forwarded requests: preserve keeps the client's, upstream puts the server's.", "preserve"
    )
    timeouts: UpstreamTimeouts = setting("How long a server may take.", {})


class StoreTls(Section):
    ca: Text | None = setting(
        "Path of the authorities that Redis's certificate must come from, PEM; null takes the system's.", None
    )
    cert: Text | None = setting("Path of a client certificate, PEM, where Redis asks for one.", None)
    key: Text | None = setting("Path of its private key, PEM.", None)

    @model_validator(mode="after")
    def _fits(self) -> Self:
        checks.require(checks.store_tls(self))
        return self


class StoreSettings(Section):
    url: Store = setting(
        "Where buckets live: memory, redis://, rediss://, redis+unix:///path, redis+sentinel://h:p,h:p/service"
        " or redis+cluster://h:p,h:p.",
        "memory",
        restart=True,
    )
    tls: StoreTls = setting("Certificates for rediss://.", {}, restart=True)
    timeout: Timeout = setting("For an answer of Redis; after it the limit's on_store_error decides.", "50ms")
    key_secret: Secret | None = setting(
        "Keys the hashes of partition keys, the same in all replicas; null takes a built-in one.",
        None,
        restart=True,
    )
    max_keys: Count = setting(
        "Most buckets of one limit held in memory; beyond it those not asked for the longest are forgotten.",
        100000,
    )
    denial_cache: Flag = setting(
        "Refuse whom Redis has refused without asking again, until a token can be back.",
        default=True,
    )


class Match(Section):
    methods: tuple[Method, ...] = setting("Methods; empty: every method.", [])
    paths: tuple[PathGlob, ...] = setting("Path globs such as /api/*; empty: every path.", [])
    headers: Headers = setting("Headers and globs of their values, all of which must match.", {})


class Exempt(Section):
    cidrs: tuple[Network, ...] = setting("Networks of clients that are not limited.", [])
    paths: tuple[PathGlob, ...] = setting("Path globs that are not limited.", [])
    headers: Headers = setting("Headers and globs of their values, any of which exempts.", {})


def _key(key: tuple[KeySpec, ...]) -> tuple[KeySpec, ...]:
    checks.require(checks.key_order(key))
    return key


def _count_of_rate(so_far: dict[str, Any]) -> int:
    rate = so_far.get("rate")
    return rate.count if isinstance(rate, Rate) else 1


class LimitSettings(Section):
    name: Annotated[str, AfterValidator(parse_limit_name)] = setting(
        "Its name in headers, metrics and logs; unique."
    )
    match: Match = setting("Which requests it counts.", {})
    key: Annotated[tuple[Key, ...], BeforeValidator(wrapped), Field(min_length=1), AfterValidator(_key)] = (
        setting(
            "The first that is present is counted: header:NAME, cookie:NAME, jwt:CLAIM, client-ip, const.",
            ["header:X-Auth-Token", "header:Authorization", "client-ip"],
        )
    )
    rate: Rated = setting("Requests in a second, minute, hour or day: 15/s, 90/m, 1000/h, 5000/d.")
    burst: Count = setting("Most requests at once.", _count_of_rate, says="the count of `rate`")
    cost: Count = setting("Tokens that one request takes.", 1)
    lease: Count = setting("Requests' tokens that a busy client's replica takes from Redis at once.", 1)
    mode: Literal["enforce", "shadow"] = setting(
        "enforce refuses; shadow only counts what it would refuse.", "enforce"
    )
    on_store_error: Literal["local", "allow", "deny"] = setting(
        "When the store does not answer: count in this process, admit, or refuse.", "local"
    )
    exempt: Exempt = setting("Which requests it never counts.", {})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        checks.require(checks.limit(self))
        return self


class ErrorTemplate(Section):
    content_type: Annotated[str, AfterValidator(parse_media_type)] = setting("Content-Type of error objects.")
    body: Annotated[str, AfterValidator(parse_template)] = setting(
        "Their body, with {status}, {title}, {detail} and {request_id}, escaped for JSON strings."
    )

    @model_validator(mode="after")
    def _fits(self) -> Self:
        checks.require(checks.template(self))
        return self


def _redacted(ranges: tuple[StatusRange, ...]) -> tuple[StatusRange, ...]:
    checks.require(checks.redacted(ranges))
    return ranges


def _form(value: object) -> str:
    return "<template>" if isinstance(value, dict | ErrorTemplate) else "<word>"


class ErrorSettings(Section):
    redact: Annotated[tuple[Statuses, ...], BeforeValidator(wrapped), AfterValidator(_redacted)] = setting(
        "Statuses whose bodies never leave: they are logged and replaced.", ["500-599"]
    )
    leak_guard: Literal["off", "report", "redact"] = setting(
        "2xx and 4xx that show a stack trace or database error: report logs and counts them,"
        " redact holds 16 KiB back and replaces them.",
        "off",
    )
    proxy_status: Flag = setting(
        "Say in a Proxy-Status field (RFC 9209) what Weir's own and redacted answers are due to.",
        default=False,
    )
    keep_members: tuple[Text, ...] = setting(
        "Members of a JSON error object that may stay when it is redacted.", []
    )
    keep_headers: tuple[HeaderName, ...] = setting(
        "Header fields of a redacted answer that stay too, such as Set-Cookie and Location.", []
    )
    format: Annotated[
        Annotated[Literal["problem"], Tag("<word>")] | Annotated[ErrorTemplate, Tag("<template>")],
        Discriminator(_form),
    ] = setting("Shape of error objects: problem (RFC 9457), or a template {content_type, body}.", "problem")


class PathMethods(Section):
    paths: tuple[PathGlob, ...] = setting("Path globs such as /api/*; empty: every path.", [])
    allow: Annotated[tuple[Method, ...], Field(min_length=1)] = setting("Methods that pass there.")


class ContractSettings(Section):
    public_url: Origin | None = setting(
        "Origin that clients know, put into Location instead of the server's own; null keeps the server's.",
        None,
    )
    edge_etags: Flag = setting("Make ETags for small responses that have none.", default=False)
    allow_methods: tuple[Method, ...] = setting("Methods that pass, others get 405; empty: all pass.", [])
    path_methods: tuple[PathMethods, ...] = setting(
        "Methods by path, for which the first entry that matches stands in for allow_methods.", []
    )
    known_paths: tuple[PathGlob, ...] = setting("Path globs that exist, others get 404; empty: all.", [])
    credentials: tuple[HeaderName, ...] = setting(
        "Header fields one of which a request must have, else 401; empty: none is asked for.", []
    )
    open_paths: tuple[PathGlob, ...] = setting(
        "Path globs that need no credentials, such as the one to sign in.", []
    )


class ForwardedSettings(Section):
    trust: tuple[Network, ...] = setting(
        "Networks of proxies in front, whose X-Forwarded-For is believed.", []
    )


class DrainSettings(Section):
    delay: Span = setting("After SIGTERM, time to go on serving while load balancers look away.", "5s")
    timeout: Span = setting("Then, time for running requests to finish.", "30s")


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = setting(
        "Least level of Weir's own log, on stderr.", "info"
    )
    access: Access = setting(
        "Access log, one JSON object a line: stdout, off or the path of a file.", "stdout", restart=True
    )


def _listen(listen: tuple[Listen, ...]) -> tuple[Listen, ...]:
    fixed = (each.address if each.port or each.unix_path else object() for each in listen)
    checks.require(checks.repeated(fixed, "the address"))
    return listen


def _limits(limits: tuple[LimitSettings, ...]) -> tuple[LimitSettings, ...]:
    checks.require(checks.limit_names(limits))
    return limits


class Settings(Section):
    listen: Annotated[
        tuple[Listen, ...], BeforeValidator(wrapped), Field(min_length=1), AfterValidator(_listen)
    ] = setting(
        "Where clients connect: an address, or a list of addresses and blocks.", "0.0.0.0:8080", restart=True
    )
    admin: AdminSettings = setting("The admin plane.", {}, restart=True)
    workers: Workers = setting(
        "Processes that serve; with limits only if Redis counts them. auto: one for each processor of the CPU"
        " quota, or 1 if limits are in memory.",
        1,
        restart=True,
    )
    downstream: DownstreamSettings = setting("Towards clients.", {})
    upstream: UpstreamSettings = setting("The service that Weir stands in front of.", {})
    store: StoreSettings = setting("Where buckets live.", {})
    limits: Annotated[tuple[LimitSettings, ...], AfterValidator(_limits)] = setting(
        "Who may send how much; all that match must admit. [] limits nothing.",
        [{"name": "per-user", "rate": "15/s"}],
        says="one limit: name per-user, rate 15/s",
    )
    errors: ErrorSettings = setting("What clients see of failures.", {})
    contract: ContractSettings = setting("The service's promises.", {})
    forwarded: ForwardedSettings = setting("Proxies in front of Weir.", {})
    ratelimit_fields: Literal["draft10", "legacy", "off"] = setting(
        "Dialect of the RateLimit fields of responses: draft10 (IETF), legacy (X-RateLimit-*) or off.",
        "draft10",
    )
    drain: DrainSettings = setting("How Weir stops.", {})
    log: LogSettings = setting("What Weir writes.", {})

    @model_validator(mode="after")
    def _fits(self) -> Self:
        checks.require(checks.whole(self))
        return self


def restart_differences(old: Section, new: Section, at: str = "", *, waits: bool = False) -> tuple[str, ...]:
    """Settings that differ and that only a restart can change."""
    found: tuple[str, ...] = ()
    for name, field in type(old).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        extra = field.json_schema_extra
        restarts = waits or (isinstance(extra, dict) and bool(extra.get("x-restart")))
        if isinstance(before, Section) and isinstance(after, Section) and type(before) is type(after):
            found += restart_differences(before, after, f"{at}{name}.", waits=restarts)
        elif restarts and before != after:
            found += (f"{at}{name}",)
    return found
