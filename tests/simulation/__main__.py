"""python -m tests.simulation [SEEDS] [FIRST]: many runs on all processors. Tells each seed at which something broke."""

from __future__ import annotations

import sys
import time
from multiprocessing import Pool

from tests.simulation.simulation import BrokenError, run


def outcome(seed: int) -> str | None:
    try:
        run(seed)
    except BrokenError as error:
        return str(error)
    return None


def main() -> int:
    count, first = words()
    begun, broken = time.monotonic(), 0
    with Pool() as pool:
        for told in pool.imap_unordered(outcome, range(first, first + count), chunksize=20):
            if told is not None:
                broken += 1
                print(told, flush=True)
    seconds = time.monotonic() - begun
    print(f"{count} seeds from {first} on, {broken} broken, {count / seconds:.0f} a second")
    return 1 if broken else 0


def words() -> tuple[int, int]:
    numbers = [int(word) for word in sys.argv[1:3]]
    count, first = (*numbers, *(1000, 0)[len(numbers) :])
    return count, first


if __name__ == "__main__":
    sys.exit(main())
