"""Redis's clock as seen from here."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from proxy.limiter.clock import ServerClock

UNIX_US = 1_795_000_000_000_000


def test_first_reply_tells_the_time() -> None:
    clock = ServerClock()
    clock.learn(1000, 1200, UNIX_US + 1100)

    assert UNIX_US + 4900 <= clock.server_us(5000) <= UNIX_US + 5100


def test_step_of_the_servers_clock_is_followed_at_the_next_reply() -> None:
    """NTP sets it back by a minute."""
    clock = ServerClock()
    clock.learn(1000, 1200, UNIX_US)
    clock.learn(2000, 2200, UNIX_US - 60_000_000)

    assert abs(clock.server_us(2200) - (UNIX_US - 60_000_000)) <= 200


@given(
    st.integers(-(10**15), 10**15),
    st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 50_000), st.integers(0, 50_000)), min_size=1),
)
def test_error_is_below_the_shortest_round_trip(offset, replies) -> None:
    """Whatever the others took, and on whichever way the time went by."""
    clock, now, shortest = ServerClock(), 10**9, 10**9
    for pause, there, back in replies:
        sent = now = now + pause
        received = now = sent + there + back
        clock.learn(sent, received, sent + there + offset)
        shortest = min(shortest, there + back)

        assert abs(clock.server_us(now) - (now + offset)) <= shortest
