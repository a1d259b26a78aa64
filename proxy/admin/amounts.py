"""How much and for how long: what a body says beside the client when a key is blocked or gets a grant.

Spelled as in the config, with the same advice for what is misspelt. Knows nothing of buckets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from proxy.config.kinds import COUNT_MAX
from proxy.config.limit_checks import is_countable, uncountable
from proxy.config.units import EMPTIED_MAX_US, parse_rate, parse_timeout
from proxy.limiter.overrides import Override

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from proxy.policy.limits import Limit

# What belongs to a verb, and an example of each.
AMOUNTS: Final[dict[str, dict[str, str | int]]] = {
    "grant": {"rate": "60/s", "burst": 60, "for": "1h"},
    "block": {"for": "1h"},
}
FOR: Final = "1h"  # where nothing is said: nobody has to remember it


Value = TypeVar("Value")


class UnclearError(Exception):
    """An amount that cannot be; the message says what to write."""


def override_of(verb: str, amounts: Mapping[str, object], limit: Limit) -> tuple[Override, float]:
    """What an operator gives to a key, and for how many seconds. Raises UnclearError."""
    seconds = _parsed("for", parse_timeout, amounts.get("for", FOR))
    if verb == "block":
        return Override(0), seconds
    if limit.slots:
        raise UnclearError(f"{limit.name} has concurrency: no rate can be granted; block and release can be")
    if "rate" not in amounts:
        raise UnclearError("rate is missing: what is granted, such as 60/s")
    rate = _parsed("rate", parse_rate, amounts["rate"])
    burst = _burst(amounts.get("burst", rate.count), limit)
    if not is_countable(rate, burst, max(EMPTIED_MAX_US if limit.empties else 0, limit.max_wait_us)):
        raise UnclearError(f"rate: {uncountable(rate, burst)}")
    return Override(0, rate, burst), seconds


def _parsed(name: str, parse: Callable[[object], Value], value: object) -> Value:
    if isinstance(value, float):
        value = str(value)  # of JSON; it has no unit
    try:
        return parse(value)
    except ValueError as error:
        raise UnclearError(f"{name}: {error}") from None


def _burst(value: object, limit: Limit) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= COUNT_MAX:
        raise UnclearError(f"burst: must be a whole number from 1 to {COUNT_MAX}")
    most = max(terms.cost for terms in limit)
    if value < most:
        raise UnclearError(f"burst: {value} is below the cost of {most}: no such request would ever pass")
    return value
