"""Settings that a file may hold but this version cannot honour: refused, not passed over in silence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from proxy.config.loader import loads, read_text
from proxy.config.mistakes import ConfigError, Mistake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from proxy.config.settings import Settings


def load_honoured(path: str) -> Settings:
    """The settings of a file; raises ConfigError for mistakes and for what is not available."""
    return honoured(read_text(path), path)


def honoured(text: str, path: str) -> Settings:
    settings = loads(text, path)
    lines = [f"{name}: not available in this version; {instead}" for name, instead in _unavailable(settings)]
    if lines:
        raise ConfigError([Mistake(path, 0, 0, line) for line in lines])
    return settings


def _unavailable(settings: Settings) -> Iterator[tuple[str, str]]:
    for number, listen in enumerate(settings.listen):
        if listen.proxy_protocol:
            yield f"listen[{number}].proxy_protocol", "leave it out and use forwarded.trust"
