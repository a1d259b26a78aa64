"""A real browser, Debian's Chromium, driven over its own protocol; nothing that calls home."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.support.programs import program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    " --disable-component-update --disable-sync --disable-dev-shm-usage --hide-scrollbars --force-device-scale-factor=1"
).split()


class Browser:
    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def find(self, selector: str) -> Any:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return str(self.find(selector).text)

    def texts(self, selector: str) -> list[str]:
        """Read in one go: rows come and go."""
        script = "return [...document.querySelectorAll(arguments[0])].map((each) => each.textContent.trim())"
        return list(self.driver.execute_script(script, selector))

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def shown(self, *, width: int, height: int = 900, dark: bool = False, is_phone: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_phone}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})

    def complaints(self) -> list[str]:
        """Of the console."""
        return [f"{entry['level']}: {entry['message']}" for entry in self.driver.get_log("browser")]

    def barriers(self) -> list[str]:
        """What axe-core finds that keeps somebody out, serious or critical."""
        self.run(files("axe_core_python").joinpath("axe.min.js").read_text())
        found = self.driver.execute_async_script("axe.run().then(arguments[0])")
        return [
            f"{each['id']}: {each['nodes'][0]['html'][:200]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    for option in [*OPTIONS, f"--user-data-dir={folder / 'profile'}"]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(
        options, Service(program("chromedriver"), log_output=str(folder / "driver.log"))
    )
    try:
        yield Browser(driver)
    finally:
        driver.quit()
