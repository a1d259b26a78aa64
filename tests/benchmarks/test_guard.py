"""The guard over what an exchange costs: what it counts, and what it makes of that."""

import json

import pytest

from benchmarks import guard
from benchmarks.counted import KINDS, REFERENCE

KEPT = dict.fromkeys(KINDS, 5.0) | {REFERENCE: 40_000}
SOURCE = json.loads(guard.FIGURES.read_text())["Python 3.11, source"]
PLAIN, REFUSED = "GET, repeated", "GET, refused"


@pytest.mark.parametrize(("figure", "is_dearer"), [(5.3, True), (5.25, True), (5.19, False), (4.0, False)])
def test_five_percent_more_are_seen(figure, is_dearer):
    found = KEPT | {PLAIN: figure}

    assert guard.dearer(found, KEPT) == [PLAIN] * is_dearer


def test_what_is_much_cheaper_is_told():
    """Else it could become dear again unseen."""
    lines = guard.table(KEPT | {PLAIN: 4.5, REFUSED: 6.0}, KEPT).splitlines()

    assert [line.split("%")[1].strip() for line in lines[1:]] == [
        {PLAIN: "cheaper: --accept keeps that", REFUSED: "DEARER"}.get(kind, "") for kind in KINDS
    ]


def test_every_kind_of_exchange_has_a_figure():
    for figures in json.loads(guard.FIGURES.read_text()).values():
        assert set(figures) == {*KINDS, REFERENCE}


@pytest.mark.timeout(400)
def test_callgrind_sees_a_burden_of_six_percent():
    """Both are counted in one process: what it has allocated where moves the counts of two."""
    name = guard.burdened(PLAIN, 0.06 * SOURCE[PLAIN])
    figures = guard.counted([PLAIN, name])
    calm, burdened = ({PLAIN: figures[each]} for each in (PLAIN, name))

    assert burdened[PLAIN] / calm[PLAIN] == pytest.approx(1.06, abs=0.01)
    assert guard.dearer(burdened, calm) == [PLAIN]
