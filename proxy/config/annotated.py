"""What `weir init` writes: config/weir.yaml, every setting explained, with the servers that are asked for."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING

from proxy.config.loader import loads

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLE = 'servers: ["http://127.0.0.1:9000"]'


def annotated(servers: Sequence[str] = ()) -> str:
    """The file's text. Raises ConfigError for servers that are none."""
    text = files("proxy.config").joinpath("weir.yaml").read_text(encoding="utf-8")
    if servers:
        text = text.replace(EXAMPLE, f"servers: {json.dumps(list(servers))}", 1)
    loads(text, "--server", {})
    return text
