"""Redis's clock as seen from here: the server decides which charges come too late, so deadlines are sent
in its time.

Every reply carries the server's time, which lies between sending and receiving; the estimate is kept
within those bounds. It is wrong by less than the shortest round trip, follows drift, and follows a step
of either clock at the next reply. Knows no clock itself.
"""

from __future__ import annotations


class ServerClock:
    __slots__ = ("_offset_us",)

    def __init__(self) -> None:
        self._offset_us = 0  # Redis's Unix time minus our monotonic time

    def learn(self, sent_us: int, received_us: int, server_us: int) -> None:
        earliest, latest = server_us - received_us, server_us - sent_us
        if self._offset_us < earliest:
            self._offset_us = earliest
        elif self._offset_us > latest:
            self._offset_us = latest

    def server_us(self, local_us: int) -> int:
        return local_us + self._offset_us
