"""What a server replies is judged before it is believed: by every call of ours, whatever it is that comes."""

from __future__ import annotations

import ssl
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import AuthenticationError, NoPermissionError

from proxy.limiter import keeping, override_notes, settling
from proxy.limiter.discovery import SLOTS, _primaries
from proxy.limiter.records import UNITS_MAX
from proxy.limiter.replies import are_numbers, blobs, numbers, server_time
from proxy.limiter.trouble import TroubleError
from proxy.limiter.unreachable import UncertifiedError, connect_trouble

SERVER = "redis.test:6379"
LINK: Any = SimpleNamespace(name=SERVER)
SEED = ("redis.test", 6379)
PRIMARY = [b"10.0.0.1", 7000, b"id"]


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        ([1, 2, 3], True),
        ([UNITS_MAX, -UNITS_MAX, 0], True),
        ([1, 2], False),
        ([1, b"2", 3], False),
        ([1, [2], 3], False),
        ([1.5, 2.5, 3.5], False),
        ([1, 2.5, 3], False),
        ([1, float("nan"), 3], False),
        ([3, float("nan"), UNITS_MAX + 1], False),
        ([1, float("inf"), 3], False),
        ([UNITS_MAX + 1, 0, 0], False),
        ([None, 1, 2], False),
    ],
)
def test_three_numbers_are_three_whole_numbers_in_bounds(reply: list[Any], answer: bool) -> None:
    """A script cannot count beyond."""
    assert are_numbers(reply, 3) is answer


JUNK = [None, b"OK", 7, [], {}, [b"x"], [1, 2, 3, 4, 5, 6, 7], [[], [], [], [], []], [None] * 5, ["a", "b"]]
JUDGES = {
    "numbers": lambda reply: numbers(reply, 2, SERVER),
    "the time": lambda reply: server_time(reply, SERVER),
    "the slots of a cluster": lambda reply: _primaries(reply, SEED),
    "overrides": lambda reply: override_notes._understood(reply, SERVER, 0),
    "buckets that are settled": lambda reply: settling._judge(reply, LINK),
}


@pytest.mark.parametrize("junk", JUNK, ids=repr)
@pytest.mark.parametrize("judge", JUDGES)
def test_junk_is_trouble_that_names_the_server(judge: str, junk: Any) -> None:
    with pytest.raises(TroubleError, match=SERVER.replace(".", r"\.")):
        JUDGES[judge](junk)


@pytest.mark.parametrize("junk", [None, {}, 7, [1], [b"x", None]], ids=repr)
def test_list_of_texts_is_nothing_else(junk: Any) -> None:
    with pytest.raises(TroubleError):
        blobs(junk, SERVER)

    assert blobs([b"x", b""], SERVER) == [b"x", b""]


@pytest.mark.parametrize(
    "judge",
    [settling._judge, lambda reply, link: keeping._judge(reply, link, 1)],
    ids=["settled", "told"],
)
def test_server_that_came_too_late_or_refuses_says_so(judge: Any) -> None:
    """A script that comes behind its deadline answers with the time alone."""
    with pytest.raises(TroubleError) as late:
        judge([1_795_000_000_000_000], LINK)
    with pytest.raises(TroubleError) as refused:
        judge(Exception("NOPERM this user has no permissions"), LINK)

    assert late.value.reason == "timeout"
    assert refused.value.reason == "permission"


@pytest.mark.parametrize(
    "ranges",
    [
        [[0, 16383, PRIMARY[:1]]],
        [[0, 16383, None]],
        [[b"0", 16383, PRIMARY]],
        [[0, 16383, [b"h" * 300, 7000]]],
        [[0, 16383, [b"\xff", 7000]]],
        [[0, 16383, [b"h", 0]]],
        [[0, 16383, [b"h", None]]],
        [[0, SLOTS[0] - 1, PRIMARY]],
    ],
    ids=repr,
)
def test_slots_that_lead_nowhere_are_no_cluster(ranges: Any) -> None:
    with pytest.raises(TroubleError):
        _primaries(ranges, SEED)


def test_node_that_does_not_know_its_name_is_the_one_that_was_asked() -> None:
    assert set(_primaries([[0, 16383, [b"", 7000]]], SEED)) == {("redis.test", 7000)}


def tls_error() -> ssl.SSLError:
    """As the library makes it."""
    with pytest.raises(ssl.SSLError) as caught:
        ssl.create_default_context().load_verify_locations(cadata="junk")
    return caught.value


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "connection"),
        (TimeoutError(), "timeout"),
        (tls_error(), "tls"),
        (UncertifiedError(), "connection"),
        (NoPermissionError("no"), "permission"),
        (AuthenticationError("Authentication required."), "auth"),
        (AuthenticationError("invalid password"), "auth"),
        (Exception("max number of clients reached"), "max_clients"),
    ],
)
def test_connection_that_cannot_be_had_has_its_reason(error: Exception, reason: str) -> None:
    trouble = connect_trouble(error, SERVER)

    assert trouble.reason == reason
    assert SERVER in str(trouble)
    assert "store.url" in str(trouble)
