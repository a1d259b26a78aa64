"""What a simulation found, as the JSON that `--json` prints and the other reports are made of."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import msgspec

from proxy.config.units import Rate, parse_rate
from proxy.tuning import whatif
from proxy.tuning.logs import legible
from proxy.tuning.whatif import Bucket, Overrun, Shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from proxy.tuning.replay import Replay
    from proxy.tuning.simulation import ReadLog, Simulation
    from proxy.tuning.tally import Tally

LIMITED_MAX = 1000  # keys that were refused, of each limit
BUSIEST = 20
CURVE_POINTS = 20
IN_THOUSAND = 1000


class KeyReport(msgspec.Struct):
    key: str
    requests: int
    refused: int
    longest_run: int


class Allowance(msgspec.Struct):
    """What one would write into the config."""

    rate: str
    burst: int


class LimitReport(msgspec.Struct):
    name: str
    matched: int  # requests
    refused: int
    refused_share: float
    keys: int
    waited: int
    limited: list[KeyReport]
    refuses_nobody: Allowance | None  # None if it met no request
    refuses_one_in_thousand: Allowance | None
    rate: str
    burst: int
    mode: str
    exempt: int
    refused_as_new: int  # of those refused, by `unproven`
    keys_are_estimated: bool
    limited_left_out: int


class LogReport(msgspec.Struct):
    name: str
    format: str | None
    requests: int
    unreadable: int
    too_long: int
    out_of_time: int
    problem: str | None


class Plots(msgspec.Struct):
    """What a limit's plots are drawn from."""

    step_s: float
    steps: list[
        tuple[int, int, float]
    ]  # requests, refused, and the share of the burst that was missing at most
    busiest: list[KeyReport]
    curve: list[tuple[int, int, int]]  # tokens in a period, the burst with them, and the requests refused


class Report(msgspec.Struct, rename={"began": "from", "ended": "to"}):
    requests: int
    skipped: int
    began: str | None
    ended: str | None
    limits: list[LimitReport]
    logs: list[LogReport]
    notes: list[str]
    config: str
    plots: list[Plots]  # of each limit, if they are asked for


def reported(
    simulation: Simulation, progress: Callable[[], None], *, has_plots: bool = False
) -> list[Report]:
    """One report for each config; works out the what-ifs, and calls `progress` after each."""
    logs = [_log(log) for log in simulation.logs]
    reports = []
    for reading, replay in zip(simulation.configs, simulation.replays, strict=True):
        report = _report(simulation, replay, legible(reading.file))
        report.logs = logs
        for tally in replay.tallies.values():
            limit = _limit(tally)
            report.limits.append(limit)
            if has_plots:
                report.plots.append(_plots(tally, limit))
            progress()
        reports.append(report)
    return reports


def _report(simulation: Simulation, replay: Replay, config: str) -> Report:
    began, ended = replay.span or (None, None)
    return Report(
        requests=replay.requests,
        skipped=simulation.skipped,
        began=_moment(began),
        ended=_moment(ended),
        limits=[],
        logs=[],
        notes=simulation.notes,
        config=config,
        plots=[],
    )


def _limit(tally: Tally) -> LimitReport:
    limit = tally.limit
    limited = tally.limited()
    nobody, one_in_thousand = _allowances(tally)
    return LimitReport(
        name=limit.name,
        matched=tally.matched,
        refused=tally.refused,
        refused_share=round(tally.refused / tally.matched, 6) if tally.matched else 0.0,
        keys=tally.keys,
        waited=tally.waited,
        limited=[KeyReport(*each) for each in limited[:LIMITED_MAX]],
        refuses_nobody=nobody,
        refuses_one_in_thousand=one_in_thousand,
        rate=str(Rate(limit.terms.count, limit.terms.period_us)),
        burst=limit.terms.burst,
        mode="shadow" if limit.is_shadow else "enforce",
        exempt=tally.exempt,
        refused_as_new=tally.refused_as_new,
        keys_are_estimated=tally.is_estimate,
        limited_left_out=max(0, len(limited) - LIMITED_MAX),
    )


def _allowances(tally: Tally) -> tuple[Allowance | None, Allowance | None]:
    if not tally.charges:
        return None, None
    arrivals, shape = tally.arrivals, shape_of(tally)
    most = tally.charges // IN_THOUSAND
    with closing(Overrun(arrivals, shape)) as overrun:
        nobody = whatif.refuses_nobody(arrivals, shape, overrun)
        few = whatif.refuses_at_most(arrivals, shape, most, nobody, overrun) if most else nobody
    return _allowance(nobody, shape), _allowance(few, shape)


def shape_of(tally: Tally) -> Shape:
    terms = tally.limit.terms
    return Shape(terms.count, terms.period_us, terms.burst, terms.cost)


def _allowance(bucket: Bucket, shape: Shape) -> Allowance:
    return Allowance(str(Rate(bucket.count, shape.period_us)), bucket.burst)


def _plots(tally: Tally, limit: LimitReport) -> Plots:
    burst_units = tally.limit.terms.burst_units
    return Plots(
        step_s=tally.load.step_us / 1e6,
        steps=[(step.requests, step.refused, round(step.debt / burst_units, 4)) for step in tally.load.steps],
        busiest=[KeyReport(*each) for each in tally.busiest(BUSIEST)],
        curve=_curve(tally, limit),
    )


def _curve(tally: Tally, limit: LimitReport) -> list[tuple[int, int, int]]:
    """Around the limit as it is and what refuses nobody."""
    if limit.refuses_nobody is None:
        return []
    shape = shape_of(tally)
    nobody = parse_rate(limit.refuses_nobody.rate).count
    enough = max(nobody, -(-limit.refuses_nobody.burst * shape.count // shape.burst))
    low, high = max(1, min(enough, shape.count) // 4), max(enough, shape.count)
    counts = {low + (high - low) * number // CURVE_POINTS for number in range(CURVE_POINTS + 1)}
    return [
        (count, burst, whatif.refused(tally.arrivals, shape, Bucket(count, burst)))
        for count in sorted(counts | {shape.count})
        if (burst := shape.burst_for(count))
    ]


def _log(log: ReadLog) -> LogReport:
    return LogReport(
        name=log.log.name,
        format=log.format,
        requests=log.requests,
        unreadable=log.unreadable,
        too_long=log.log.dropped,
        out_of_time=log.late,
        problem=log.log.problem,
    )


def _moment(at_us: int | None) -> str | None:
    if at_us is None:
        return None
    moment = datetime.fromtimestamp(at_us // 1000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
