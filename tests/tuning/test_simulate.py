"""`weir simulate` at a terminal; tests/e2e/test_simulate.py has it as typed."""

from __future__ import annotations

import gc

import pytest

from proxy.tuning import simulate as module
from proxy.tuning.simulate import Wanted, simulate


@pytest.fixture
def wanted(tmp_path):
    config, log = tmp_path / "weir.yaml", tmp_path / "access.log"
    config.write_text('upstream: {servers: ["http://a"]}\nlimits: [{name: a, key: [client-ip], rate: 1/s}]\n')
    log.write_text("time,client,path\n1767225600,192.0.2.1,/\n")
    return Wanted(str(config), [str(log)])


def test_terminal_gets_its_width_and_colours(wanted, capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    code = simulate(wanted)

    assert code == 0
    assert "\x1b[" in capsys.readouterr().out


def test_interrupt_ends_it_without_a_word(wanted, capsys, monkeypatch):
    """And leaves the collector of garbage at work."""

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "reported", interrupted)
    code = simulate(wanted)
    shown = capsys.readouterr()

    assert code == module.EXIT_INTERRUPTED
    assert (shown.out, shown.err.strip()) == ("", "")
    assert gc.isenabled()
