"""Weir: a rate-limiting reverse proxy for one HTTP/JSON service."""

from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec

__version__ = "0.1.0"


def is_compiled() -> bool:
    """Whether what every request runs through was compiled ahead of time."""
    gateway = find_spec("proxy.gateway")
    return gateway is not None and isinstance(gateway.loader, ExtensionFileLoader)


def build() -> str:
    """The word for it: `compiled` or `source`."""
    return "compiled" if is_compiled() else "source"
