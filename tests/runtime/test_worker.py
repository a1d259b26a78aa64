"""A worker's life, as far as no process is needed for it."""

from __future__ import annotations

import socket

import pytest

from proxy.config.loader import loads
from proxy.runtime.sockets import StartError
from proxy.runtime.worker import Worker
from tests.support.ports import free_port


async def test_worker_that_gets_no_port_can_be_stopped():
    """Who started it lets go of all that it has made by then."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = loads(
            f'listen: "127.0.0.1:{taken.getsockname()[1]}"\nadmin: {{listen: "127.0.0.1:{free_port()}"}}\n'
            'upstream: {servers: ["http://127.0.0.1:1"]}\nlog: {access: off}\n',
            "weir.yaml",
            {},
        )
        worker = Worker(settings)
        with pytest.raises(StartError, match="in use"):
            await worker.start()
        await worker.stop()

    assert worker.addresses == []
