"""A picture of what /events tells, for a terminal: made of text alone, so that no name can colour it.

Knows nothing of where it comes from or where it is shown.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

KEY_DIGITS: Final = 16  # as in the access log
ROWS_MAX: Final = 40  # of keys and of exchanges, where the height does not decide
SPARK: Final = " ▁▂▃▄▅▆▇█"
SPARK_WIDTH: Final = 24
LINES_TAKEN: Final = 15  # by all that is no row of a table

STATES = {"serving": "green", "returning": "yellow", "ejected": "red", "unhealthy": "red"}
KINDS = {"redacted": "red", "faulted": "red", "refused": "yellow", "abandoned": ""}


class Screen:
    def __init__(self) -> None:
        self._hello: dict[str, Any] = {}
        self._tick: dict[str, Any] = {}
        self._points: deque[list[float | None]] = deque(maxlen=SPARK_WIDTH)
        self._troubles: deque[dict[str, Any]] = deque(maxlen=ROWS_MAX)

    def take(self, name: str, told: dict[str, Any]) -> None:
        if name == "hello":
            self._hello = told
            self._points = deque(told["history"], SPARK_WIDTH)
            self._troubles = deque(told["troubles"], ROWS_MAX)
        elif name == "tick":
            self._tick = told
            if not self._points or self._points[-1][0] != told["point"][0]:
                self._points.append(told["point"])
            self._troubles.extend(told["troubles"])

    def drawn(self, height: int | None) -> RenderableType:
        """The picture in so many lines; without a height, all of it."""
        if not self._tick:
            return Text("waiting for the first figures")
        limits = self._hello["limits"]
        room = ROWS_MAX if height is None else max(height - LINES_TAKEN - len(limits), 4)
        return Group(
            self._top(),
            self._tiles(),
            self._limits(),
            self._keys(room * 2 // 3),
            self._exchanges(max(room // 3, 2)),
            self._bottom(),
        )

    # --- its parts, from top to bottom ---

    def _top(self) -> Text:
        status, figures = self._tick["status"], self._tick["figures"]
        store = status.get("store", {})
        word, style = ("serving", "bold green")
        if store.get("up") is False:
            word, style = "store down", "bold red"
        if figures["weir_draining"]:
            word, style = "draining", "bold yellow"
        config = status.get("config", {})
        reload = config.get("last_reload", {})
        told = [
            f"weir {self._hello['version']}",
            f"config {config.get('hash')}",
            f"up {span(status['uptime'])}",
        ]
        told += [f"{figures['weir_workers']:g} workers"] if figures["weir_workers"] > 1 else []
        told += [f"{store['replicas']} replicas"] if store.get("replicas") else []
        line = Text.assemble((f"● {word}", style), "  ", "  ".join(told))
        if not reload.get("successful", True):
            line.append("  the config file is bad", "bold red")
        return line

    def _tiles(self) -> Columns:
        point, errors = self._tick["point"], self._tick["errors"]
        outcomes = [each or 0.0 for each in point[1:6]]
        whole = sum(outcomes) or 1.0
        wrong = sum(each or 0.0 for each in errors.values())
        tiles = [
            (
                "requests",
                f"{sum(outcomes):,.1f}/s",
                [sum(each or 0 for each in p[1:6]) for p in self._points],
            ),
            ("refused", f"{outcomes[1] / whole:.1%}", [p[2] or 0 for p in self._points]),
            ("5xx", f"{wrong / whole:.2%}", [p[12] or 0 for p in self._points]),
            ("p99", _milliseconds(point[7]), [p[7] or 0 for p in self._points]),
            ("service / Weir p99", f"{_milliseconds(point[9])} / {_milliseconds(point[11])}", []),
        ]
        return Columns(
            [
                Panel(Text(f"{value}\n{spark(line)}"), title=name, width=SPARK_WIDTH + 4)
                for name, value, line in tiles
            ]
        )

    def _limits(self) -> Table:
        table = _table(
            "limit", "rate", "admitted/s", "refused/s", "shadow/s", "waiting", "in flight", "over", "near"
        )
        for limit in self._hello["limits"]:
            figures = self._tick["limits"].get(limit["name"]) or [None] * 8
            admitted, refused, shadow, _, over, near, waiting, under_way = figures
            name = limit["name"] + (" (shadow)" if limit["mode"] == "shadow" else "")
            cells = [
                name,
                _terms(limit),
                _rate(admitted),
                _rate(refused),
                _rate(shadow),
            ]
            cells += ["-" if each is None else f"{each:g}" for each in (waiting, under_way, over, near)]
            table.add_row(*map(Text, cells), style="yellow" if refused else "")
        return table

    def _keys(self, room: int) -> Table:
        table = _table("key", "limit", "state", "last minute", "since", "burst spent")
        seen = [
            (found["state"], found["limit"], key) for found in self._tick["keys"] for key in found["keys"]
        ]
        seen.sort(key=lambda each: (each[0] != "over", -each[2]["count"]))
        for state, limit, key in seen[:room]:
            cells = [key["key"][:KEY_DIGITS], limit, state, f"{key['count']:,}", span(key["since"])]
            table.add_row(
                *map(Text, [*cells, f"{key['spent']:.0%}"]), style="red" if state == "over" else "yellow"
            )
        if not seen:
            table.add_row(Text("no key is near its limit", "dim"))
        return table

    def _exchanges(self, room: int) -> Table:
        table = _table("kind", "status", "request", "cause", "took", "request id")
        for trouble in list(self._troubles)[-room:][::-1]:
            cause = trouble.get("fault") or f"the service said {trouble.get('redacted_status', '')}"
            request = f"{trouble['method']} {trouble['target']}"[:60]
            cells = [trouble["kind"], str(trouble["status"] or "-"), request, cause]
            cells += [_milliseconds(trouble["duration_ms"]), trouble["request_id"]]
            table.add_row(*map(Text, cells), style=KINDS.get(trouble["kind"], ""))
        if not self._troubles:
            table.add_row(Text("nothing has gone wrong", "dim"))
        return table

    def _bottom(self) -> Text:
        status = self._tick["status"]
        line = Text()
        for server in status.get("upstream") or []:
            line.append("● ", STATES.get(server["state"], ""))
            line.append(f"{server['server']} {server['state']} ({server['active']} busy)  ")
        store, calls = status.get("store", {}), self._tick["calls"]
        line.append(f"store {store.get('kind')}")
        if store.get("kind") != "memory":
            line.append(f", {_rate(calls['rate'])} calls/s, p99 {_milliseconds(calls['p99'])}")
        causes = [server["error"] for server in (store.get("servers") or {}).values() if server.get("error")]
        if causes:
            line.append(f"\n{causes[0]}", "bold red")
        return line


def _terms(limit: Mapping[str, Any]) -> str:
    if limit["concurrency"]:
        return f"{limit['concurrency']} at once"
    return f"{limit['rate']}, burst {limit['burst']}"


def _table(*names: str) -> Table:
    table = Table(box=None, expand=True, header_style="bold dim", pad_edge=False)
    for name in names:
        table.add_column(name, overflow="ellipsis", no_wrap=True)
    return table


def _rate(number: float | None) -> str:
    return "-" if number is None else f"{number:,.1f}"


def _milliseconds(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number / 1000:.1f} s" if number >= 1000 else f"{number:.1f} ms"


def span(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.0f} s"
    if seconds < 3600:
        return f"{seconds // 60:.0f} min"
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min"


def spark(values: list[float]) -> str:
    most = max(values, default=0) or 1
    return "".join(SPARK[round(value / most * (len(SPARK) - 1))] for value in values)
