"""How a command is told of an admin plane."""

from __future__ import annotations

import pytest

from proxy.admin.client import Plane, plane_at


@pytest.mark.parametrize(
    ("typed", "plane"),
    [
        ("127.0.0.1:9901", Plane("http://127.0.0.1:9901", None, None)),
        ("https://weir.example/admin/", Plane("https://weir.example/admin", None, None)),
        ("unix:/run/weir/admin.sock", Plane("http://localhost", "/run/weir/admin.sock", None)),
    ],
)
def test_plane_is_named_by_its_url_or_its_socket(monkeypatch, typed, plane):
    monkeypatch.delenv("WEIR_ADMIN__TOKEN", raising=False)

    assert plane_at(typed) == plane


def test_token_is_in_the_environment(monkeypatch):
    monkeypatch.setenv("WEIR_ADMIN__TOKEN", "s3cr3t-token")

    assert plane_at("127.0.0.1:9901").token == "s3cr3t-token"
