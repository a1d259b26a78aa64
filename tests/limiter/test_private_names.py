"""Private names of redis-py that Weir leans on: they are these, are there, and are what Weir takes them for."""

from __future__ import annotations

import asyncio
import inspect
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from redis.asyncio.connection import Connection

from tests.support.programs import redis_server

ROOT = Path(__file__).parents[2]
LEANED_ON = {"_close", "_connect", "_reader", "_writer"}  # a new one gets its line in the test below


def test_no_other_private_name_is_used():
    """The linter wants a reason for each, so that each stands on a line of its own."""
    lines = [line for path in (ROOT / "proxy").rglob("*.py") for line in path.read_text().splitlines()]
    marked = [re.search(r"connection\.(_\w+)", line) for line in lines if "SLF001" in line]

    assert {found[1] for found in marked if found} == LEANED_ON


@pytest.mark.real
async def test_private_names_are_what_they_are_taken_for(tmp_path):
    with redis_server(tmp_path) as server:
        connection = Connection(host="127.0.0.1", port=server.port)
        await connection.connect()
        writer = connection._writer
        close = connection._close
        reader = connection._reader

        assert isinstance(writer, asyncio.StreamWriter)
        assert isinstance(writer.transport, asyncio.Transport)
        assert isinstance(reader, asyncio.StreamReader)
        assert inspect.iscoroutinefunction(connection._connect)
        assert not inspect.iscoroutinefunction(close)
        close()
        assert not connection.is_connected
        await asyncio.sleep(0)


def test_next_major_of_redis_py_is_not_taken_unseen():
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (redis,) = [each for each in map(Requirement, dependencies) if each.name == "redis"]
    major = int(version("redis").split(".")[0])

    assert redis.specifier.contains(version("redis"))
    assert not redis.specifier.contains(f"{major + 1}.0.0")
