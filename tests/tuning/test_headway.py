"""How far a simulation is, where that cannot be known."""

from __future__ import annotations

from proxy.tuning.headway import Headway
from proxy.tuning.logs import Log


def test_log_of_no_size_is_counted_by_its_lines():
    """A pipe, or standard input: there is no share of it to show."""
    log = Log("/dev/null")
    with Headway([log], 1) as headway:
        assert list(log.pieces()) == []
        log.lines = 7
        headway.read()
        (task,) = headway._bar.tasks

    assert task.fields["lines"] == 7
    assert task.total is None
