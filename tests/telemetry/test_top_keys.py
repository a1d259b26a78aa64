from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.sights import Sights, merged
from proxy.telemetry.top_keys import KEYS_KEPT, KEYS_LEAST, NEAR, OVER, WINDOW_SECONDS, Sketch, TopKeys
from tests.telemetry.exchanges import limit, verdict

PER_USER = limit()


def key(number):
    return number.to_bytes(16, "big")


def meets(top, number, now, *, is_admitted=False, spent=None, of=PER_USER):
    """One exchange of one key."""
    found = verdict(of, is_admitted=is_admitted, key=key(number))
    if spent is not None:
        found.debt = int(of.terms.burst_units * spent)
    top.saw([found], now)


def shown(top, now, state, limits=(PER_USER,)):
    return {each.key: each for seen in top.seen(limits, now) if seen.state == state for each in seen.keys}


@given(st.lists(st.integers(0, 60), max_size=600), st.integers(1, 8))
def test_count_is_never_too_much_and_too_little_by_at_most_what_was_lost(keys, kept):
    """For the keys that are shown and for those that are not; and what was lost is a small part of all."""
    sketch = Sketch(kept)
    for number in keys:
        sketch.saw(key(number), 1.0, 100.0)
    found = {name: sighting.count for name, sighting in sketch.sightings().items()}

    for number, true in Counter(keys).items():
        told = found.get(key(number), 0)
        assert told <= true <= told + sketch.lost
    assert sketch.lost <= len(keys) / kept
    assert len(found) <= 2 * kept


def test_heavy_keys_stand_out_of_ten_thousand_others():
    """Whoever makes more than one in sixty-four of the refusals is there, whatever strangers invent."""
    top = TopKeys()
    for round_ in range(10_000):
        meets(top, 1000 + round_, 100.0 + round_ / 1000)
        if round_ % 10 == 0:
            meets(top, 1, 100.0 + round_ / 1000)
    (seen,) = top.seen([PER_USER], 110.0)

    assert seen.keys[0].key == key(1).hex()
    assert 1000 - seen.lost <= seen.keys[0].count <= 1000
    assert seen.lost <= 11_000 / KEYS_KEPT
    assert len(top._over["per-user"]) <= 2 * KEYS_KEPT


def test_tells_since_when_and_how_much_of_the_burst():
    """The tokens that came back since then are counted."""
    top = TopKeys()
    meets(top, 7, 100.0)
    meets(top, 7, 120.0)
    found = shown(top, 120.5, OVER)[key(7).hex()]

    assert (found.count, found.since, found.last) == (2, 20.5, 0.5)
    assert found.spent == pytest.approx(0.5)  # a burst of 15 at 15 a second is full again after one


def test_stretch_goes_on_over_windows_and_ends_with_a_pause():
    top = TopKeys()
    for moment in range(100, 200, 10):
        meets(top, 7, float(moment))
    long = shown(top, 190.0, OVER)[key(7).hex()]
    meets(top, 7, 190.0 + 3 * WINDOW_SECONDS)
    anew = shown(top, 190.0 + 3 * WINDOW_SECONDS, OVER)[key(7).hex()]

    assert long.since == 90.0
    assert (anew.since, anew.count) == (0.0, 1)


def test_forgets_after_two_windows():
    top = TopKeys()
    meets(top, 7, 100.0)

    assert shown(top, 100.0 + WINDOW_SECONDS, OVER)
    assert not shown(top, 100.0 + 2 * WINDOW_SECONDS, OVER)
    assert top.counts(100.0 + 2 * WINDOW_SECONDS) == {("per-user", OVER): 0}


def test_four_fifths_are_near_and_less_is_nothing():
    top = TopKeys()
    meets(top, 1, 100.0, is_admitted=True, spent=0.79)
    meets(top, 2, 100.0, is_admitted=True, spent=0.8)

    assert set(shown(top, 100.0, NEAR)) == {key(2).hex()}
    assert top.counts(100.0) == {("per-user", NEAR): 1}


def test_who_is_over_is_not_shown_as_near():
    top = TopKeys()
    meets(top, 1, 100.0, is_admitted=True, spent=1.0)
    meets(top, 1, 100.1)

    assert not shown(top, 100.1, NEAR)
    assert set(shown(top, 100.1, OVER)) == {key(1).hex()}


def test_reload_keeps_what_is_known_and_forgets_limits_that_are_gone():
    """A limit of the same name is another object."""
    top = TopKeys()
    other = limit("other")
    meets(top, 1, 100.0)
    meets(top, 2, 100.0, of=other)
    top.configure(["per-user"])
    meets(top, 1, 101.0, of=limit())

    assert shown(top, 101.0, OVER)[key(1).hex()].count == 2
    assert top.counts(101.0) == {("per-user", OVER): 1}


def test_five_hundred_limits_share_the_memory():
    top = TopKeys()
    names = [f"limit-{number}" for number in range(500)]
    top.configure(names)
    made = limit("limit-3")
    for number in range(1000):
        meets(top, number, 100.0, of=made)

    assert len(top._over["limit-3"]) <= 2 * KEYS_LEAST


def test_same_key_in_several_workers_is_one():
    """Counts and what may be missing add up; who is over in one is not near in another."""
    workers = []
    for is_admitted in (False, False, True):
        top = TopKeys()
        meets(top, 7, 100.0, is_admitted=is_admitted, spent=1.0)
        workers.append(Sights(100.0, top.seen([PER_USER], 100.0), []))
    whole = merged(workers)

    assert [(seen.state, [(each.key, each.count) for each in seen.keys]) for seen in whole.keys] == [
        (OVER, [(key(7).hex(), 2)])
    ]
