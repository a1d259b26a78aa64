"""The tree of settings: every setting once, with its default as YAML spells it and one sentence of help.

Values here are parsed (seconds, bytes, networks); a tree that exists is valid and never changes. The docs,
the schema, the environment and the checks of the shipped files derive from it (catalogue.py). Knows nothing
of files or YAML.
"""

from __future__ import annotations

from functools import cached_property
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from proxy.config import checks, crowding, limit_checks
from proxy.config.kinds import (
    Access,
    Collector,
    HeaderName,
    LogField,
    Secret,
    Share,
    Span,
    Text,
    Timeout,
    Workers,
    wrapped,
)
from proxy.config.plan_keys import PlanKeys
from proxy.config.sections.answers import ContractSettings, ErrorSettings
from proxy.config.sections.front import (
    AdminSettings,
    CorsSettings,
    DownstreamSettings,
    ForwardedSettings,
    Listen,
)
from proxy.config.sections.limits import LimitSettings
from proxy.config.sections.plans import PlanSettings
from proxy.config.sections.section import Section, setting
from proxy.config.sections.store import StoreSettings
from proxy.config.sections.upstream import UpstreamSettings


class DrainSettings(Section):
    delay: Span = setting("After SIGTERM, time to go on serving while load balancers look away.", "5s")
    timeout: Span = setting("Then, time for running requests to finish.", "30s")


class TraceSettings(Section):
    otlp: Collector | None = setting(
        "Collector that spans go to by OTLP over HTTP: http://host:4318. null records none.",
        None,
        restart=True,
    )
    sample: Share = setting(
        "Share of the traces that begin at Weir; one that comes along follows its parent.", "1%", restart=True
    )
    service: Text = setting("Name under which the spans appear.", "weir", restart=True)
    headers: dict[HeaderName, Secret] = setting("Fields that the collector wants.", {}, restart=True)


class LogSettings(Section):
    level: Literal["debug", "info", "warning", "error"] = setting(
        "Least level of Weir's own log, on stderr.", "info"
    )
    program: Literal["auto", "json", "text"] = setting(
        "Form of Weir's own log: json, text for people, or auto: text on a terminal.", "auto", restart=True
    )
    access: Access = setting(
        "Access log, a line for each exchange: stdout, off or the path of a file.", "stdout", restart=True
    )
    format: Literal["json", "ecs", "text", "common", "combined"] = setting(
        "Form of its lines: json, ecs (Elastic), text for people, or Apache's common and combined.",
        "json",
    )
    fields: tuple[LogField, ...] = setting(
        "More fields of an access-log line: user_agent, referer, host, trace_id.", []
    )
    sample: Share = setting("Share of the exchanges that went well that are logged; all others are.", "100%")
    slow: Timeout | None = setting(
        "What takes longer gets a line `slow_request` in Weir's own log. null: nothing does.", None
    )


class Settings(Section):
    fits = (
        checks.of("listen", checks.listens),
        checks.of("limits", limit_checks.limit_names),
        checks.of("plans", limit_checks.plan_names),
        *checks.WHOLE,
        limit_checks.plans_of_limits,
        limit_checks.slots_that_nobody_gives_back,
        crowding.met_together,
    )

    listen: Annotated[tuple[Listen, ...], BeforeValidator(wrapped), Field(min_length=1)] = setting(
        "Where clients connect: an address, or a list of addresses and blocks. [::] takes IPv6 alone: list"
        " 0.0.0.0 too.",
        "0.0.0.0:8080",
        restart=True,
    )
    admin: AdminSettings = setting("The admin plane.", {})
    workers: Workers = setting(
        "Processes that serve; with limits only if Redis counts them. auto: one for each processor of the CPU"
        " quota, or 1 if limits are in memory.",
        1,
        restart=True,
    )
    downstream: DownstreamSettings = setting("Towards clients.", {})
    upstream: UpstreamSettings = setting("The service that Weir stands in front of.", {})
    store: StoreSettings = setting("Where buckets live.", {})
    limits: tuple[LimitSettings, ...] = setting(
        "Who may send how much; all that match must admit. [] limits nothing.",
        [{"name": "per-user", "rate": "15/s", "unproven": {"rate": "60/s"}}],
        says="one limit: name per-user, rate 15/s, unproven 60/s",
    )
    plans: tuple[PlanSettings, ...] = setting(
        "Named rates that some clients have in place of a limit's own.", []
    )
    errors: ErrorSettings = setting("What clients see of failures.", {})
    contract: ContractSettings = setting("The service's promises.", {})
    cors: CorsSettings = setting("Browser apps of other origins.", {})
    forwarded: ForwardedSettings = setting("Proxies in front of Weir.", {})
    ratelimit_fields: Literal["draft10", "legacy", "off"] = setting(
        "Dialect of the RateLimit fields of responses: draft10 (IETF), legacy (X-RateLimit-*) or off.",
        "draft10",
    )
    drain: DrainSettings = setting("How Weir stops.", {})
    log: LogSettings = setting("What Weir writes.", {})
    traces: TraceSettings = setting("Spans for OpenTelemetry; with the extra otel.", {})

    @cached_property
    def plan_keys(self) -> PlanKeys:
        """Who has which plans; made by who reads the config, beside the loop."""
        return PlanKeys(self.plans)


def restart_differences(old: Settings, new: Settings) -> tuple[str, ...]:
    """Settings that differ and that only a restart can change."""
    found = _waiting(old, new, "", waits=False)
    if (old.store.url.kind == "memory") is not (new.store.url.kind == "memory"):
        found += ("store.url",)
    return found


def until_restart(old: Settings, new: Settings) -> Settings:
    """The new ones, with what a reload must not change: it tells clients' buckets apart."""
    kept = {"prefix": old.store.prefix, "key_secret": old.store.key_secret}
    return new.model_copy(update={"store": new.store.model_copy(update=kept)})


def _waiting(old: Section, new: Section, at: str, *, waits: bool) -> tuple[str, ...]:
    found: tuple[str, ...] = ()
    for name, field in type(old).model_fields.items():
        before, after = getattr(old, name), getattr(new, name)
        extra = field.json_schema_extra
        restarts = waits or (isinstance(extra, dict) and bool(extra.get("x-restart")))
        if isinstance(before, Section) and isinstance(after, Section) and type(before) is type(after):
            found += _waiting(before, after, f"{at}{name}.", waits=restarts)
        elif restarts and before != after:
            found += (f"{at}{name}",)
    return found
