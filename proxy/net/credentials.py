"""Files with certificates and what is made of them: as they were when they were last good.

Files are replaced by renaming, by links that are swapped, or one after the other. They are looked at for
what the system says of them, then for their content, and read when they stand still. Knows nothing of what
is made of them.
"""

from __future__ import annotations

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from proxy.config.files import UnreadableError, read_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from proxy.net.certificate import Certificate

# Four times the authorities of a whole system. Python lets go of them all at once, which takes 10 ms.
PEM_BYTES_MAX = 1024 * 1024
SETTLE_SECONDS = 0.2  # between two looks that must agree: a key follows its certificate sooner
LOOKS = 10


class TlsError(Exception):
    """A file cannot be used; `setting` stands below `tls`."""

    def __init__(self, setting: str, reason: str) -> None:
        super().__init__(f"{setting}: {reason}")
        self.setting = setting
        self.reason = reason


class MissingError(TlsError):
    """There is no such file here."""


class Shown(NamedTuple):
    """A certificate that the other side is shown, and the setting that names its file."""

    setting: str
    certificate: Certificate


class Made(Protocol):
    @property
    def shown(self) -> Sequence[Shown]: ...


T = TypeVar("T", bound=Made)


class Credentials(Generic[T]):
    """`now` is what to use."""

    def __init__(self, setting: str, files: Iterable[str | None], make: Callable[[], T]) -> None:
        """`make` raises TlsError, and then so does this."""
        self.setting = setting
        self.problem: str | None = None  # with the files as they are, while `now` is older
        self._files = [Path(file) for file in files if file is not None]
        self._make = make
        self._marks = self._look()
        self._content = self._read()
        self.now = make()

    def reread(self) -> bool:
        """Whether there was something new to make something of: `problem` says how that went. Blocks."""
        marks = self._look()
        if marks == self._marks:
            return False
        content = self._settled()
        self._marks = marks
        if content == self._content:
            return False
        self._content = content
        try:
            self.now = self._make()
        except (TlsError, OSError) as error:  # a file may go while it is read
            self.problem = str(error)
        else:
            self.problem = None
        return True

    def _settled(self) -> bytes:
        content = self._read()
        for _ in range(LOOKS):
            time.sleep(SETTLE_SECONDS)
            before, content = content, self._read()
            if content == before:
                break
        return content

    def _look(self) -> list[tuple[int, ...]]:
        return [_marks(file) for file in self._files]

    def _read(self) -> bytes:
        digest = hashlib.sha256()
        for file in self._files:
            try:
                digest.update(hashlib.sha256(read_file(file, PEM_BYTES_MAX)).digest())
            except UnreadableError:
                digest.update(b"none")
        return digest.digest()


def _marks(file: Path) -> tuple[int, ...]:
    """What tells one state of a file from another, followed through links."""
    try:
        found = file.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
