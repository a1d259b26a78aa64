"""The board and the alerts: what they ask for is there, what they say is explained, and each alert can fire."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib

import pytest
import yaml
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from proxy.telemetry.families import ALL, FAMILIES, SPREADS
from tests.deploy.conftest import ROOT
from tests.support.programs import program

RULES = ROOT / "deploy" / "prometheus" / "weir.rules.yml"
RULE_TESTS = ROOT / "deploy" / "prometheus" / "weir.rules.test.yml"
BOARD = ROOT / "deploy" / "grafana" / "weir.json"

RECORDED = [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]
ALERTS = {rule["alert"]: rule for rule in RECORDED if "alert" in rule}
FROM_PROMETHEUS = {"job", "instance", "le"}  # labels that a scrape adds, and that of a bucket
BY_RULES = {"alertname", "alertstate"}


def expressions(node):
    """Every query of the board."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name in ("expr", "query") and isinstance(value, str) and "weir" in value:
                yield value
            yield from expressions(value)
    elif isinstance(node, list):
        for value in node:
            yield from expressions(value)


def samples():
    """The names that a scrape has, with their labels."""
    found = {family.name: set(family.labels) for family in ALL.values()}
    for spread in SPREADS:
        for ending in ("_bucket", "_count", "_sum"):
            found[spread.name + ending] = {"le"} if ending == "_bucket" else set()
    return found


QUERIES = [
    *(rule["expr"] for rule in RECORDED),
    *expressions(json.loads(BOARD.read_text())),
    *re.findall(r"Query: `([^`]+)`", (ROOT / "docs" / "operations.md").read_text()),
    *re.findall(r"^\| [^|]+\? \| `([^`]+)` \|$", (ROOT / "docs" / "observability.md").read_text(), re.M),
]


@pytest.mark.parametrize("query", QUERIES)
def test_every_metric_and_label_in_a_query_exists(query):
    """In the rules, on the board and in the docs: a name that is misspelt would be an empty panel."""
    known = samples()
    names = set(re.findall(r"(?<![:\w])(?:weir|process)_\w+(?!:)", query)) - {"weir_rates"}
    names = {name for name in names if f":{name}:" not in query}
    allowed = FROM_PROMETHEUS | BY_RULES | set().union(*(known[name] for name in names if name in known))
    if ":" in query:  # of recorded rules
        allowed |= {"limit", "source"}
    asked = set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)\s*\"", query))
    asked |= {
        label.strip()
        for listed in re.findall(r"(?:by|on|without|group_left) \(([^)]*)\)", query)
        for label in listed.split(",")
        if label.strip()
    }
    asked |= set(re.findall(r"label_values\([^()]*?,\s*(\w+)\)", query))

    assert names <= known.keys()
    assert asked <= allowed


def test_queries_were_found():
    assert len(QUERIES) > 60


@pytest.mark.parametrize("query", sorted({q for q in QUERIES if not q.startswith("label_values")}))
def test_every_query_is_promql(query, tmp_path):
    """Prometheus's own parser reads it; Grafana's variables are filled in."""
    filled = query.replace("$__rate_interval", "5m").replace("$job", ".*").replace("$instance", ".*")
    rules = {"groups": [{"name": "board", "rules": [{"record": "board:query", "expr": filled}]}]}
    path = tmp_path / "board.rules.yml"
    path.write_text(yaml.safe_dump(rules))
    done = subprocess.run([program("promtool"), "check", "rules", path], capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_family_is_on_the_board():
    """What is measured is looked at."""
    text = BOARD.read_text()
    shown = {name for name in [*(f.name for f in FAMILIES), *(s.name for s in SPREADS)] if name in text}

    assert shown == {family.name for family in FAMILIES} | {spread.name for spread in SPREADS}


def test_board_is_one_that_grafana_imports():
    """Its own model of a board, generated from its schema, knows every field and gives it back."""
    register_default_plugins()
    given = json.loads(BOARD.read_text())
    back = json.loads(JSONEncoder(sort_keys=True).encode(Dashboard.from_json(given)))

    assert not list(lost(given, back))


def lost(given, back, at="board"):
    """Places that the model did not understand."""
    if isinstance(given, dict):
        for name, value in given.items():
            if not isinstance(back, dict) or name not in back:
                yield f"{at}.{name}"
            else:
                yield from lost(value, back[name], f"{at}.{name}")
    elif isinstance(given, list):
        if not isinstance(back, list) or len(given) != len(back):
            yield at
        else:
            for index, (one, other) in enumerate(zip(given, back, strict=True)):
                yield from lost(one, other, f"{at}[{index}]")
    elif given != back:
        yield f"{at}: {given!r} is {back!r}"


def test_panels_of_the_board_do_not_overlap():
    """Grafana would push them apart, and the rows would come apart."""
    taken = set()
    for panel in json.loads(BOARD.read_text())["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells


def test_every_alert_fires_and_stays_silent():
    """promtool plays figures through the rules that are shipped."""
    done = subprocess.run(
        [program("promtool"), "test", "rules", RULE_TESTS.name],
        cwd=RULE_TESTS.parent,
        capture_output=True,
        text=True,
    )
    tested = {
        (case["alertname"], bool(case["exp_alerts"]))
        for test in yaml.safe_load(RULE_TESTS.read_text())["tests"]
        for case in test.get("alert_rule_test", [])
    }

    assert done.returncode == 0, done.stdout + done.stderr
    assert tested == {(name, fires) for name in ALERTS for fires in (True, False)}


@pytest.mark.parametrize("name", ALERTS)
def test_every_alert_has_its_section_in_the_runbook(name):
    """Where its link leads."""
    site = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]["Documentation"]
    headings = re.findall(r"^### (Weir\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.M)
    page, _, anchor = ALERTS[name]["annotations"]["runbook_url"].partition("#")

    assert page == f"{site}operations/"
    assert anchor in [heading.lower() for heading in headings]
    assert ALERTS[name]["labels"]["severity"] in ("info", "warning", "critical")


def test_every_section_of_the_runbook_has_its_alert():
    headings = re.findall(r"^### (Weir\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.M)
    anchors = {rule["annotations"]["runbook_url"].partition("#")[2] for rule in ALERTS.values()}

    assert {heading.lower() for heading in headings} == anchors
