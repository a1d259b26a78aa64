"""One clock for every deadline."""

from __future__ import annotations

import asyncio

from proxy.net.sweep import NEVER, Sweeper
from tests.support.patience import until


class Member:
    def __init__(self, deadline=NEVER, then=None) -> None:
        self.deadline = deadline
        self.expiries = 0
        self._then = then

    def expire(self):
        self.expiries += 1
        self.deadline = NEVER
        if self._then is not None:
            self._then()


async def test_deadline_expires_once_and_not_before_its_time():
    """Late by an interval at most, as far as the machine allows."""
    sweeper = Sweeper(0.01)
    loop = asyncio.get_running_loop()
    begin = loop.time()
    sweeper.start()
    assert sweeper.now >= begin
    due = sweeper.now + 0.1
    member, other = Member(due), Member()
    sweeper.add(member)
    sweeper.add(other)
    await until(lambda: member.expiries)
    expired = loop.time()
    await asyncio.sleep(0.05)
    sweeper.stop()

    assert expired >= due
    assert (member.expiries, other.expiries) == (1, 0)


async def test_member_that_is_discarded_has_no_deadline_any_more():
    """Discarding twice, or somebody unknown, is nothing."""
    sweeper = Sweeper(0.01)
    sweeper.start()
    member = Member(sweeper.now + 0.02)
    sweeper.add(member)
    sweeper.discard(member)
    sweeper.discard(member)
    await asyncio.sleep(0.05)
    sweeper.stop()

    assert member.expiries == 0


async def test_members_may_come_and_go_while_others_expire():
    """An expiry may end other connections."""
    sweeper = Sweeper(0.01)
    sweeper.start()
    last = Member(sweeper.now + 0.02)

    def change():
        sweeper.discard(first)
        sweeper.add(Member())

    first = Member(sweeper.now + 0.02, change)
    sweeper.add(first)
    sweeper.add(last)
    await until(lambda: first.expiries and last.expiries)
    sweeper.stop()

    assert (first.expiries, last.expiries) == (1, 1)


async def test_tasks_run_at_every_sweep_until_it_stops():
    """They are told the time."""
    times = []
    sweeper = Sweeper(0.01, (times.append,))
    sweeper.start()
    await until(lambda: len(times) > 2)
    sweeper.stop()
    count = len(times)
    await asyncio.sleep(0.03)

    assert times == sorted(times)
    assert len(times) == count


async def test_mistake_in_a_task_is_told_and_not_that_of_the_others(caplog):
    """At every sweep, whatever the one before it does."""
    done = []

    def broken(now):
        raise ZeroDivisionError

    sweeper = Sweeper(0.01, (broken, done.append))
    sweeper.sweep(1.0)
    sweeper.sweep(2.0)

    assert done == [1.0, 2.0]
    assert caplog.messages == ["crashed"] * 2
