"""Secrets that stand elsewhere: `${NAME}` for a variable, `file:PATH` for what a file holds.

`${NAME}` and `${file:PATH}` may stand within a text too, as in `redis://:${REDIS_PASSWORD}@redis:6379`; there
what is put into a URL is escaped. Only settings that hold a secret may refer: everything else has its WEIR_
variable. What is referred to never shows in a message. Paths are relative to the config file's folder.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from proxy.config import catalogue
from proxy.config.files import UnreadableError, fingerprint_of, read_file
from proxy.config.unknown import UNKNOWN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from proxy.config.look import SettingPath

SECRET_BYTES_MAX = 64 * 1024  # a Secret of Kubernetes may hold 1 MiB, a token or password never does

_FILE = "file:"
_REFERENCE = re.compile(r"\$\{(?:file:(?P<file>[^{}]+)|(?P<variable>[A-Za-z_][A-Za-z0-9_]*))\}")
_IS_URL = re.compile(r"[a-z+]+://")


class References:
    """What one config refers to: `files` are those that it names, `mistakes` what cannot be had, by its
    place. Each file has the fingerprint of what was read of it, None if nothing was.
    """

    def __init__(self, environ: Mapping[str, str], folder: Path, *, needs_secrets: bool = True) -> None:
        """Where no secrets are needed, something else stands for those that cannot be had."""
        self._environ = environ
        self._folder = folder
        self._needs_secrets = needs_secrets
        self.unknown: list[str] = []  # settings for which something else stands
        self.files: dict[Path, str | None] = {}
        self.mistakes: list[tuple[SettingPath, str]] = []

    def resolve(self, data: Any) -> None:
        """Puts what is referred to in its place."""
        for entry in catalogue.entries():
            if entry.is_secret:
                for holder, name, place in list(_found(data, entry.path.split("."), ())):
                    holder[name] = self._resolved(holder[name], place)

    def value(self, text: str) -> str:
        """What it says, or what it refers to. Raises ValueError."""
        if text.startswith(_FILE):
            return self._of_file(text.removeprefix(_FILE))
        is_within_url = bool(_IS_URL.match(text))
        return _REFERENCE.sub(lambda match: self._put(match, is_within_url=is_within_url), text)

    def _resolved(self, text: str, place: SettingPath) -> Any:
        try:
            return self.value(text)
        except ValueError as error:
            if not self._needs_secrets:
                self.unknown.append(".".join(map(str, place)))
                return _stand_in(text)
            self.mistakes.append((place, str(error)))
            return UNKNOWN

    def _put(self, match: re.Match[str], *, is_within_url: bool) -> str:
        name = match["variable"]
        if name is None:
            value = self._of_file(match["file"])
        elif (value := self._environ.get(name, "")) == "":
            raise ValueError(f"the variable {name} is {'empty' if name in self._environ else 'not set'}")
        return quote(value, safe="") if is_within_url else value

    def _of_file(self, path: str) -> str:
        file = self._folder / path
        self.files[file] = None
        try:
            data = read_file(file, SECRET_BYTES_MAX)
            self.files[file] = fingerprint_of(data)
            text = data.decode()
        except UnreadableError as error:
            raise ValueError(f"{file}: {error}") from None
        except UnicodeDecodeError:
            raise ValueError(f"{file}: is not UTF-8") from None
        if not text.strip():
            raise ValueError(f"{file}: is empty")
        return text.removesuffix("\n").removesuffix("\r")


def resolved(text: str, environ: Mapping[str, str], folder: Path) -> str:
    """One text alone. Raises ValueError, which does not tell what the text holds."""
    return References(environ, folder).value(text)


def _stand_in(text: str) -> str:
    """Fits wherever a secret does, be it a token or a URL."""
    if text.startswith(_FILE) or _REFERENCE.fullmatch(text):
        return "redis://unknown"
    return _REFERENCE.sub("unknown", text)


def _found(data: Any, parts: list[str], place: SettingPath) -> Iterator[tuple[Any, Any, SettingPath]]:
    """Where such a setting stands as text: the block, its name there, its place."""
    first, *rest = parts
    value = data.get(first) if isinstance(data, dict) else None
    if rest:
        yield from _found(value, rest, (*place, first))
    elif isinstance(value, str):
        yield data, first, (*place, first)
