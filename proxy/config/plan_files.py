"""Keys of plans that stand in files of their own: one a line, as `weir hash` prints them.

A file is taken whole or not at all. No message shows a line of it, which may be a credential by mistake.
"""

from __future__ import annotations

import codecs
import re
from io import BytesIO
from typing import TYPE_CHECKING

from proxy.config.files import UnreadableError, fingerprint_of, read_file
from proxy.config.unknown import Unknown, ask

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from proxy.config.look import SettingPath
    from proxy.config.sections.plans import PlanSettings

BYTES_MAX = 32 * 1024 * 1024  # 450 000 keys
_KEY = re.compile(rb"sha256:([0-9a-fA-F]{64})")


class PlanFiles:
    """What the plans of one config read: `files` are those that they name, `mistakes` what is wrong with
    them, by its place.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.files: dict[Path, str | None] = {}  # with the fingerprints of what was read
        self.mistakes: list[tuple[SettingPath, str]] = []

    def read(self, plans: Sequence[PlanSettings | Unknown]) -> None:
        """Puts their keys into the plans."""
        for index, plan in enumerate(plans):
            name = ask(plan, "keys_file")
            if not isinstance(plan, Unknown) and isinstance(name, str):
                file = self._folder / name
                self.files[file] = None
                try:
                    data = read_file(file, BYTES_MAX)
                    self.files[file] = fingerprint_of(data)
                    whole = bytearray()
                    for digest in digests(data):
                        whole += digest
                    plan.adopt(bytes(whole))
                except (UnreadableError, ValueError) as error:
                    self.mistakes.append((("plans", index, "keys_file"), f"{file}: {error}"))


def digests(data: bytes) -> Iterator[bytes]:
    """Raises ValueError for a line that is none."""
    # Split at once, 450 000 lines would keep other threads waiting for 40 ms.
    for number, line in enumerate(BytesIO(data.removeprefix(codecs.BOM_UTF8)), 1):
        text = line.partition(b"#")[0].strip()
        if not text:
            continue
        found = _KEY.fullmatch(text)
        if found is None:
            raise ValueError(f"line {number} is not sha256: and 64 hex digits, as `weir hash` prints them")
        yield bytes.fromhex(found[1].decode())
