"""A table that forgets: not too early, and never more than it may hold."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.limiter.generations import Generations

SECOND = 1_000_000


def test_entry_outlives_its_time() -> None:
    """And is gone after twice that."""
    table = Generations(2.0, 100)
    table.sweep(0)
    table.put(b"a", 7)
    seen = []
    for second in range(1, 6):
        table.sweep(second * SECOND)
        seen.append(table.get(b"a"))

    assert seen == [7, 7, 7, 0, 0]


def test_full_table_drives_out_the_oldest() -> None:
    table = Generations(3600.0, 10)
    for number in range(100):
        table.put(b"%d" % number, number + 1)

    assert len(table) <= 10
    assert table.get(b"99") == 100
    assert table.get(b"0") == 0


def test_later_writing_counts() -> None:
    """Whichever generation the earlier one is in."""
    table = Generations(1.0, 100)
    table.put(b"a", 1)
    table.sweep(0)
    table.put(b"a", 2)

    assert table.get(b"a") == 2
    assert table.pop(b"a") == 2
    assert table.get(b"a") == 0


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(1, 9), st.booleans())))
def test_what_is_there_is_what_was_written_last(steps) -> None:
    table, written = Generations(1.0, 8), {}
    for now, (key, moment, sweeps) in enumerate(steps):
        if sweeps:
            table.sweep(now * SECOND // 2)
        table.put(b"%d" % key, moment)
        written[b"%d" % key] = moment

        assert len(table) <= 9
        assert all(written[key] == table.get(key) for part in table.parts() for key in part)
