"""An access-log line in the forms that other programs know, made from the fields of the JSON one.

All of them escape alike: the fields hold printable ASCII in which a backslash begins an escape (as
safe_text.py writes it), and a quote in one is written as nginx writes it. So a field ends at its quote, for
readers that know escapes and for those that know none.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from proxy.telemetry.log import said

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.telemetry.line import AccessLine

ECS_VERSION: Final = "8.11.0"

_OUTCOMES = {"served": "success", "tunnelled": "success", "abandoned": "unknown"}  # of ECS; others: failure
_encoder = msgspec.json.Encoder()


def text(line: AccessLine) -> bytes:
    """Writes for people who look at a terminal; a value that would look like several is quoted."""
    took = f"{line.duration_ms:g}ms" + (f" (service {line.upstream_ms:g}ms)" if line.upstream_ms else "")
    parts = [line.time, line.client, f"{line.method or '-'} {line.target or '-'}", str(line.status or "-")]
    parts += [line.outcome, took]
    if line.limits is not None:
        limits: dict[str, list[str]] = msgspec.json.decode(line.limits)
        parts += [f"{word}={','.join(names)}" for word, names in limits.items() if word != "admitted"]
    named: dict[str, Any] = {
        "plan": line.plan,
        "fault": line.fault,
        "redacted": line.redacted_status,
        "server": line.server,
    }
    named |= {"id": line.request_id, "trace": line.trace_id, "host": line.host, "agent": line.user_agent}
    parts += [f"{name}={said(value)}" for name, value in named.items() if value]
    return " ".join(parts).encode("ascii", "backslashreplace")


def common(line: AccessLine) -> bytes:
    """Apache's common log form (mod_log_config)."""
    moment = datetime.fromisoformat(line.time).astimezone(UTC)
    request = f"{line.method or '-'} {line.target or '-'} HTTP/1.1"
    written = f'{line.client or "-"} - - [{moment:%d/%b/%Y:%H:%M:%S +0000}] "{_quoted(request)}"'
    return f"{written} {line.status} {line.bytes_out or '-'}".encode("ascii", "backslashreplace")


def combined(line: AccessLine) -> bytes:
    """The same with Referer and User-Agent."""
    more = f' "{_quoted(line.referer or "-")}" "{_quoted(line.user_agent or "-")}"'
    return common(line) + more.encode("ascii", "backslashreplace")


def ecs(line: AccessLine) -> bytes:
    """Elastic Common Schema: its names where it has any, our own under `weir`."""
    told: dict[str, Any] = {
        "@timestamp": line.time,
        "ecs.version": ECS_VERSION,
        "event.kind": "event",
        "event.category": ["web"],
        "event.type": ["access"],
        "event.dataset": "weir.access",
        "event.outcome": _OUTCOMES.get(line.outcome, "failure"),
        "event.duration": int(line.duration_ms * 1e6),
        "http.request.id": line.request_id,
        "http.request.method": line.method,
        "http.request.body.bytes": line.bytes_in,
        "http.response.status_code": line.status,
        "http.response.body.bytes": line.bytes_out,
        "url.original": line.target,
        "client.ip": line.client,
        "source.ip": line.peer,
    }
    known: dict[str, Any] = {"trace.id": line.trace_id, "user_agent.original": line.user_agent}
    known |= {"http.request.referrer": line.referer, "url.domain": line.host}
    ours: dict[str, Any] = {
        "source": line.source,
        "outcome": line.outcome,
        "limits": line.limits,
        "keys": line.keys,
        "plan": line.plan,
        "via": line.via,
    }
    ours |= {"waited_ms": line.waited_ms, "would_wait_ms": line.would_wait_ms}
    ours |= {"server": line.server, "upstream_ms": line.upstream_ms, "fault": line.fault}
    ours |= {"redacted_status": line.redacted_status, "sample": line.sample}
    told |= {name: value for name, value in known.items() if value}
    told["weir"] = {name: value for name, value in ours.items() if value is not None}
    return _encoder.encode(told)


def _quoted(value: str) -> str:
    return value.replace('"', "\\x22")


FORMS: Final[dict[str, Callable[[AccessLine], bytes]]] = {
    "text": text,
    "common": common,
    "combined": combined,
    "ecs": ecs,
}
