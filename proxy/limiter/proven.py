"""Credentials that the service has vouched for (policy/vouching.py), by their partition keys.

Every replica holds them all, the newest of them in bounds, and asks nobody when a request comes. What one has
learnt it tells Redis with the next beat, and the others read it there with theirs; a replica that starts
reads all before it is up. In a set that has lost them they are written anew. Knows nothing of limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from proxy.limiter.records import PROVEN_MAX, pack_shared
from proxy.limiter.replies import blobs, misunderstood, numbers
from proxy.limiter.scripts import Script, key_prefix
from proxy.policy.keys import KEY_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable

    from proxy.limiter.link import Link
    from proxy.limiter.records import Names

SHARING = Script("proven.lua")
SHARD: Final = 0  # of the one set in which all stand
KEYS_OF_A_CALL: Final = 500  # told, and read: about 1 ms, since nobody else is served meanwhile
CALLS_MAX: Final = 400  # of one beat
LIFETIME_MS: Final = 30 * 86_400_000  # of the set, when nobody is there who uses it
OVERLAP_US: Final = 1_000_000  # is read twice: moments of one call lie side by side


class Proven:
    """Two generations: when the younger is full, the older goes. Who is asked for stays young."""

    __slots__ = ("_half", "_news", "_old", "_young")

    def __init__(self, most: int) -> None:
        self._half = max(most // 2, 1)
        self._young: dict[bytes, None] = {}
        self._old: dict[bytes, None] = {}
        self._news: dict[bytes, None] = {}  # that others have not been told

    @property
    def most(self) -> int:
        return self._half * 2

    @most.setter
    def most(self, most: int) -> None:
        self._half = max(most // 2, 1)

    def __contains__(self, key: object) -> bool:
        if key in self._young:
            return True
        if key not in self._old:
            return False
        assert isinstance(key, bytes)
        self._put(key)
        return True

    def __len__(self) -> int:
        return len(self._young) + len(self._old)

    def add(self, key: bytes) -> None:
        """The service has vouched for it."""
        if key not in self:
            self._put(key)
            if len(self._news) < self.most:
                self._news[key] = None

    def learn(self, keys: Iterable[bytes]) -> None:
        """From others."""
        for key in keys:
            if key not in self:
                self._put(key)

    def news(self) -> list[bytes]:
        """What is to be told in one call."""
        return [key for key, _ in zip(self._news, range(KEYS_OF_A_CALL), strict=False)]

    def told(self, keys: Iterable[bytes]) -> None:
        for key in keys:
            self._news.pop(key, None)

    def tell_all(self) -> None:
        """They are not known any more where they stood."""
        self._news = self._old | self._young

    def _put(self, key: bytes) -> None:
        self._old.pop(key, None)  # no key is in both
        self._young[key] = None
        if len(self._young) > self._half:
            self._old, self._young = self._young, {}


class Sharing:
    """Tells and hears what is proven, through one server."""

    def __init__(self, proven: Proven, names: Names) -> None:
        self._proven = proven
        self._key = key_prefix(names.proven(SHARD), 0)
        self._heard_us: dict[str, int] = {}  # by server: until when its set is known
        self.is_wanted = False  # some limit asks

    async def share(self, link: Link) -> None:
        """Raises TroubleError."""
        if not self.is_wanted or SHARD not in link.shards:
            return
        for _ in range(CALLS_MAX):
            if await self._call(link):
                return

    async def _call(self, link: Link) -> bool:
        """Whether there is nothing more to be said."""
        proven = self._proven
        news = proven.news()
        since_us = self._heard_us.get(link.name, 0)
        argument = pack_shared(proven.most, LIFETIME_MS, since_us, b"".join(news))
        reply = await link.ask_for(SHARING.full_call([self._key], argument))
        if type(reply) is not list or len(reply) != 5:
            raise misunderstood(link.name)
        count, told_us, server_us, is_all = numbers(reply[:4], 4, link.name)
        found = blobs(reply[4], link.name, PROVEN_MAX)
        proven.told(news)
        proven.learn([key for key in found if len(key) == KEY_BYTES])
        self._heard_us[link.name] = max(server_us - OVERLAP_US if is_all else told_us, 0)
        if is_all and count < len(proven) // 2 and not proven.news():
            proven.tell_all()
        return bool(is_all) and not proven.news()

    def forget(self, link: Link) -> None:
        """It leads nowhere any more."""
        self._heard_us.pop(link.name, None)
