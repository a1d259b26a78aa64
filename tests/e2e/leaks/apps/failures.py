"""How the sample apps in Python fail: each way is one that real services leak through."""

from __future__ import annotations

import sqlite3


def refused() -> None:
    """A database that does not answer, with its connection string."""
    raise ConnectionError(
        "could not connect: Server=db01.corp.example,1433;Database=hub;User Id=svc_hub;Password=Tr0ub4dor-9;"
    )


def sql() -> None:
    database = sqlite3.connect(":memory:")
    database.execute("CREATE TABLE customers (id INTEGER)")
    database.execute("SELECT id, card_number FROM customers WHERE email = 'ana@shop.example'")


def file() -> None:
    with open("/srv/app/secrets/production.pem"):
        pass


def key() -> None:
    settings = {"api_key": "hk-4f9a1c77d2", "queue": "amqp://worker:s3cr3t-pw@mq01.corp.example:5672/hub"}
    raise KeyError(f"region, have {settings!r}")


def assertion() -> None:
    session_token = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbmEifQ.c2lnbmF0dXJlLW9mLWFuYQ"
    assert session_token is None, f"unexpected session {session_token} for ana@shop.example"


WAYS = {function.__name__: function for function in (refused, sql, file, key, assertion)}


def fail(way: str) -> None:
    WAYS[way]()
