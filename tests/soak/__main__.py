"""`python -m tests.soak --minutes 10`: prints what was seen as JSON, and ends with 1 if anything was unexpected."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from pathlib import Path

from tests.soak.soak import Plan, Soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests.soak")
    parser.add_argument("--minutes", type=float, default=10.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory(prefix="weir-soak-") as folder:
        verdict = asyncio.run(Soak(Plan(minutes * 60), Path(folder)).run())
    print(json.dumps(verdict.told, indent=1))
    for fault in verdict.faults:
        print("UNEXPECTED", fault)
    return 1 if verdict.faults else 0


if __name__ == "__main__":
    sys.exit(main())
