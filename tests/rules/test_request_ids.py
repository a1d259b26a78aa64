"""Ids that are made here: random, of one form, and never the same twice."""

import re
import subprocess
import sys

import pytest

from proxy.rules import request_ids
from proxy.rules.request_ids import DRAWN_AT_ONCE, given_id, has_trace, new_request_id


@pytest.mark.parametrize(
    ("given", "kept"),
    [(b"order-17", "order-17"), (b"a b", None), (b"x" * 129, None), (b"", None), (None, None)],
)
def test_decent_id_of_a_client_is_kept(given, kept):
    """Safe in a log, a header and a URL, and short."""
    assert given_id({} if given is None else {b"x-request-id": given}) == kept


@pytest.mark.parametrize(
    ("given", "answer"),
    [(b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", True), (b"nonsense", False), (None, False)],
)
def test_trace_of_a_client_is_a_valid_one(given, answer):
    assert has_trace({} if given is None else {b"traceparent": given}) is answer


def test_ids_are_trace_ids_and_never_come_twice():
    ids = [new_request_id() for _ in range(10 * DRAWN_AT_ONCE)]

    assert all(re.fullmatch("[0-9a-f]{32}", each) for each in ids)
    assert len(set(ids)) == len(ids)
    assert len({each[:4] for each in ids}) > DRAWN_AT_ONCE  # no counter


def test_half_of_zeros_is_no_id(monkeypatch):
    """Neither a trace id nor a span id may be all zeros (W3C Trace Context)."""
    drawn = bytes(24) + b"\x01" * 8 + b"\x02" * 16 + b"\x03" * 8 + bytes(8)
    monkeypatch.setattr(request_ids, "urandom", lambda _: drawn)
    request_ids.drawn.clear()

    assert new_request_id() == "02" * 16
    assert request_ids.drawn == []


FORKS = """
import os
from proxy.rules.request_ids import new_request_id
new_request_id()  # many are drawn
if os.fork():
    os.wait()
print(new_request_id())
"""


def test_forked_workers_do_not_share_what_was_drawn():
    """In an interpreter of its own: this one has threads."""
    done = subprocess.run(
        [sys.executable, "-c", FORKS], capture_output=True, text=True, check=True, timeout=30
    )
    ids = done.stdout.split()

    assert len(ids) == len(set(ids)) == 2
