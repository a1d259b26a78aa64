"""What `weir run` says and leaves when it cannot start, in process; tests/e2e/test_start.py has the rest."""

from __future__ import annotations

import errno
import gc
import os
import socket

import pytest

from proxy.runtime import run as module
from proxy.runtime.run import run
from proxy.telemetry import log
from tests.support.ports import free_port


def test_machine_that_has_no_room_for_processes_is_told_by_one_line(tmp_path, monkeypatch, caplog):
    """And the ports are free again."""
    port, admin = free_port(), free_port()
    path = tmp_path / "weir.yaml"
    path.write_text(
        f'listen: 127.0.0.1:{port}\nadmin: {{listen: "127.0.0.1:{admin}"}}\nworkers: 2\nlimits: []\n'
        'upstream: {servers: ["http://127.0.0.1:1"]}\n'
    )

    def no_room():
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")

    monkeypatch.setattr(os, "fork", no_room)
    monkeypatch.setattr(log, "configure", lambda *_: None)  # the log stays that of the tests
    monkeypatch.setattr(gc, "freeze", lambda: None)
    code = run(str(path))
    for each in (port, admin):
        with socket.create_server(("127.0.0.1", each), reuse_port=False):
            pass

    (record,) = caplog.records
    assert code == 1
    assert record.getMessage() == "cannot_start"
    assert record.fields["reason"] == "workers: cannot start 2 processes: Resource temporarily unavailable"


@pytest.mark.parametrize(("is_compiled", "told"), [(True, []), (False, ["source_build"])])
def test_only_who_runs_the_source_is_told_that_it_takes_more_time(is_compiled, told, monkeypatch, caplog):
    caplog.set_level("INFO", "weir")
    monkeypatch.setattr(module, "is_compiled", lambda: is_compiled)
    module._tell_build()

    assert caplog.messages == told
