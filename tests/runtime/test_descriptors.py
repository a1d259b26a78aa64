"""How many clients there is room for, by the limits of the process; tests/e2e/test_descriptors.py has real ones."""

from __future__ import annotations

import resource

import pytest

from proxy.runtime.descriptors import RESERVE, clients_within, room_for


@pytest.fixture
def limits(monkeypatch):
    """Says what the soft and the hard limit are, and whether the kernel lets them be raised."""
    raised = []

    def have(soft, hard, *, is_refused=False):
        def raise_to(_, wanted):
            if is_refused:
                raise ValueError("not allowed to raise maximum limit")
            raised.append(wanted)

        monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
        monkeypatch.setattr(resource, "setrlimit", raise_to)
        return raised

    return have


def test_limit_is_raised_as_far_as_the_clients_need(limits):
    raised = limits(1024, 10**6)

    assert room_for(10_000) == 10_000
    assert raised == [(15_000 + RESERVE, 10**6)]


def test_limit_that_the_kernel_does_not_raise_bounds_the_clients(limits, caplog):
    """As fs.nr_open does where the hard limit is infinite."""
    limits(1024, resource.RLIM_INFINITY, is_refused=True)

    assert room_for(10_000) == clients_within(1024)
    assert caplog.messages == ["few_descriptors"]
