"""What one process shows of the present beside its numbers: busy keys, and exchanges that went wrong.

Plain values that go over a wire and are put together for several processes. Ages are in seconds.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

KEYS_SHOWN = 20  # of a limit and a state


class SeenKey(msgspec.Struct):
    """A partition key; its counts look back half a minute to a minute."""

    key: str  # its hash, hexadecimal
    count: int  # refusals, or admissions near the limit; too small by at most what was `lost`
    spent: float  # part of the burst by now
    since: float  # age of the first sighting of this stretch
    last: float  # of the last


class SeenKeys(msgspec.Struct):
    limit: str
    state: str  # over or near
    lost: int
    keys: list[SeenKey]


class Trouble(msgspec.Struct, omit_defaults=True):
    """An exchange that did not go as its client wished."""

    time: float  # Unix time of its end
    request_id: str
    kind: str  # redacted, or the outcome
    status: int
    method: str
    target: str
    client: str
    duration_ms: float
    mark: float  # its end by the machine's monotonic clock: with the id it is one exchange and no other
    upstream_ms: float | None = None
    fault: str | None = None
    server: str | None = None
    redacted_status: int | None = None


class Sights(msgspec.Struct):
    at: float  # of the machine's monotonic clock
    keys: list[SeenKeys]
    troubles: list[Trouble]


def merged(sights: Sequence[Sights]) -> Sights:
    """One of several processes: the same key's counts add up."""
    at = min((each.at for each in sights), default=0.0)
    troubles = sorted((trouble for each in sights for trouble in each.troubles), key=lambda each: each.mark)
    return Sights(at, _together(seen for each in sights for seen in each.keys), troubles)


def _together(found: Iterable[SeenKeys]) -> list[SeenKeys]:
    tables: dict[tuple[str, str], dict[str, SeenKey]] = {}
    lost: dict[tuple[str, str], int] = {}
    for seen in found:
        place = (seen.limit, seen.state)
        lost[place] = lost.get(place, 0) + seen.lost
        table = tables.setdefault(place, {})
        for each in seen.keys:
            before = table.get(each.key)
            table[each.key] = each if before is None else _added(before, each)
    for (limit, state), table in tables.items():
        if state == "near":
            for key in tables.get((limit, "over"), ()):
                table.pop(key, None)
    return [
        SeenKeys(limit, state, lost[limit, state], _most(table))
        for (limit, state), table in tables.items()
        if table
    ]


def _added(one: SeenKey, other: SeenKey) -> SeenKey:
    return SeenKey(
        one.key,
        one.count + other.count,
        max(one.spent, other.spent),
        max(one.since, other.since),
        min(one.last, other.last),
    )


def _most(table: dict[str, SeenKey]) -> list[SeenKey]:
    return sorted(table.values(), key=lambda each: -each.count)[:KEYS_SHOWN]
