"""A config file and the environment to settings, or to every mistake in them at once.

`load` and `loads` either return valid settings or raise `ConfigError`, whose mistakes have the place and the
remedy. `examine` also tells what is valid and probably not meant.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config import document, doubts
from proxy.config.environment import Overrides
from proxy.config.look import Look
from proxy.config.mistakes import ConfigError, Mistake, findings, spelled
from proxy.config.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from proxy.config.document import Document

__all__ = ["ConfigError", "Mistake", "config_hash", "examine", "load", "loads", "read_text"]

FILE_BYTES_MAX = 1024 * 1024  # what a ConfigMap of Kubernetes may hold


def load(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of a file, overridden by WEIR_ variables of `environ` (by default the process's own)."""
    return loads(read_text(path), os.fspath(path), environ)


def read_text(path: str | os.PathLike[str]) -> str:
    """What the file holds. Raises ConfigError."""
    file = os.fspath(path)
    try:
        with Path(path).open("rb") as stream:
            data = stream.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError([Mistake(file, 0, 0, _unreadable(error))]) from None
    if len(data) > FILE_BYTES_MAX:
        raise ConfigError([Mistake(file, 0, 0, "is larger than 1 MiB: this is no config")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigError([Mistake(file, line, column, "is not UTF-8 from here on")]) from None


def loads(text: str, file: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of a text; `file` is only what mistakes call it."""
    return _read(text, file, environ)[0]


def examine(
    path: str | os.PathLike[str], environ: Mapping[str, str] | None = None
) -> tuple[Settings, list[Mistake]]:
    """Settings of a file, and its warnings in the order of the file. Raises ConfigError."""
    settings, places = _read(read_text(path), os.fspath(path), environ)
    return settings, sorted(places.at(*doubt, word="warning: ") for doubt in doubts.about(settings))


def _read(text: str, file: str, environ: Mapping[str, str] | None) -> tuple[Settings, _Places]:
    parsed = document.read(text)
    overrides = Overrides(os.environ if environ is None else environ)
    places = _Places(file, parsed, overrides)
    mistakes = [Mistake(variable, 0, 0, message) for variable, message in overrides.mistakes]
    mistakes += (Mistake(file, *mark, _at(path, message)) for mark, path, message in parsed.mistakes)
    if parsed.mistakes and parsed.data is None:
        raise ConfigError(mistakes)  # not YAML: what it says of settings is unknown
    data = overrides.laid_over({} if parsed.data is None else parsed.data)
    look = Look()
    settings = Settings.model_validate(data, context=look)
    mistakes += (places.at(path, message, is_key=is_key) for path, is_key, message in findings(look, data))
    if mistakes:
        raise ConfigError(mistakes)
    return settings, places


def config_hash(settings: Settings) -> str:
    """Twelve hex digits, the same for the same settings however they were written. Secrets do not count."""
    return hashlib.sha256(settings.model_dump_json().encode()).hexdigest()[:12]


class _Places:
    """Where what pydantic found stands: in the file or in a variable."""

    def __init__(self, file: str, parsed: Document, overrides: Overrides) -> None:
        self._file = file
        self._parsed = parsed
        self._overrides = overrides

    def at(
        self, path: tuple[str | int, ...], message: str, *, is_key: bool = False, word: str = ""
    ) -> Mistake:
        message = word + _at(path, message)
        variable = self._overrides.variable_of(path)
        if variable is not None:
            return Mistake(variable, 0, 0, message)
        return Mistake(self._file, *self._mark(path, is_key=is_key), message)

    def _mark(self, path: tuple[str | int, ...], *, is_key: bool) -> document.Mark:
        """The place of a value, or of the block that lacks it."""
        keys, values = self._parsed.keys, self._parsed.values
        if is_key and path in keys:
            return keys[path]
        if path in values:
            return values[path]
        while path:
            path = path[:-1]
            if mark := keys.get(path) or values.get(path):
                return mark
        return document.Mark(1, 1)


def _at(path: tuple[str | int, ...], message: str) -> str:
    return f"{spelled(path)}: {message}" if path else message


def _unreadable(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return "no such file"
        case IsADirectoryError():
            return "is a directory; name the file within it"
        case PermissionError():
            return "may not be read by this user"
    return f"cannot be read: {error.strerror or type(error).__name__}"
