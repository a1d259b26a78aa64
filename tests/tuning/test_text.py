"""What a simulation's report says to people, in logs and configs of every kind."""

from __future__ import annotations

import gzip
from io import StringIO

import pytest
from rich.console import Console

from proxy.config.loader import examine
from proxy.tuning.logs import Log
from proxy.tuning.report import reported
from proxy.tuning.simulation import Simulation
from proxy.tuning.text import tell

BEGIN = 1_767_225_600
PER_USER = "name: per-user, key: [header:X-Auth-Token, client-ip], rate: 2/s"


def told(tmp_path, data, *limits):
    """The report's text, with one config for each of these limits."""
    path = tmp_path / "access.log"
    path.write_bytes(data)
    configs = []
    for number, limit in enumerate(limits):
        config = tmp_path / f"weir{number}.yaml"
        config.write_text(f"upstream: {{servers: [http://a]}}\nlimits: [{limit}]\n")
        configs.append(examine(config, needs_secrets=False))
    simulation = Simulation(configs, [Log(str(path))], "token")
    try:
        simulation.run(lambda: None)
        reports = reported(simulation, lambda: None)
    finally:
        simulation.close()
    out = StringIO()
    tell(reports, Console(file=out, highlight=False, width=120))
    return out.getvalue()


def log(*requests, status=200):
    """A CSV of pairs: seconds after the first moment, and the credential."""
    rows = ["time,client,method,path,status,token"]
    rows += [f"{BEGIN + at:.3f},192.0.2.1,GET,/,{status},{token}" for at, token in requests]
    return ("\n".join(rows) + "\n").encode()


def test_log_without_a_request_is_told_as_such(tmp_path):
    text = told(tmp_path, b"", f"{{{PER_USER}}}")

    assert text.startswith("No request in 1 log.\n")
    assert "per-user  2/s, burst 2\n    met no request\n" in text


def test_config_without_a_limit_is_told_as_such(tmp_path):
    assert "weir0.yaml\n  has no limit\n" in told(tmp_path, log((0, "ann")), "")


def test_limit_of_one_config_alone_has_nothing_to_compare_with(tmp_path):
    text = told(tmp_path, log(*[(0, "ann")] * 5), f"{{{PER_USER}}}", "")

    assert text.splitlines()[-1].split() == ["per-user", "3", "-"]


@pytest.mark.parametrize(
    ("end", "said"),
    [(slice(0, -4), "is cut"), (slice(None), "has junk behind its end")],
    ids=["cut", "junk"],
)
def test_log_that_is_broken_is_named_with_what_ails_it(tmp_path, end, said):
    """What stands before counts."""
    data = gzip.compress(log(*[(0, "ann")] * 3), mtime=0)[end] + (b"junk" if end == slice(None) else b"")
    text = told(tmp_path, data, f"{{{PER_USER}}}")

    assert f"{tmp_path}/access.log {said}\n" in text
    assert "refuses 1 of 3 requests" in text


@pytest.mark.parametrize(("count", "said"), [(3, "1 of them was"), (4, "2 of them were")])
def test_those_refused_as_new_are_told_apart(tmp_path, count, said):
    """The service knows none of these credentials: as many as `unproven` allows pass."""
    requests = [(0, f"user{number}") for number in range(count)]
    text = told(tmp_path, log(*requests, status=401), f"{{{PER_USER}, unproven: {{rate: 2/s}}}}")

    assert f"    {said} refused as new (unproven)\n" in text


def test_those_who_wait_are_told(tmp_path):
    text = told(tmp_path, log(*[(0, "ann")] * 5), f"{{{PER_USER}, max_wait: 1s}}")

    assert "refuses 1 of 5 requests" in text
    assert "    lets 2 wait\n" in text


def test_what_refuses_one_in_a_thousand_is_told_where_it_is_less(tmp_path):
    """Two at once, a thousand times, and three at once a single time."""
    requests = [(second, "ann") for second in range(600) for _ in range(2)]
    text = told(tmp_path, log(*requests, (600, "ann"), (600, "ann"), (600, "ann")), f"{{{PER_USER}}}")

    assert (
        "nobody would be refused from 2/s with a burst of 3 on, one request in a thousand from 2/s with 2\n"
        in text
    )


def test_limit_in_shadow_refuses_nobody_yet(tmp_path):
    text = told(tmp_path, log(*[(0, "ann")] * 3), f"{{{PER_USER}, mode: shadow}}")

    assert "per-user  2/s, burst 2 in shadow\n    would have refused 1 of 3 requests" in text


def test_long_log_is_counted_whole(tmp_path):
    """What is remembered of arrivals is put away now and then."""
    text = told(tmp_path, log(*[(at / 10, "ann") for at in range(17_000)]), f"{{{PER_USER}}}")

    assert "of 17,000 requests" in text


def test_preflights_that_a_log_does_not_tell_are_mentioned(tmp_path):
    """They cost nothing at the gateway, and are charged here."""
    asked = log((0, "ann")).replace(b",GET,", b",OPTIONS,")
    limits = f"{{{PER_USER}}}]\ncors: {{origins: ['https://app.example']}}\nplans: ["
    text = " ".join(told(tmp_path, asked, limits).split())

    assert "cors.origins:" in text
    assert "does not tell which requests are preflights: all are charged" in text
