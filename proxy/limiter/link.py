"""The way to one Redis server: its connection, its breaker, its one background probe.

up        calls go out at once.
waiting   the connection broke: calls wait for the next one, at most until their deadline.
down      nothing is accepted; the probe connects again and again, and opens only when the server has
          answered the session's first words within the deadline of a call.

A call that has no reply at its deadline takes the link down with all that are on their way: whoever waits
behind it would wait in vain. Knows nothing of buckets; what is said first on a new connection is the
session's (session.py).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from math import inf
from random import uniform
from typing import TYPE_CHECKING, Any, Protocol

from redis.exceptions import RedisError

from proxy.background import end, keep_doing
from proxy.limiter.clock import ServerClock
from proxy.limiter.trouble import TroubleError, reply_trouble
from proxy.limiter.unreachable import connect_trouble
from proxy.limiter.wire import Wire
from proxy.telemetry.log import event

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from proxy.limiter.dialler import Opened
    from proxy.limiter.session import Session

UP, WAITING, DOWN = "up", "waiting", "down"
STORE, NEXT = (
    "store",
    "next store",
)  # what a link leads to: the one that decides, or that a reload wants to go to

CONNECT_TIMEOUT = 1.0  # seconds; with the longest pause between two probes: back within 2 s
PROBE_PAUSES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.4)  # seconds between failed probes, give or take a fifth
STEADY = 2.0  # seconds up after which the next trouble starts with the first pause again
BEAT = 1.0  # seconds between two signs of life
NO_REPLY = object()
LAG = 0.005  # seconds a timer may be late before the loop, not Redis, is taken for the slow one

_log = logging.getLogger("weir.store")


class Message(Protocol):
    """A call that packs itself when it is sent, since a deadline is in the server's time."""

    deadline: float
    can_wait: bool  # for another connection

    def data(self, link: Link) -> bytes: ...

    def replied(self, reply: Any, link: Link) -> None: ...

    def failed(self) -> None:
        """No reply will come in time."""


class Link:
    def __init__(
        self,
        name: str,
        dial: Callable[[], Awaitable[Opened]],
        session: Session,
        troubled: Callable[[str], None],
        now: Callable[[], float],
    ) -> None:
        """`troubled` is told the reason of each trouble."""
        self.name = name  # for logs and status: where it leads
        self.place = STORE  # as the log calls it
        self.now = now
        self.shards: list[int] = []  # that it leads to
        self.mask = 0  # of the shards that one call may not mix
        self.state = DOWN  # until it is started
        self.clock = ServerClock()
        self.trouble: TroubleError | None = None
        self._dial = dial
        self._session = session
        self._troubled = troubled
        self._wire: Wire | None = None
        self._held: deque[Message] = deque()  # waiting for a connection
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0  # when it rings
        self._tending: asyncio.Task[None] | None = None
        self._nudged = asyncio.Event()  # broken, or to beat
        self._is_broken = False
        self._loss: TroubleError | None = None  # why the last connection ended
        self._since = now()  # in this state
        self._failures = 0  # probes in a row that failed, or opened for a moment only
        self.tried = asyncio.Event()  # it has been up or down since the start

    # --- what is asked of it ---

    def start(self) -> None:
        self._enter(WAITING)
        self._tending = asyncio.create_task(keep_doing(_log, self._tend, self._crashed))

    def deadline(self) -> float:
        """The moment by which a call that is made now must be answered."""
        return self.now() + self._session.timeout

    def deadline_us(self) -> float:
        """The same, by the server's clock."""
        return self.clock.server_us(int(self.deadline() * 1e6))

    async def close(self) -> None:
        if self._tending is not None:
            await end(self._tending)
        self._take_down()
        if self._timer is not None:
            self._timer.cancel()

    def submit(self, message: Message) -> None:
        """Sends it, holds it while waiting; when down it fails at once."""
        if self.state == UP:
            self.post(message)
        elif self.state == WAITING:
            self._held.append(message)
            self._watch(message.deadline)
        else:
            message.failed()

    def post(self, message: Message) -> None:
        """Sends it on the connection there is, up or about to be."""
        assert self._wire is not None
        self._wire.send(message.data(self), message)
        self._watch(message.deadline)

    async def ask(self, data: Callable[[Link], bytes]) -> Any:
        """The reply to a call of the session's. Raises TroubleError."""
        question = _Question(data, self.deadline())
        if self._wire is None:
            raise self._loss or TroubleError("connection", f"store.url: {self.name} is not connected")
        self.post(question)
        reply = await question.answer
        if reply is NO_REPLY:
            raise self._loss or TroubleError("timeout", f"store.url: {self.name} gave no answer in time")
        if isinstance(reply, Exception):
            raise reply_trouble(reply, self.name)
        return reply

    async def ask_for(self, data: bytes) -> Any:
        """The same for a call that is packed. Raises TroubleError."""
        return await self.ask(lambda _: data)

    def fail(self, trouble: TroubleError) -> None:
        """Takes the link down: what is on its way fails now, the probe begins."""
        self._troubled(trouble.reason)
        was_down = self.state == DOWN
        if not was_down or self.trouble is None or self.trouble.reason != trouble.reason:
            word = f"{self.place} still down" if was_down else f"{self.place} down"
            event(_log, logging.WARNING, word, server=self.name, reason=trouble.reason, detail=str(trouble))
        self.trouble = trouble
        self._take_down()

    def expect(self, message: Message) -> None:
        """One more reply will come for it, before all others."""
        assert self._wire is not None
        self._wire.calls.appendleft(message)

    async def take_leave(self) -> None:
        """The last words: no sign of life comes behind them. Raises TroubleError."""
        if self._tending is not None:
            await end(self._tending)
        await self._session.close(self)

    @property
    def is_idle(self) -> bool:
        """Nothing is on its way."""
        return not self._held and (self._wire is None or not self._wire.calls)

    @property
    def seconds(self) -> float:
        """How long it has been in this state."""
        return self.now() - self._since

    # --- the connection's end ---

    def _take_down(self) -> None:
        self._enter(DOWN)
        self._break()
        self.tried.set()
        for message in self._abandon():
            message.failed()

    def _lost(self, said: Exception | None) -> None:
        """The server or the network ended the connection: its calls go out again on the next, if in time."""
        was_up = self.state == UP
        lost = TroubleError("connection", f"store.url: the connection to {self.name} was lost")
        self._loss = lost if said is None else reply_trouble(said, self.name)
        calls = self._abandon()
        if not was_up:
            for message in calls:
                message.failed()
            self._break()
            return
        self._troubled(self._loss.reason)
        self.trouble = self._loss
        self._enter(WAITING)
        self._held.extend(message for message in calls if message.can_wait)
        self._break()
        for message in calls:
            if not message.can_wait:
                message.failed()

    def _abandon(self) -> list[Any]:
        """Lets go of the connection; what it and we still held."""
        wire, self._wire = self._wire, None
        calls: list[Any] = []
        if wire is not None:
            wire.close()
            calls.extend(wire.calls)
            wire.calls.clear()
        calls.extend(self._held)
        self._held.clear()
        return calls

    def _enter(self, state: str) -> None:
        if state == self.state:
            return
        if self.state == UP:
            self._failures = 0 if self.seconds >= STEADY else self._failures + 1
        self.state = state
        self._since = self.now()

    # --- deadlines: one timer, for the oldest call ---

    def _watch(self, deadline: float) -> None:
        if self._timer is not None:
            if deadline >= self._due:
                return
            self._timer.cancel()  # of before a reload, which gave less time
        self._due = deadline
        self._timer = asyncio.get_running_loop().call_later(deadline - self.now(), self._look, deadline)

    def _look(self, due: float, until: float = inf) -> None:
        """Replies that came while this process was busy are read first; not for ever, as it may stay busy."""
        now = self.now()
        if now - due > LAG and now < until:
            until = min(until, now + self._session.timeout)
            self._timer = asyncio.get_running_loop().call_later(0.001, self._look, now + 0.001, until)
        else:
            self._judge()

    def _judge(self) -> None:
        self._timer = None
        oldest = self._oldest()
        if oldest is None:
            return
        now = self.now()
        if oldest > now:
            self._watch(oldest)
        elif self._wire is not None and self._wire.calls and self._wire.calls[0].deadline <= now:
            self.fail(TroubleError("timeout", "no answer in time"))
        else:
            self._stop_waiting()

    def _oldest(self) -> float | None:
        calls = self._wire.calls if self._wire is not None else ()
        deadlines = [queue[0].deadline for queue in (calls, self._held) if queue]
        return min(deadlines, default=None)

    def _stop_waiting(self) -> None:
        """The new connection takes too long for what is held; it may still come to something."""
        self._enter(DOWN)
        held, self._held = self._held, deque()
        for message in held:
            message.failed()
        if self._wire is not None and self._wire.calls:
            self._watch(self._wire.calls[0].deadline)

    # --- the probe ---

    async def _tend(self) -> None:
        """One connection, as long as it lasts, and the pause after it."""
        try:
            await self._open()
            await self._beat_until_broken()
        except TroubleError as trouble:
            self._failures += 1
            self.fail(trouble)
        pause = PROBE_PAUSES[min(self._failures, len(PROBE_PAUSES) - 1)]
        await asyncio.sleep(pause * uniform(0.8, 1.2))  # noqa: S311 - replicas shall not probe in step

    def _crashed(self, error: Exception) -> None:
        self._failures += 1
        self.fail(TroubleError("internal", f"{type(error).__name__}: {error}"))

    async def _open(self) -> None:
        self._is_broken = False
        self._loss = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                opened = await self._dial()
        except (RedisError, OSError, TimeoutError) as error:
            raise connect_trouble(error, self.name) from None
        except RuntimeError:  # uvloop's, when the server closes while redis-py still talks
            raise TroubleError("connection", f"store.url: {self.name} closed the connection") from None
        self._wire = Wire(opened, self, self._lost)
        await self._session.open(self)
        if self._wire is None:  # it was lost under the last answer
            raise self._loss or TroubleError("connection", f"store.url: {self.name} closed the connection")
        outage, waited = self.seconds, self.state == WAITING
        self._enter(UP)
        self.tried.set()
        if not waited or self.trouble is None:
            event(_log, logging.INFO, f"{self.place} up", server=self.name, after_seconds=round(outage, 3))
        self.trouble = None
        held, self._held = self._held, deque()
        for message in held:
            self.submit(message)

    async def _beat_until_broken(self) -> None:
        """Raises TroubleError if a beat fails for another reason than that it is broken."""
        while not self._is_broken:
            self._nudged.clear()
            try:
                async with asyncio.timeout(BEAT):
                    await self._nudged.wait()
            except TimeoutError:
                pass
            try:
                if not self._is_broken:
                    await self._session.beat(self)
            except TroubleError:
                if not self._is_broken:
                    raise

    def beat_now(self) -> None:
        self._nudged.set()

    def _break(self) -> None:
        self._is_broken = True
        self._nudged.set()


class _Question:
    """A call of the session's whose reply is awaited."""

    can_wait = False

    def __init__(self, data: Callable[[Link], bytes], deadline: float) -> None:
        self.deadline = deadline
        self.answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._data = data

    def data(self, link: Link) -> bytes:
        return self._data(link)

    def replied(self, reply: Any, link: Link) -> None:  # noqa: ARG002 - who asks knows its link
        if not self.answer.done():
            self.answer.set_result(reply)

    def failed(self) -> None:
        if not self.answer.done():
            self.answer.set_result(NO_REPLY)
