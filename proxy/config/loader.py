"""A config file and the environment to settings, or to every mistake in them at once.

`load` and `loads` either return valid settings or raise `ConfigError`, whose mistakes have the place and the
remedy. A `Config` also knows what is valid and probably not meant, and where each setting comes from.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.config import document, doubts
from proxy.config.environment import Variables
from proxy.config.files import PATIENCE_SECONDS, STDIN, TooLargeError, UnreadableError, read_file
from proxy.config.look import Look
from proxy.config.mistakes import ConfigError, Mistake, findings, spelled, written
from proxy.config.plan_files import PlanFiles
from proxy.config.references import References
from proxy.config.settings import Settings
from proxy.config.unknown import Unknown, ask

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from proxy.config.sections.plans import PlanSettings


__all__ = [
    "Config",
    "ConfigError",
    "Mistake",
    "config_hash",
    "examine",
    "load",
    "loads",
    "name_of",
    "read_text",
]

FILE_BYTES_MAX = 1024 * 1024  # what a ConfigMap of Kubernetes may hold


def load(path: str | os.PathLike[str], environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of a file, overridden by WEIR_ variables of `environ` (by default the process's own)."""
    return loads(read_text(path), name_of(path), environ)


def loads(text: str, file: str, environ: Mapping[str, str] | None = None) -> Settings:
    """Settings of a text; `file` is what mistakes call it, and what paths in it are relative to."""
    return Config(text, file, environ).settings


def examine(
    path: str | os.PathLike[str], environ: Mapping[str, str] | None = None, *, needs_secrets: bool = True
) -> Config:
    """All that can be said of a file; without need of them, secrets may be elsewhere. Raises ConfigError."""
    return Config(read_text(path), name_of(path), environ, needs_secrets=needs_secrets)


def name_of(path: str | os.PathLike[str]) -> str:
    """What messages call it."""
    return "<stdin>" if os.fspath(path) == STDIN else os.fspath(path)


def read_text(path: str | os.PathLike[str], patience: float = PATIENCE_SECONDS) -> str:
    """What the file holds; `-` and pipes too, for who has patience. Raises ConfigError."""
    file = name_of(path)
    try:
        data = read_file(path, FILE_BYTES_MAX, patience)
    except TooLargeError:
        raise ConfigError([Mistake(file, 0, 0, "is larger than 1 MiB: this is no config")]) from None
    except UnreadableError as error:
        raise ConfigError([Mistake(file, 0, 0, str(error))]) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        column = error.start - data.rfind(b"\n", 0, error.start)
        raise ConfigError([Mistake(file, line, column, "is not UTF-8 from here on")]) from None


def config_hash(settings: Settings) -> str:
    """Twelve hex digits, the same for the same settings however they were written. Secrets do not count."""
    written = settings.model_dump_json().encode()
    return hashlib.sha256(written + settings.plan_keys.fingerprint).hexdigest()[:12]


class Config:
    """One config, read and found good."""

    def __init__(
        self,
        text: str,
        file: str,
        environ: Mapping[str, str] | None = None,
        *,
        needs_secrets: bool = True,
    ) -> None:
        """Raises ConfigError."""
        environ = os.environ if environ is None else environ
        self.file = file
        self._parsed = parsed = document.read(text)
        self._overrides = overrides = Variables(environ)
        mistakes = [Mistake(variable, 0, 0, message) for variable, message in overrides.mistakes]
        mistakes += (Mistake(file, *mark, _at(path, message)) for mark, path, message in parsed.mistakes)
        if parsed.mistakes and parsed.data is None:
            raise ConfigError(mistakes)  # not YAML: what it says of settings is unknown
        data = self._data = overrides.laid_over({} if parsed.data is None else parsed.data)
        references = References(environ, Path(file).parent, needs_secrets=needs_secrets)
        references.resolve(data)
        self.files = references.files  # that it refers to
        self.unknown_secrets = references.unknown  # settings for which something else stands
        look = Look()
        self.settings = Settings.model_validate(data, context=look)
        plan_files = PlanFiles(Path(file).parent)
        plan_files.read(_plans(self.settings))
        self.files |= plan_files.files
        mistakes += (self.at(path, message) for path, message in references.mistakes + plan_files.mistakes)
        mistakes += (self.at(path, message, is_key=is_key) for path, is_key, message in findings(look, data))
        if mistakes:
            raise ConfigError(mistakes, self.files)
        self.settings.plan_keys  # noqa: B018 - made here, beside the loop

    @property
    def warnings(self) -> list[Mistake]:
        """All of them, in the order of the file."""
        found = doubts.about(self.settings)
        return sorted(self.at(path, message, word="warning: ") for path, message in found)

    def at(
        self, path: tuple[str | int, ...], message: str, *, is_key: bool = False, word: str = ""
    ) -> Mistake:
        """What is to be said of a setting, at its place: in the file or in a variable."""
        path = written(path, self._data)
        message = word + _at(path, message)
        variable = self._overrides.variable_of(path)
        if variable is not None:
            return Mistake(variable, 0, 0, message)
        return Mistake(self.file, *self._mark(path, is_key=is_key), message)

    def origin(self, path: tuple[str | int, ...], *, stands_alone: bool = False) -> str | None:
        """Where the value of a setting comes from: a line of the file or a variable; None for a default.

        `stands_alone`: it may stand in the place of its block.
        """
        variable = self._overrides.variable_of(path)
        if variable is not None:
            return variable
        place = written(path, self._data)
        mark = self._parsed.values.get(place)
        is_there = place[-1:] == path[-1:] or stands_alone
        return f"{self.file}:{mark.line}" if mark is not None and is_there else None

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


def _plans(settings: Settings | Unknown) -> Sequence[PlanSettings | Unknown]:
    plans = ask(settings, "plans")
    return () if isinstance(plans, Unknown) else plans


def _at(path: tuple[str | int, ...], message: str) -> str:
    return f"{spelled(path)}: {message}" if path else message
