"""The page and the chart that the results are rendered into."""

import re
from xml.etree import ElementTree

import pytest

from benchmarks import chart, report
from benchmarks.__main__ import check
from benchmarks.cases import BUILDS, CASES, TARGETS
from benchmarks.core import rows
from benchmarks.load import Load
from benchmarks.peers import LUA, NGINX, PEERS, SOURCE, WEIR

MACHINE = {"date": "2026-11-29", "cpu": "a CPU", "kernel": "6.1"}


def run(cpu_us, **more):
    times = {"p50_ms": 1.0, "p99_ms": 2.0, "p999_ms": 3.0}
    return {"cpu_us": cpu_us, "per_second": 1000.0, "memory": 2**20} | times | more


def results(memory=None, **cases):
    found = {name.replace("_", "-"): peers for name, peers in cases.items()}
    return {"machine": MACHINE, "cases": found, "memory": memory or {}}


def target_row(found, title):
    return next(line for line in report.targets(found).splitlines() if title in line)


def test_ratio_is_that_of_the_medians():
    found = results(memory_32={WEIR: [run(30.0), run(90.0), run(36.0)], NGINX: [run(18.0), run(30.0)]})

    assert "| 1.50 |  | 1.30 | **missed** |" in target_row(found, "limits in memory, 32")


@pytest.mark.parametrize(
    ("ours", "source", "verdict"),
    [
        (20.0, 20.0, "met by both"),
        (20.0, 40.0, "met"),
        (40.0, 20.0, "**missed**"),
        (40.0, 40.0, "**missed**"),
    ],
)
def test_target_is_met_by_the_build_that_people_get(ours, source, verdict):
    found = results(redis_32={WEIR: [run(ours)], SOURCE: [run(source)], LUA: [run(32.0)]})

    assert f"| 0.75 | {verdict} |" in target_row(found, "Redis, 32")


def test_memory_has_targets_too():
    found = results(memory={WEIR: {"rest": 40 * 2**20, "connection": 5120.0}})

    assert "| 40.0 |  | 45 | met |" in target_row(found, "at rest")
    assert "| 5.0 |  | 4 | **missed** |" in target_row(found, "idle connection")


def test_what_people_wrote_on_the_page_stays():
    page = f"# Title\nintroduction\n{report.BEGIN}old{report.END}\nthe end\n"
    made = report.render(results(redis_32={WEIR: [run(30.0)]}), page)

    assert made.startswith("# Title\nintroduction\n")
    assert made.endswith("\nthe end\n")
    assert "old" not in made
    assert "| Weir | 30.0 | 1.00 |" in made


def test_redis_has_a_column_where_it_was_measured():
    found = results(redis_32={WEIR: [run(30.0, redis_us=4.0)], LUA: [run(40.0, redis_us=9.5)]})
    text = report.render(found, "")

    assert "Redis CPU us/request" in text
    assert "| 9.5 |" in text


def test_after_is_compared_with_before():
    before, after = results(redis_32={WEIR: [run(40.0)]}), results(redis_32={WEIR: [run(30.0)]})

    assert re.search(r"redis-32 +Weir +0\.750", report.compared(before, after))


def test_chart_has_a_bar_for_each_peer_and_cuts_long_ones():
    found = results(redis_32={WEIR: [run(30.0)], LUA: [run(40.0)], "Node gateway": [run(300.0)]})
    drawn = ElementTree.fromstring(chart.render(found))
    texts = [each.text for each in drawn.iter() if each.tag.endswith("text")]
    bars = [float(each.get("width")) for each in drawn.iter() if each.tag.endswith("rect")]

    assert {WEIR, LUA, "Node gateway", "300.0 (cut)"} <= set(texts)
    assert bars[1] < bars[2] < bars[3] < bars[0]


def test_every_target_and_every_case_names_what_there_is():
    cases = {case.name: case for case in CASES}

    assert {peer for case in CASES for peer in case.peers} <= set(PEERS)
    assert all({target.against, *BUILDS} <= set(cases[target.case].peers) for target in TARGETS)


@pytest.mark.parametrize(
    ("name", "refused", "errors"),
    [("memory-32", 5, 0), ("refused", 0, 0), ("memory-32", 0, 1)],
    ids=["refused though open", "admitted though shut", "broken connections"],
)
def test_run_with_wrong_answers_fails(name, refused, errors):
    case = next(case for case in CASES if case.name == name)
    with pytest.raises(RuntimeError, match=name):
        check(case, "weir", Load(1000, 1.0, 1.0, 1.0, 1.0, 1.0, refused, errors, 0))


def test_each_row_of_the_core_runs():
    for _, call in rows():
        call()
