"""The settings in force as YAML, each with where it comes from: what `weir check --print` shows.

Secrets are masked. What is printed is a config again, but for the secrets.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from proxy.config.document import scalar
from proxy.config.sections.section import Section

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.loader import Config
    from proxy.config.look import SettingPath

COMMENT_COLUMN = 44
DEFAULT = "default"
MASK = "**********"
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9./_-]*|[0-9]+(?:[a-zA-Z]+|/[a-z])")


def printed(config: Config) -> str:
    """Lines of YAML."""
    return "".join(f"{line}\n" for line in _block(config, config.settings, (), ""))


def _block(config: Config, section: Section, path: SettingPath, indent: str) -> Iterator[str]:
    dumped = section.model_dump(mode="json")
    for name in type(section).model_fields:
        value, place = getattr(section, name), (*path, name)
        if isinstance(value, Section):
            yield f"{indent}{name}:"
            yield from _block(config, value, place, f"{indent}  ")
        elif isinstance(value, tuple) and value and isinstance(value[0], Section):
            yield f"{indent}{name}:"
            yield from _blocks(config, value, place, indent)
        else:
            text = f"{indent}{name}: {_spelled(_masked(place, dumped[name]))}"
            origin = config.origin(place, stands_alone=name == type(section).alone)
            yield f"{text:<{COMMENT_COLUMN}}  # {origin or DEFAULT}"


def _blocks(config: Config, entries: tuple[Section, ...], path: SettingPath, indent: str) -> Iterator[str]:
    for number, entry in enumerate(entries):
        first, *rest = _block(config, entry, (*path, number), f"{indent}    ")
        yield f"{indent}  - {first.lstrip()}"
        yield from rest


def _masked(path: SettingPath, dumped: Any) -> Any:
    """A header that exempts from a limit is as good as a password."""
    return dict.fromkeys(dumped, MASK) if path[-2:] == ("exempt", "headers") else dumped


def _spelled(value: Any) -> str:
    """Writes JSON, which is YAML; what no parser takes for anything but text stands without quotes."""
    if isinstance(value, str) and _PLAIN.fullmatch(value) and scalar(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)
