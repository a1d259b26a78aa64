"""Connections that a test opens, and that end with it."""

from __future__ import annotations

import asyncio

import pytest


@pytest.fixture
async def dial():
    """Connects to a port: a reader and a writer."""
    opened = []

    async def connect(port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        opened.append(writer)
        return reader, writer

    yield connect
    for writer in opened:
        writer.transport.abort()
    await asyncio.sleep(0)  # the loop closes what was aborted
