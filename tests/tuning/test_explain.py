"""`weir explain` at a terminal; tests/e2e/test_explain.py has it as typed."""

from __future__ import annotations

import pytest

from proxy.tuning.explain import Arguments, explain

CONFIG = """\
upstream: {servers: ["http://127.0.0.1:9000"]}
limits: [{name: per-user, key: [client-ip], rate: 15/s}, {name: slow, key: [client-ip], rate: 1/s, max_wait: 2s}]
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "weir.yaml"
    path.write_text(CONFIG)
    return str(path)


def test_limit_that_lets_requests_wait_says_how_long(config, capsys):
    code = explain(Arguments(config, "GET", "/a"))
    shown = capsys.readouterr().out

    assert code == 0
    assert "waits" in shown
    assert [line.split()[-1] for line in shown.splitlines() if line.startswith(("per-user", "slow"))] == [
        "0s",
        "2s",
    ]


def test_terminal_gets_its_width_and_colours(config, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    explain(Arguments(config, "GET", "/a"))

    assert "\x1b[" in capsys.readouterr().out
