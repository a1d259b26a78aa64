"""The page that the results are rendered into."""

import pytest

from benchmarks import report
from benchmarks.__main__ import check
from benchmarks.cases import CASES
from benchmarks.core import rows
from benchmarks.load import Load


def run(cpu_us, **more):
    return {"cpu_us": cpu_us, "per_second": 1000.0, "p50_ms": 1.0, "p99_ms": 2.0, "memory": 2**20} | more


def page(peers, case="memory-32", memory=None):
    machine = {"date": "2026-11-23", "cpu": "a CPU", "kernel": "6.1"}
    return report.render({"machine": machine, "cases": {case: peers}, "memory": memory}, CASES)


def test_row_holds_the_median_and_the_ratio_to_the_named_peer():
    text = page({"weir": [run(30.0), run(90.0), run(36.0)], "haproxy": [run(18.0), run(18.0), run(20.0)]})

    assert "| weir | 36.0 | 2.00 |" in text


def test_target_that_is_missed_is_told():
    """Met or missed, all in one table: also what a refusal costs beside an admitted request."""
    peers = {"weir": [run(40.0)], "haproxy": [run(18.0)]}
    machine = {"date": "2026-11-23", "cpu": "a CPU", "kernel": "6.1"}
    cases = {"memory-32": peers, "refused-32": {"weir": [run(20.0)]}}
    text = report.render({"machine": machine, "cases": cases}, CASES)

    assert "| haproxy | 2.22 |  | 2.00 | **missed** |" in text
    assert "| Weir, admitted | 0.50 |  | 0.50 | met |" in text


def test_target_that_only_the_compiled_build_meets_is_told_as_that():
    text = page({"weir": [run(40.0)], "weir compiled": [run(20.0)], "haproxy": [run(16.0)]})

    assert "| haproxy | 2.50 | 1.25 | 2.00 | met if compiled |" in text


def test_redis_has_a_column_where_it_was_measured():
    text = page({"weir": [run(30.0, redis_us=4.0)], "nginx+lua+redis": [run(40.0, redis_us=9.5)]}, "redis-32")

    assert "Redis CPU us/request" in text
    assert "| 9.5 |" in text


def test_memory_of_connections_is_told():
    text = page({}, memory={"weir": {"rest": 40 * 2**20, "connection": 4096.0}})

    assert "| weir | 40 | 4.0 |" in text


@pytest.mark.parametrize(
    ("name", "refused", "errors"),
    [("memory-32", 5, 0), ("refused-32", 0, 0), ("memory-32", 0, 1)],
    ids=["refused though open", "admitted though shut", "socket errors"],
)
def test_run_with_wrong_answers_fails(name, refused, errors):
    case = next(case for case in CASES if case.name == name)
    with pytest.raises(RuntimeError, match=name):
        check(case, "weir", Load(1000, 1.0, 1.0, 1.0, refused, errors))


def test_each_row_of_the_core_runs():
    for _, call in rows():
        call()
