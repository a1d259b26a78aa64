from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.contract.insides import TEXT_BYTES, tells
from proxy.contract.kept_fields import kept_headers
from proxy.contract.members import kept_members
from tests.support.cost import cpu_seconds

TELLING = (
    "Traceback (most recent call last): File x",
    'File "/srv/hub/main.py", line 3, in get',
    "   at Hub.Data.Session.Open(String name)",
    "at java.util.ArrayList.get(ArrayList.java:427)",
    "NullReferenceException: Object reference not set",
    "org.hibernate.JDBCException",
    "cannot open /etc/hub/settings.json",
    "C:\\inetpub\\wwwroot\\web.config",
    "main.go:42",
    "SELECT id, name FROM users WHERE id = 7",
    "select * from users",
    "insert into users values (1)",
    "update users set name = 1",
    "ORA-00942: table or view does not exist",
    "no such table: users",
    "connect to 10.0.3.17 failed",
    "http://192.168.1.5:9000/x",
    "172.20.0.3 refused",
    "100.64.3.9",
    "203.0.113.9:5432",
    "[fd12:3456::1]",
    "fe80::1",
    "bind ::1 failed",
    "db-1.internal",
    "hub-api.default.svc.cluster.local",
    "localhost",
    "hub.abc.eu-west-1.rds.amazonaws.com",
    "db-7:5432",
    "jdbc:oracle:thin",
    "postgresql://db/hub",
    "mongodb+srv://cluster0",
    "amqp://queue",
    "https://user:hunter2@example.org/",
    "Data Source=sql1",
    "Server=sql1;Database=hub",
    "host=db1 port=5432 dbname=hub",
    "AccountKey=abc",
)
HARMLESS = (
    "E-17",
    "ValidationFailed",
    "The entity is locked by another user.",
    "Select an item from the list",
    "please update your address, then set a name",
    "/api/entities/10657",
    "https://api.example.com/help",
    "</app/style.css>; rel=preload; as=style",
    "https://cdn.example.com/a.js",
    "Wed, 21 Oct 2026 07:28:00 GMT",
    "12:30:45",
    "8.8.8.8",
    "Please try again at noon (local time)",
    "",
)


@pytest.mark.parametrize("text", TELLING)
def test_what_tells_of_the_inside_goes(text):
    """From every place where the config lets something through: a member, a field that it names."""
    assert tells(text.encode())
    assert kept_members(b'{"detail": %b}' % json.dumps(text).encode(), ("detail",)) == {}
    assert kept_headers([(b"X-Note", text.encode())], asked={b"x-note"}) == []


@pytest.mark.parametrize("text", HARMLESS)
def test_what_clients_are_told_stays(text):
    assert not tells(text.encode())


def test_a_long_text_goes():
    """It is a payload of its own."""
    assert tells(b"a" * (TEXT_BYTES + 1))


@given(st.binary(max_size=200))
def test_any_bytes_are_judged(text):
    tells(text)


@pytest.mark.parametrize(
    "piece", [b"at x", b"server=", b"SELECT ", b"a.b.", b"://", b"1.1.1.", b"/srv/a", b"host=x;"]
)
def test_no_text_makes_it_slow(piece):
    """Nobody waits 20 ms for it, whatever is repeated."""
    text = (piece * TEXT_BYTES)[:TEXT_BYTES]

    assert cpu_seconds(lambda: tells(text)) < 0.1
