from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.members import VALUE_CHARS, kept_members


def kept(value: object) -> Mapping[str, object]:
    return kept_members(json.dumps({"errorCode": value, "other": "x"}).encode(), ("errorCode",))


@pytest.mark.parametrize("value", ["E-17", "", "a" * VALUE_CHARS, 17, -1, 0.5, True, None])
def test_plain_short_values_stay(value):
    """Only the members that are named, with the values they had."""
    assert kept(value) == {"errorCode": value}


@pytest.mark.parametrize(
    "value",
    [
        "a" * (VALUE_CHARS + 1),
        ["E-17"],
        {"code": 1},
        2**64,
        float("inf"),
        float("nan"),
        "password=hunter2",
        "postgres://app:hunter2@db/x",
        "Bearer hunter2hunter2",
        "line\nline",
        "\ud800",
    ],
)
def test_anything_else_goes(value):
    """Long, nested, not finite, several lines, or holding a secret."""
    assert kept(value) == {}


def test_a_member_with_the_name_of_a_secret_goes():
    """Even if the config asks for it."""
    assert kept_members(b'{"token": "hunter2"}', ("token",)) == {}


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"[1]", b'"errorCode"', b"{", b'{"errorCode": 1', b"\xff", b"[" * 16_000, b"9" * 16_000],
)
def test_a_body_that_is_no_object_has_none(data):
    """Broken, nested without end, or of another kind."""
    assert kept_members(data, ("errorCode",)) == {}


@given(st.binary(max_size=60), st.lists(st.text(max_size=5), max_size=3))
def test_never_raises(data, names):
    """Whatever the body is."""
    assert set(kept_members(data, names)) <= set(names)
