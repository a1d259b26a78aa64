"""Two choices by weight: who is drawn, and who is less loaded."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.policy.balancer import Balancer

WEIGHTS = st.lists(st.floats(0.01, 1000), min_size=1, max_size=8)
DRAWS = st.floats(0, 1, exclude_max=True)


@dataclass(eq=False)
class Server:
    weight: float
    load: int = 0


def balancer_of(servers, draw):
    balancer = Balancer(draw)
    balancer.use((server, server.weight) for server in servers)
    return balancer


@given(WEIGHTS, st.lists(DRAWS, min_size=1))
def test_choice_is_one_of_them(weights, draws):
    """Whatever is drawn, the ends of the line included."""
    servers = [Server(weight) for weight in weights]
    draw = iter(draws * 10).__next__
    balancer = balancer_of(servers, draw)
    assert balancer.choose() in servers


@given(st.integers(2, 6), st.integers(0, 2**32))
def test_the_least_loaded_of_two_servers_is_always_chosen(most, seed):
    """With two there is nothing to draw."""
    idle, busy = Server(1, most - 1), Server(1, most)
    balancer = balancer_of([busy, idle], Random(seed).random)
    assert {balancer.choose() for _ in range(20)} == {idle}


@pytest.mark.parametrize("weights", [(1, 1), (3, 1), (1, 2, 5), (1, 1, 1, 1), (9, 1)])
def test_servers_at_rest_get_their_share(weights):
    """In proportion to their weights."""
    servers = [Server(weight) for weight in weights]
    balancer = balancer_of(servers, Random(7).random)
    times = 20_000
    drawn = Counter(balancer.choose() for _ in range(times))
    for server in servers:
        assert drawn[server] / times == pytest.approx(server.weight / sum(weights), abs=0.015)


@pytest.mark.parametrize("weights", [(1, 1, 1), (4, 1), (1, 2, 5)])
def test_busy_servers_are_loaded_in_proportion(weights):
    """Requests that do not end fill each server as far as its weight says."""
    servers = [Server(weight) for weight in weights]
    balancer = balancer_of(servers, Random(7).random)
    for _ in range(800):
        balancer.choose().load += 1
    for server in servers:
        assert server.load / 800 == pytest.approx(server.weight / sum(weights), abs=0.05)


def test_servers_can_change():
    """What is in use is what was said last."""
    one, other = Server(1), Server(1)
    balancer = balancer_of([one], Random(1).random)
    assert balancer.choose() is one
    balancer.use([(other, 1.0)])
    assert balancer.choose() is other
