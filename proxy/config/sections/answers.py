"""What clients see of failures, and the service's promises."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Discriminator, Field, Tag

from proxy.config import checks
from proxy.config.kinds import (
    Flag,
    HeaderName,
    MediaGlob,
    MediaType,
    Method,
    Origin,
    PathGlob,
    Statuses,
    Text,
    wrapped,
)
from proxy.config.sections.section import Section, setting
from proxy.config.template import parse_template


class ErrorTemplate(Section):
    fits = (checks.template,)

    content_type: MediaType = setting("Content-Type of error objects.")
    body: Annotated[str, AfterValidator(parse_template)] = setting(
        "Their body, with {status}, {title}, {detail} and {request_id}, escaped for JSON strings."
    )


def _form(value: object) -> str:
    return "<template>" if isinstance(value, dict | ErrorTemplate) else "<word>"


class ErrorSettings(Section):
    fits = (checks.of("redact", checks.redacted),)

    redact: Annotated[tuple[Statuses, ...], BeforeValidator(wrapped)] = setting(
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
        "Header fields that stay in redacted and interim answers too, such as Set-Cookie and Location.", []
    )
    format: Annotated[
        Annotated[Literal["problem"], Tag("<word>")] | Annotated[ErrorTemplate, Tag("<template>")],
        Discriminator(_form),
    ] = setting("Shape of error objects: problem (RFC 9457), or a template {content_type, body}.", "problem")


class PathMethods(Section):
    paths: tuple[PathGlob, ...] = setting("Path globs such as /api/*; empty: every path.", [])
    allow: Annotated[tuple[Method, ...], Field(min_length=1)] = setting("Methods that pass there.")


class ContractRule(Section):
    fits = (checks.contract_rule,)

    status: Statuses = setting("A status, or a range such as 200-299, of which no other entry speaks.")
    headers: tuple[HeaderName, ...] | None = setting(
        "Header fields that must be there; null keeps those of the built-in table.", None
    )
    media_types: tuple[MediaGlob, ...] | None = setting(
        "Globs, one of which the Content-Type must match, such as application/json or text/*; null: any.",
        None,
    )
    body: Literal["required", "none", "any"] | None = setting(
        "Whether there must be a body, as the head tells; null keeps what the built-in table says.", None
    )


class ContractSettings(Section):
    fits = (checks.of("rules", checks.contract_rules),)

    public_url: Origin | None = setting(
        "Origin that clients know, put into Location instead of the server's own; null keeps the server's.",
        None,
    )
    edge_etags: Flag = setting(
        "Make ETags for 200s to GET up to 1 MiB that have none, and answer If-None-Match with 304.",
        default=False,
    )
    rules: tuple[ContractRule, ...] = setting(
        "What answers must have, beside or in place of the built-in table; those that lack it are counted.",
        [],
    )
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
