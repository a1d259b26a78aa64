"""Which members of the service's error object may stay when it is replaced.

Those the config lists. Only at the top level, only plain values, only short ones, and none that looks like a
secret or tells of the inside of the service.
"""

from __future__ import annotations

import json
from math import isfinite
from typing import TYPE_CHECKING

from proxy.contract.insides import tells
from proxy.contract.masking import masked

if TYPE_CHECKING:
    from collections.abc import Collection

    from proxy.contract.problem import Scalar

VALUE_CHARS = 256


def kept_members(data: bytes, names: Collection[str]) -> dict[str, Scalar]:
    """The members of the JSON object in `data` that may stay; none if it is no JSON object."""
    try:
        whole = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(whole, dict):
        return {}
    return {name: whole[name] for name in names if name in whole and _is_harmless(name, whole[name])}


def _is_harmless(name: str, value: object) -> bool:
    if value is None or isinstance(value, bool):
        return True
    if isinstance(value, int):
        return value.bit_length() < 64
    if isinstance(value, float):
        return isfinite(value)
    if not isinstance(value, str) or len(value) > VALUE_CHARS:
        return False
    line = f"{name}={value}"
    return value.isprintable() and masked(line) == line and not tells(value.encode())
