"""The page of `weir simulate --html`, in a real browser: it draws, asks nobody, and takes nothing for markup."""

from __future__ import annotations

import json
import re

import pytest

from tests.support.browser import browser
from tests.support.weir import run

pytestmark = pytest.mark.measured

HOSTILE = '</script><script>document.title="taken"</script><img src=x onerror=document.title="taken">'


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Of two configs, one of whose limits meets nothing, and a log with a key that would be markup."""
    folder = tmp_path_factory.mktemp("page")
    for name, rate in (("now", "2/s"), ("then", "9/s")):
        (folder / f"{name}.yaml").write_text(
            f'upstream: {{servers: ["http://a"]}}\nlimits:\n  - {{name: per-user, rate: {rate}}}\n'
            f"  - {{name: nothing, rate: 1/s, match: {{paths: [/none]}}}}\n"
        )
    with (folder / "own.log").open("w") as log:
        for number in range(600):
            key = HOSTILE if number % 3 == 0 else "00ff"
            log.write(json.dumps({"time": f"2026-01-01T00:00:{number / 20:06.3f}Z", "client": "192.0.2.1", "method": "GET", "target": "/", "status": 200, "keys": {"per-user": key}}) + "\n")  # fmt: skip
    path = folder / "page.html"
    done = run(
        "simulate", str(folder / "now.yaml"), str(folder / "own.log"), "--against", str(folder / "then.yaml"),
        "--html", str(path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert f"Plots: {path}" in done.stdout
    return path


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


PAINTED = """return [...document.querySelectorAll("canvas")].map((canvas) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height)
  return new Set(new Uint32Array(data.buffer)).size
})"""


def test_page_asks_nobody(page):
    """No address in it leads anywhere, and its policy lets none be asked."""
    text = page.read_text()

    assert "default-src 'none'" in text
    assert not re.search(
        r"""(?:src|href|action)\s*=\s*["']?(?!data:|x\b)[a-z/]""", text.partition("<script>")[0]
    )
    assert not re.search(r"@import|url\(", text)


def test_page_draws_each_limit(page, chromium):
    chromium.shown(width=1280)
    chromium.open(f"file://{page}")

    assert chromium.complaints() == []
    assert chromium.texts("main h2") == ["What changes", "per-user", "nothing", "per-user", "nothing"]
    assert all(colours > 3 for colours in chromium.run(PAINTED))
    assert len(chromium.run(PAINTED)) == 6
    assert chromium.texts("tbody tr")[0].startswith("per-user2/s, burst 29/s, burst 9")
    assert "It met no request of these logs." in chromium.text("main")


def test_key_is_text_whatever_it_says(page, chromium):
    chromium.open(f"file://{page}")

    assert HOSTILE in chromium.texts(".keys .hash")
    assert chromium.driver.title == "Weir: simulation"
    assert chromium.run("return document.querySelectorAll('img').length") == 0


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_page_keeps_nobody_out(page, chromium, width, dark):
    """Contrast, names and order in both themes; nothing is wider than a phone."""
    chromium.shown(width=width, dark=dark, is_phone=width < 500)
    chromium.open(f"file://{page}")

    assert chromium.barriers() == []
    assert chromium.run("return document.documentElement.scrollWidth") <= width
    assert chromium.run("return document.documentElement.dataset.theme") == ("dark" if dark else "light")
