"""Which stage of an exchange a stack of py-spy's belongs to."""

from __future__ import annotations

import pytest

from benchmarks.budget import rendered, stage_of

LOOP = ["run (proxy/runtime/run.py:67)", "uv_run (core.c:464)", "uv__io_poll (linux.c:1546)"]
LIBRARY = "(proxy/compiled__mypyc.cpython-311-x86_64-linux-gnu.so)"


@pytest.mark.parametrize(
    ("frames", "stage"),
    [
        ([], "the loop: turns, calls into Python"),
        (["uv__read (stream.c:1063)", "read (libc.so.6)"], "reads from sockets"),
        (
            [f"CPyDef_connection___Connection___flush {LIBRARY}", "write (loop.c:1)", "write (libc.so.6)"],
            "writes to sockets",
        ),
        (["Exchange.finish (proxy/gateway.py:1)", "Metrics.record (proxy/telemetry/metrics.py:1)"], "count and log"),
        ([f"CPyDef_heads___Heads____study {LIBRARY}", f"CPyDef_keys___Partition___keys {LIBRARY}"], "whom to charge"),
        (
            [f"CPyDef_head___response_head {LIBRARY}", f"CPyDef_lines___LineMemory___read {LIBRARY}"],
            "read the answer, send it on",
        ),
        (
            [f"CPyDef_head___HeaderSection___read {LIBRARY}", f"CPyDef_lines___LineMemory___read {LIBRARY}"],
            "read the request",
        ),
        (["Batch.replied (proxy/limiter/batch.py:1)", "Exchange.decided (proxy/gateway.py:1)"], "the exchange's story"),
    ],
)  # fmt: skip
def test_innermost_frame_that_names_a_stage_decides(frames, stage):
    """Frames of libraries are part of whoever called them."""
    assert stage_of([*LOOP, *frames]) == stage
    assert stage_of([*LOOP, *frames, "_PyObject_Malloc (libpython3.11.so.1.0)"]) == stage


def test_other_threads_are_no_stage_of_an_exchange():
    """The log's writer writes too."""
    frames = ["Thread._bootstrap (threading.py:1002)", "LineWriter._run (x.py:1)", "write (libc.so.6)"]

    assert stage_of(frames).startswith("other threads")


def test_table_has_a_column_for_each_build_and_a_sum():
    """Dearest stage first."""
    calls = {"reads": 3.0, "writes": 3.0, "polls": 3.0, "others": 1.5}
    table = rendered({"one": ({"ask the store": 1.0, "polls": 2.0}, calls), "two": ({"polls": 4.0}, calls)})

    assert table.splitlines()[0] == "| us of CPU time for | one | two |"
    assert table.splitlines()[2] == "| polls | 2.0 | 4.0 |"
    assert "| **together** | **3.0** | **4.0** |" in table
    assert "| system calls: others | 1.50 | 1.50 |" in table
