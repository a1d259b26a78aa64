"""How long nothing has happened to Redis or on the way to it: while all is calm, what a store decides is exact."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from proxy.limiter.link import UP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from proxy.limiter.redis import RedisStore
    from tests.simulation.world import Server

SECONDS = 1.0  # after the last thing that happened: who was decided before it has been told


class Calm:
    def __init__(
        self, server: Server, stores: Callable[[], Iterable[RedisStore]], disturbed: Callable[[], None]
    ) -> None:
        """`disturbed` is called whenever something happens, and when all is calm again."""
        self._server = server
        self._stores = stores
        self._disturbed = disturbed
        self._since = 0.0
        self._going_wrong = 0  # faults that have begun and not ended
        self._was_calm = True

    def disturb(self, seconds: float = SECONDS) -> None:
        """It takes so long until all is calm again."""
        self._since = max(self._since, self._server.loop.time() + seconds)
        self._was_calm = False
        self._disturbed()

    def set_back(self, seconds: float) -> None:
        """Redis's clock was: for so long nothing may come back to a bucket that is not asked."""
        self.disturb(seconds + SECONDS)

    @contextmanager
    def fault(self) -> Iterator[None]:
        self._going_wrong += 1
        self.disturb()
        yield
        self._going_wrong -= 1
        self.disturb()

    def lasts(self) -> bool:
        is_calm = not self._going_wrong and self._is_well() and self._server.loop.time() >= self._since
        if is_calm and not self._was_calm:
            self._disturbed()  # for the last time: until now anything may have been
        self._was_calm = is_calm
        return is_calm

    def look(self) -> None:
        """To be called now and then: a link may be away for longer than a fault lasts."""
        if not self._is_well():
            self.disturb()

    def _is_well(self) -> bool:
        links = [link for store in self._stores() for link in store._dispatcher.topology.all()]
        return self._server.is_well and all(link.state == UP for link in links)
