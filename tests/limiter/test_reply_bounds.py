"""How much may be said: what Redis replies is let through, however it is cut; what promises too much is not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.limiter.reply_bounds import PROMISED_MAX, REPLY_BYTES, Bounds

NUMBERS = b"*514\r\n" + b":9007199254740992\r\n" * 514
NOTES = (
    b"*5\r\n:1\r\n:1\r\n:1795000000000000\r\n:1795000000000000\r\n*500\r\n"
    + (b"$81\r\n" + b"x" * 81 + b"\r\n") * 500
)

HUGE = {
    "a list": b"*2000000000\r\n",
    "a list that is just too long": b"*%d\r\n" % (PROMISED_MAX + 1000),
    "a map": b"%2000000000\r\n",
    "a set": b"~2000000000\r\n",
    "a push": b">2000000000\r\n",
    "attributes": b"|2000000000\r\n",
    "a list in a list": b"*2\r\n:1\r\n*2000000000\r\n",
    "a list behind a reply": b"+OK\r\n*2000000000\r\n",
    "lists within lists": b"*99999\r\n" * 1000,
    "a number without an end": b"*" + b"9" * 40,
}


@pytest.mark.parametrize("reply", [NUMBERS, NOTES, b"*0\r\n", b"+OK\r\n", b"-ERR no\r\n", b"$-1\r\n"])
@pytest.mark.parametrize("step", [1, 7, 4096, 10**6])
def test_reply_of_redis_is_within_bounds(reply: bytes, step: int) -> None:
    bounds = Bounds()

    assert not any(bounds.are_broken(reply[at : at + step]) for at in range(0, len(reply), step))


@pytest.mark.parametrize("kind", HUGE)
@pytest.mark.parametrize("step", [1, 2, 3, 5, 10**6])
def test_promise_that_is_too_large_is_seen_however_it_is_cut(kind: str, step: int) -> None:
    reply, bounds = HUGE[kind], Bounds()

    assert any(bounds.are_broken(reply[at : at + step]) for at in range(0, len(reply), step))


def test_reply_without_an_end_is_cut_off() -> None:
    bounds, pieces = Bounds(), 0
    while not bounds.are_broken(b"x" * 65536):
        pieces += 1

    assert pieces == REPLY_BYTES // 65536


def test_whole_replies_do_not_add_up() -> None:
    """Of three times the bytes and the promises that one may have."""
    bounds = Bounds()
    for _ in range(3 * PROMISED_MAX // 500):
        assert not bounds.are_broken(NOTES)
        bounds.replied()


def test_header_that_a_plain_piece_began_is_seen() -> None:
    bounds = Bounds()
    first = b"*3\r\n:1\r\n:-2\r\n:3\r\n*200"
    bounds.began(first)

    assert bounds.are_broken(b"0000\r\n")


@given(st.lists(st.sampled_from([*b"*%~>|$:+-0123456789\r\nx"]), max_size=60).map(bytes), st.integers(1, 8))
def test_whatever_comes_is_judged_without_a_fall(data: bytes, step: int) -> None:
    bounds = Bounds()
    for at in range(0, len(data), step):
        bounds.are_broken(data[at : at + step])
