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
        """`disturbed` is called whenever something happens."""
        self._server = server
        self._stores = stores
        self._disturbed = disturbed
        self._since = 0.0
        self._going_wrong = 0  # faults that have begun and not ended

    def disturb(self, seconds: float = SECONDS) -> None:
        """It takes so long until all is calm again."""
        self._since = max(self._since, self._server.loop.time() + seconds)
        self._disturbed()

    @contextmanager
    def fault(self) -> Iterator[None]:
        self._going_wrong += 1
        self.disturb()
        yield
        self._going_wrong -= 1
        self.disturb()

    def lasts(self) -> bool:
        return not self._going_wrong and self._is_well() and self._server.loop.time() >= self._since

    def look(self) -> None:
        """To be called now and then: a link may be away for longer than a fault lasts."""
        if not self._is_well():
            self.disturb()

    def _is_well(self) -> bool:
        links = [link for store in self._stores() for link in store._topology.all()]
        return self._server.is_well and all(link.state == UP for link in links)
