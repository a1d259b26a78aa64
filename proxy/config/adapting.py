"""Defaults that give way to what is written beside them: what is written alone is a good config.

Each function is given a block and says what its settings are, if they are not written.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from proxy.config.sections.front import DownstreamLimits
    from proxy.config.sections.upstream import Ejection, HealthChecks


def health(settings: HealthChecks) -> dict[str, float]:
    return {"timeout": min(settings.timeout, settings.interval)}


def ejection(settings: Ejection) -> dict[str, float]:
    return {
        "first": min(settings.first, settings.longest),
        "longest": max(settings.first, settings.longest),
    }


def downstream_limits(settings: DownstreamLimits) -> dict[str, int]:
    return {"request_line": min(settings.request_line, settings.head)}
