"""When each key's requests came, as often as it is asked: what the what-if search replays.

12 bytes a request; what goes beyond `HELD` requests is kept in a temporary file without a name. Knows nothing
of limits.
"""

from __future__ import annotations

from array import array
from itertools import compress
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HELD = 262_144  # requests in memory: 3 MiB

Chunk = tuple["array[int]", "array[int]"]  # numbers of keys, and moments in microseconds


class ArrivalTimes:
    def __init__(self) -> None:
        self.count = 0
        self.keys = 0  # numbers of keys are below it
        self._numbers = array("I")
        self._moments = array("q")
        self._file: IO[bytes] | None = None
        self._chunks = 0

    def add(self, number: int, at: int) -> None:
        """`settle` bounds what is held: once for many."""
        self._numbers.append(number)
        self._moments.append(at)

    def settle(self) -> None:
        """Raises OSError if there is no room for temporary files."""
        while len(self._numbers) >= HELD:
            if self._file is None:
                self._file = TemporaryFile(prefix="weir-")  # noqa: SIM115 - `close` closes it
            numbers, self._numbers = self._numbers[:HELD], self._numbers[HELD:]
            moments, self._moments = self._moments[:HELD], self._moments[HELD:]
            numbers.tofile(self._file)
            moments.tofile(self._file)
            self._chunks += 1
            self._reckon(numbers)

    def _reckon(self, numbers: array[int]) -> None:
        self.count += len(numbers)
        self.keys = max(self.keys, max(numbers, default=-1) + 1)

    def end(self) -> None:
        """No more will come."""
        self.settle()
        self._reckon(self._numbers)
        if self._file is not None:
            self._file.flush()

    def chunks(self) -> Iterator[Chunk]:
        """All of them, in order of time."""
        if self._file is not None:
            self._file.seek(0)
            for _ in range(self._chunks):
                numbers, moments = array("I"), array("q")
                numbers.fromfile(self._file, HELD)
                moments.fromfile(self._file, HELD)
                yield numbers, moments
        yield self._numbers, self._moments

    def of(self, keys: bytearray) -> ArrivalTimes:
        """Those of some keys, which have a 1 at their number."""
        some = ArrivalTimes()
        for numbers, moments in self.chunks():
            chosen = [keys[number] for number in numbers]
            some._numbers.extend(compress(numbers, chosen))
            some._moments.extend(compress(moments, chosen))
            some.settle()
        some.end()
        some.keys = self.keys
        return some

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
