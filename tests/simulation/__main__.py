"""python -m tests.simulation [SEEDS] [FIRST] [store|fleet|slots]: many runs on all processors. Tells each seed at which
something broke. Without a third word the three levels take turns.
"""

from __future__ import annotations

import sys
import time
from multiprocessing import Pool

from tests.simulation import fleet, simulation, slots
from tests.simulation.accounts import BrokenError

LEVELS = {
    "store": (simulation.run,),
    "fleet": (fleet.run,),
    "slots": (slots.run,),
    "all": (simulation.run, fleet.run, slots.run),
}


def outcome(what: tuple[str, int]) -> str | None:
    """By turns, so that all levels see every seed in a million of them."""
    level, number = what
    runs = LEVELS[level]
    try:
        runs[number % len(runs)](number // len(runs))
    except BrokenError as error:
        return str(error)
    return None


def main() -> int:
    numbers = [int(word) for word in sys.argv[1:] if word.isdigit()]
    level = next((word for word in sys.argv[1:] if word in LEVELS), "all")
    count, first = (*numbers, *(1000, 0)[len(numbers) :])
    begun, broken = time.monotonic(), 0
    with Pool() as pool:
        runs = [(level, number) for number in range(first, first + count)]
        for told in pool.imap_unordered(outcome, runs, chunksize=10):
            if told is not None:
                broken += 1
                print(told, flush=True)
    seconds = time.monotonic() - begun
    print(f"{count} seeds from {first} on, {broken} broken, {count / seconds:.0f} a second")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
