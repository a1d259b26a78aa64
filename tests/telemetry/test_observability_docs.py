"""docs/observability.md is held to the code: it names what there is, all of it, and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from proxy.admin.app import admin_app
from proxy.admin.buckets import KeyVerbs
from proxy.admin.page import is_page
from proxy.admin.sources import AdminSources
from proxy.config.sections.front import AdminSettings
from proxy.telemetry.families import FAMILIES, SPREADS
from proxy.telemetry.line import AccessLine
from proxy.telemetry.metrics import DECISIONS, Metrics
from proxy.telemetry.reading import reading
from tests.telemetry.test_exposition import LABELS

PAGE = Path(__file__).parents[2] / "docs" / "observability.md"


@pytest.fixture(scope="module")
def tables():
    """By heading, the rows of the section's first table: cells without their backquotes."""
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]
    return {section.partition("\n")[0]: list(rows(section)) for section in sections}


def rows(section):
    lines = iter(section.splitlines())
    for line in lines:
        if line.startswith("|---"):
            break
    for line in lines:
        if not line.startswith("|"):
            return
        yield [cell.strip() for cell in line.strip("|").split("|")]


def quoted(cell):
    return re.findall(r"`([^`]+)`", cell)


def test_names_every_metric_with_its_labels_and_type(tables):
    """What dashboards are built from."""
    types = {family.name: "gauge" if family.kind == "info" else family.kind for family in FAMILIES}
    types |= {spread.name: "histogram" for spread in SPREADS}

    described = {quoted(name)[0]: (kind, set(quoted(labels))) for name, kind, labels, _ in tables["Metrics"]}
    assert described == {name: (kind, LABELS[name]) for name, kind in types.items()}


def test_explains_every_metric_and_every_decision(tables):
    """Each with a sentence, each word of a decision with its meaning."""
    meanings = {quoted(name)[0]: meaning for name, _, _, meaning in tables["Metrics"]}

    assert all(len(meaning.split()) >= 2 for meaning in meanings.values())
    assert set(DECISIONS) <= set(quoted(meanings["weir_limit_decisions_total"]))


def test_names_every_field_of_the_access_log(tables):
    """In the order of the line; those that are always there are marked."""
    required = set(AccessLine.__struct_fields__[: -len(AccessLine.__struct_defaults__)])

    described = [(quoted(field)[0], field.endswith("*")) for field, _ in tables["Access log"]]
    assert described == [(name, name in required) for name in AccessLine.__struct_fields__]


class Applier:
    verbs = KeyVerbs.verbs


def test_names_every_path_of_the_admin_plane(tables):
    """No path that nobody knows of."""
    app = admin_app(
        AdminSources(
            lambda: reading(Metrics()),
            readiness=lambda: (True, {}),
            status=dict,
            settings=AdminSettings,
            keys=Applier(),
        )
    )
    page = {resource.canonical for resource in app.router.resources() if is_page(resource.canonical)}

    assert {
        path.removeprefix("POST ").replace("NAME", "{name}")
        for paths, _ in tables["Admin plane"]
        for path in quoted(paths)
    } == {resource.canonical for resource in app.router.resources()} - page | {"/"}
