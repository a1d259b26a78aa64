"""The dashboard's files: nothing from outside, nothing that runs but them, and nothing of theirs elsewhere."""

from __future__ import annotations

import re

import pytest

from proxy.admin import page
from proxy.admin.app import admin_app
from tests.admin.test_app import TOKEN, Now

FILES = sorted(path.name for path in page.FOLDER.iterdir())
OURS = [name for name in FILES if not name.startswith("uplot")]


@pytest.fixture
async def client(aiohttp_client):
    return await aiohttp_client(admin_app(Now().sources(TOKEN)))


def path_of(name):
    return "/" if name == "index.html" else f"/assets/{name}"


@pytest.mark.parametrize("name", FILES)
async def test_every_file_is_served_to_strangers_and_sealed(client, name):
    """They say nothing of this Weir; the token is typed into them."""
    response = await client.get(path_of(name))
    policy = dict(
        part.strip().partition(" ")[::2] for part in response.headers["Content-Security-Policy"].split(";")
    )

    assert response.status == 200
    assert await response.read() == (page.FOLDER / name).read_bytes()
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert response.headers["X-Frame-Options"] == "DENY"
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert response.charset == "utf-8"


@pytest.mark.parametrize(
    "path", ["/assets/", "/assets/none.js", "/assets/../app.py", "/assets/%2e%2e/app.py", "/assets"]
)
async def test_nothing_else_is(client, path):
    response = await client.get(path)

    assert response.status in (401, 404)


@pytest.mark.parametrize("name", OURS)
def test_nothing_is_inline_and_nothing_comes_from_outside(name):
    """What the policy forbids would be a page that does not work."""
    text = (page.FOLDER / name).read_text()
    text = text.replace("http://www.w3.org/2000/svg", "")

    assert not re.search(
        r"https?://|\bimport\(|\beval\(|new Function|innerHTML|outerHTML|insertAdjacentHTML|document\.write",
        text,
    )
    if name.endswith(".html"):
        assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", text)


def test_library_comes_with_its_licence():
    text = (page.FOLDER / "uplot-license.txt").read_text()

    assert "MIT License" in text
    assert "Leon Sorokin" in text
    assert (page.FOLDER / "uplot.js").read_text().startswith("/*! https://github.com/leeoniya/uPlot")


def test_every_text_has_its_place():
    """An id that the script asks for is on the page."""
    html = (page.FOLDER / "index.html").read_text()
    ids = set(re.findall(r'\sid="([\w-]+)"', html))
    asked = {
        name
        for file in OURS
        if file.endswith(".js")
        for name in re.findall(r'\$\("([\w-]+)"\)', (page.FOLDER / file).read_text())
    }

    assert asked <= ids
