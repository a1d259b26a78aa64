"""Statuses of workers as one."""

from __future__ import annotations

from proxy.runtime.statuses import merged


def test_numbers_add_up_in_depth():
    one = {"limits": {"a": {"refused": 1}}, "upstream": [{"server": "http://x", "active": 2}]}
    two = {"limits": {"a": {"refused": 4}}, "upstream": [{"server": "http://x", "active": 3}]}

    assert merged([one, two]) == {
        "limits": {"a": {"refused": 5}},
        "upstream": [{"server": "http://x", "active": 5}],
    }


def test_truth_is_the_truth_of_all():
    assert merged([{"up": True}, {"up": False}]) == {"up": False}
    assert merged([{"up": True}, {"up": True}]) == {"up": True}


def test_what_each_counts_of_the_whole_is_no_sum():
    assert merged([{"replicas": 4, "seconds": 0.5}, {"replicas": 4, "seconds": 0.25}]) == {
        "replicas": 4,
        "seconds": 0.5,
    }
    assert merged([{"proven": 3}, {"proven": 3}]) == {"proven": 3}


def test_error_of_one_is_seen():
    assert merged([{"error": None}, {"error": "refused"}]) == {"error": "refused"}


def test_what_one_lacks_comes_from_the_other():
    """In the midst of a reload, when a server or a limit is new."""
    assert merged([{"a": 1}, {"b": 2}]) == {"a": 1, "b": 2}
    assert merged([{"servers": [1]}, {"servers": [1, 2]}]) == {"servers": [1]}


def test_nobody_says_nothing():
    assert merged([]) == {}
