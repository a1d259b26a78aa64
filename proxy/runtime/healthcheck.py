"""`weir healthcheck`: asks the Weir that runs with a config, on `admin.probes` or its admin plane, whether
its loop still turns, or whether new requests may come.

Meant for a container's HEALTHCHECK, where nothing but Python is at hand. Knows the config, nothing of the
process: an address that is open to the world is asked on loopback.
"""

from __future__ import annotations

import http.client
import socket
import sys
from typing import TYPE_CHECKING

from proxy.config.exits import EXIT_FAILED, EXIT_OK, EXIT_WRONG
from proxy.config.loader import load
from proxy.config.mistakes import ConfigError

if TYPE_CHECKING:
    from proxy.config.addresses import Address

HEALTH = "/healthz"
READINESS = "/readyz"
TIMEOUT = 2.0  # below the 3 s that the container gives


def healthcheck(config_path: str, path: str = HEALTH) -> int:
    """The exit code; what is wrong goes to stderr, on one line."""
    try:
        admin = load(config_path).admin
        setting, address = ("listen", admin.listen) if admin.probes is None else ("probes", admin.probes)
    except ConfigError as error:
        print(error, file=sys.stderr)  # noqa: T201 - a command's own output
        return EXIT_WRONG
    try:
        status = _ask(address, path)
    except (OSError, http.client.HTTPException) as error:
        print(f"admin.{setting}: {address} does not answer: {error}", file=sys.stderr)  # noqa: T201 - a command's own output
        return EXIT_FAILED
    if status != http.HTTPStatus.OK:
        print(f"admin.{setting}: {address} answers {path} with {status}", file=sys.stderr)  # noqa: T201 - a command's own output
        return EXIT_FAILED
    return EXIT_OK


def _ask(address: Address, path: str) -> int:
    """Asks without the token: probes need none."""
    connection = _Connection(address)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    finally:
        connection.close()


class _Connection(http.client.HTTPConnection):
    """Leads to a Unix socket too."""

    def __init__(self, address: Address) -> None:
        super().__init__(address.host_nearby or "localhost", address.port, timeout=TIMEOUT)
        self._unix_path = address.unix_path

    def connect(self) -> None:
        if self._unix_path is None:
            super().connect()
            return
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._unix_path)
