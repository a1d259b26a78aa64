"""What `weir top` draws, from what /events tells."""

from __future__ import annotations

import json

import pytest
from rich.console import Console

from proxy import faults
from proxy.admin.snapshots import Snapshots
from proxy.admin.terminal import Screen, span, spark
from proxy.config.sections.limits import LimitSettings
from proxy.faults import FAULTED, REFUSED
from proxy.record import WEIR
from proxy.telemetry.metrics import Metrics
from proxy.telemetry.reading import reading
from proxy.telemetry.sights import Sights
from tests.telemetry.exchanges import decision, exchange, limit, verdict

STATUS = {
    "uptime": 125,
    "config": {"hash": "abc123", "last_reload": {"successful": True}},
    "store": {"kind": "redis", "up": True, "replicas": 3},
    "upstream": [
        {"server": "http://a:9000", "address": "1.2.3.4:9000", "state": "ejected", "active": 2, "idle": 0}
    ],
}
SETTINGS = [
    LimitSettings(name="per-user", rate="15/s"),
    LimitSettings(name="watch", rate="1/s", mode="shadow"),
]


def screen(*exchanges, status=STATUS, settings=SETTINGS, is_draining=False):
    """What has come of them, two seconds later."""
    metrics, snapshots, made = Metrics(), Snapshots(), Screen()
    metrics.configure([each.name for each in settings])
    metrics.provide_draining(lambda: is_draining)
    for now, batch in ((100.0, ()), (102.0, exchanges)):
        for each in batch:
            metrics.record(each)
        sights = Sights(now, metrics.top_keys.seen([limit()], 1000.3), metrics.recent.since(0.0))
        made.take("hello", json.loads(snapshots.hello(settings, ())))
        made.take("tick", json.loads(snapshots.tick(reading(metrics), sights, status, (now, 1.7e9))))
    return made


def drawn(made, *, width=160, height=None):
    console = Console(width=width, height=height or 50, record=True, file=open("/dev/null", "w"))
    with console.file:
        console.print(made.drawn(height))
        return console.export_text()


def refused():
    return exchange(
        status=429,
        source=WEIR,
        outcome=REFUSED,
        fault=faults.LIMITED,
        decision=decision(verdict(limit(), is_admitted=False, key=bytes(range(16)))),
    )


def test_says_who_is_limited_and_what_went_wrong():
    text = drawn(
        screen(
            *[exchange() for _ in range(6)],
            refused(),
            refused(),
            exchange(
                status=502, source=WEIR, outcome=FAULTED, fault=faults.CONNECT_REFUSED, request_id="id-7"
            ),
        )
    )

    for part in (
        "serving",
        "config abc123",
        "up 2 min",
        "3 replicas",
        "22.2%",
        "15/s, burst 15",
        "watch (shadow)",
    ):
        assert part in text, part
    (key,) = [line for line in text.splitlines() if "0001020304050607" in line]
    assert key.split()[1:4] == ["per-user", "over", "2"]
    (trouble,) = [line for line in text.splitlines() if "id-7" in line]
    assert "connect_refused" in trouble
    assert "http://a:9000 ejected (2 busy)" in text


def test_store_that_is_down_says_why():
    store = {"kind": "redis", "up": False, "servers": {"a": {"error": "store.url: no connection to a"}}}
    text = drawn(screen(status=STATUS | {"store": store}))

    assert "store down" in text
    assert "store.url: no connection to a" in text


def test_draining_says_so_before_all_else():
    store = {"kind": "redis", "up": False}

    assert "● draining" in drawn(screen(status=STATUS | {"store": store}, is_draining=True))


def test_config_file_that_is_bad_says_so():
    bad = {"hash": "abc123", "last_reload": {"successful": False}}

    assert "the config file is bad" in drawn(screen(status=STATUS | {"config": bad}))
    assert "the config file is bad" not in drawn(screen())


def test_limit_of_requests_under_way_shows_how_many():
    text = drawn(screen(settings=[LimitSettings(name="busy", concurrency=4)]))

    assert "4 at once" in text


def test_message_of_a_later_version_is_passed_over():
    made = screen()
    before = drawn(made)
    made.take("news", {"limits": []})

    assert drawn(made) == before


def test_nothing_yet_is_said():
    assert "waiting" in drawn(Screen())
    text = drawn(screen())
    assert "no key is near its limit" in text
    assert "nothing has gone wrong" in text


@pytest.mark.parametrize("width", [40, 80, 200])
def test_fits_any_terminal(width):
    text = drawn(screen(*[refused() for _ in range(50)]), width=width, height=24)

    assert all(len(line) <= width for line in text.splitlines())


def test_names_are_text():
    """Rich's own markup in a name colours nothing."""
    text = drawn(screen(exchange(status=500, redacted_status=500, target=b"/[bold]x[/bold][link=http://e]")))

    assert "/[bold]x[/bold][link=http://e]" in text


def test_words():
    assert [span(59), span(61), span(3700)] == ["59 s", "1 min", "1 h 1 min"]
    assert spark([0, 1, 2, 4]) == " ▂▄█"
    assert spark([]) == ""
