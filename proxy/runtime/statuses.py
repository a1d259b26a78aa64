"""The /status of several workers as one: numbers add up, truths must all be true.

What every worker counts of the whole (replicas, proven credentials) or measures as time is the greatest; of
words that differ the first stands. Pure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

GREATEST = frozenset(("proven", "replicas", "seconds"))


def merged(statuses: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for status in statuses for name in status)
    return {name: _merged(name, [status[name] for status in statuses if name in status]) for name in names}


def _merged(name: str, values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, bool):
        return all(values)
    if all(isinstance(value, int | float) for value in values):
        return max(values) if name in GREATEST else sum(values)
    if all(isinstance(value, dict) for value in values):
        return merged(values)
    if all(isinstance(value, list) and len(value) == len(first) for value in values):
        return [_merged(name, list(each)) for each in zip(*values, strict=True)]
    return next((value for value in values if value is not None), None)
