"""A simulation's report for people, as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from proxy.config.wording import many

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import Console

    from proxy.tuning.report import Allowance, LimitReport, LogReport, Report

KEYS_SHOWN = 5
KEY_LETTERS = 40  # of one: a log may hold anything in its place


def tell(reports: Sequence[Report], console: Console) -> None:
    first = reports[0]
    console.print(f"[bold]{_heading(first)}[/bold]", soft_wrap=True)
    for line in _about_logs(first.logs):
        console.print(_plain(line), style="yellow", soft_wrap=True)
    for note in first.notes:
        console.print(_plain(note), style="yellow", soft_wrap=True)
    for report in reports:
        console.print(f"\n[bold]{_plain(report.config)}[/bold]")
        if not report.limits:
            console.print("  has no limit")
        for limit in report.limits:
            _tell_limit(limit, console)
    if len(reports) > 1:
        console.print(Padding(_differences(reports[0], reports[1]), (1, 0, 0, 0)))


def _plain(text: str, most: int | None = None) -> str:
    """Nothing that a terminal or rich would obey."""
    shown = text if most is None or len(text) <= most else f"{text[:most]}…"
    return escape("".join(each if each.isprintable() else ascii(each)[1:-1] for each in shown))


def _heading(report: Report) -> str:
    logs = many(len(report.logs), "log")
    if report.began is None:
        return f"No request in {logs}."
    return f"{many(report.requests, 'request')} of {logs}, {report.began} to {report.ended}"


def _about_logs(logs: Sequence[LogReport]) -> Iterator[str]:
    for log in logs:
        left_out = (
            (log.unreadable, f"not a line of a {log.format or 'known'} log"),
            (log.too_long, "too long"),
            (log.out_of_time, "out of time"),
        )
        told = [f"{count:,} {why}" for count, why in left_out if count]
        if told:
            lines = many(sum(count for count, _ in left_out), "line")
            yield f"{log.name}: {lines} skipped: {', '.join(told)}"
        if log.problem is not None:
            yield f"{log.name} {log.problem}"


def _tell_limit(limit: LimitReport, console: Console) -> None:
    shadow = " in shadow" if limit.mode == "shadow" else ""
    console.print(f"  [cyan]{limit.name}[/cyan]  {limit.rate}, burst {limit.burst}{shadow}")
    if not limit.matched:
        console.print("    met no request")
        return
    about = "about " if limit.keys_are_estimated else ""
    verb = "would have refused" if limit.mode == "shadow" else "refuses"
    console.print(
        f"    {verb} {limit.refused:,} of {many(limit.matched, 'request')} ({_percent(limit.refused_share)}),"
        f" of {many(len(limit.limited) + limit.limited_left_out, 'key')} among {about}{limit.keys:,}"
    )
    if limit.refused_as_new:
        verb = "was" if limit.refused_as_new == 1 else "were"
        console.print(f"    {limit.refused_as_new:,} of them {verb} refused as new (unproven)")
    if limit.waited:
        console.print(f"    lets {limit.waited:,} wait")
    console.print(f"    {_allowances(limit.refuses_nobody, limit.refuses_one_in_thousand)}")
    if limit.limited:
        console.print(Padding(_keys_table(limit), (0, 0, 0, 4)))


def _percent(share: float) -> str:
    return f"{share:.3%}" if 0 < share < 0.01 else f"{share:.1%}"


def _allowances(nobody: Allowance | None, few: Allowance | None) -> str:
    assert nobody is not None
    assert few is not None  # both are known of a limit that met a request
    if nobody == few:
        return f"nobody would be refused from {nobody.rate} with a burst of {nobody.burst:,} on"
    return (
        f"nobody would be refused from {nobody.rate} with a burst of {nobody.burst:,} on,"
        f" one request in a thousand from {few.rate} with {few.burst:,}"
    )


def _keys_table(limit: LimitReport) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("most refused")
    for heading in ("requests", "refused", "longest run"):
        table.add_column(heading, justify="right")
    for key in limit.limited[:KEYS_SHOWN]:
        table.add_row(
            _plain(key.key, KEY_LETTERS), f"{key.requests:,}", f"{key.refused:,}", f"{key.longest_run:,}"
        )
    return table


def _differences(one: Report, other: Report) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", title=None)
    table.add_column("refused requests")
    table.add_column(_plain(one.config), justify="right")
    table.add_column(_plain(other.config), justify="right")
    table.add_column("", justify="right")
    before = {limit.name: limit for limit in one.limits}
    after = {limit.name: limit for limit in other.limits}
    for name in dict.fromkeys((*before, *after)):
        counts = [each[name].refused if name in each else None for each in (before, after)]
        change = "" if None in counts else f"{(counts[1] or 0) - (counts[0] or 0):+,}"
        table.add_row(name, *("-" if count is None else f"{count:,}" for count in counts), change)
    return table
